"""Rollouts in the trainer's process and in one beside it, and how long the trainer then waits for them.

`python -m benchmarks.model.rl_beside [CHECKPOINT] [STEPS]` takes the recipe `laws` under U-RB, one thread a process, wall time.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

from ernest.config.recipe import find_recipe
from ernest.config.rl import RLRecipe, Worker, load_rl_recipe
from ernest.rl.loop import reinforce
from ernest.storage import read_log

FIRST = 2
"""Updates that are not counted: a process starts, and nothing overlaps with what comes before the first."""


def recipe(worker: Worker, overlap: bool, steps: int) -> RLRecipe:
    shipped = load_rl_recipe(find_recipe("laws", "rl"))
    rollout = replace(shipped.rollout, order="U-RB", ahead=2, rows=60, worker=worker, overlap=overlap)
    return replace(shipped, rollout=rollout, update=replace(shipped.update, steps=steps, save_every=steps, assess=0))


def main(checkpoint: str = "build/demo/model", steps: str = "20") -> None:
    torch.set_num_threads(1)
    print("| rollouts | s an update | of it sampling or waiting | judging | updating | idle |")
    print("|---|---|---|---|---|---|")
    ways: dict[str, tuple[Worker, bool]] = {"in the trainer's process": ("none", False), "in one beside it": ("process", True)}
    for name, (worker, overlap) in ways.items():
        with tempfile.TemporaryDirectory() as folder:
            reinforce(Path(checkpoint), Path(checkpoint).parent / "judges", Path(folder), recipe(worker, overlap, int(steps)))
            lines = read_log(Path(folder) / "metrics.jsonl")[FIRST:]
        parts = [median(line[f"seconds {part}"] for line in lines) for part in ("sampling", "judging", "updating")]
        whole = median(sum(line[f"seconds {part}"] for part in ("sampling", "judging", "updating")) for line in lines)
        idle = f"{sum(line['idle'] for line in lines) / len(lines):.1%}" if worker == "process" else "–"
        print(f"| {name} | {whole:.2f} | {' | '.join(f'{part:.2f}' for part in parts)} | {idle} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
