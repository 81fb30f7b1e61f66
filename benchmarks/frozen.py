"""`python -m benchmarks.frozen [--write FILE]`: numbers that a change of structure must leave as they are, bit for bit.

The losses of 50 steps of the demo's network at a fixed seed, in one process and in two, and a greedy answer of every kind from
the network that one process trained. Without `--write`, they are compared with `benchmarks/frozen.json`, which holds them
beside the machine on which they were made: on another one, last bits may differ, and the largest difference is shown.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from benchmarks.machine import processor
from benchmarks.model.throughput import prepare
from ernest.config.media import MediaSpec
from ernest.config.recipe import Recipe, load_recipe
from ernest.data.examples import EncodedSegment
from ernest.data.store import ExampleStore
from ernest.generation.engine import Engine
from ernest.sequence.record import KINDS
from ernest.storage import read_log
from ernest.tokenizers.bundle import Tokenizers
from ernest.training.distributed import process_group
from ernest.training.launch import launch
from ernest.training.loop import MEASURED, train

STEPS, ROWS = 50, 4
REFERENCE = Path(__file__).with_suffix(".json")


def recipe(processes: int) -> Recipe:
    """The demo's network in 50 steps of four rows; `processes` share them."""
    base = load_recipe()
    training = replace(base.training, steps=STEPS, save_every=STEPS, show_every=0, warmup=5)
    sequence, parallel = replace(base.sequence, rows=ROWS), replace(base.parallel, replicate=processes)
    return replace(base, sequence=sequence, training=training, parallel=parallel)


def measure(folder: Path) -> dict[str, Any]:
    """Losses by the number of processes, and the answers, ready for JSON."""
    prepare(folder)
    losses = {}
    for processes in (1, 2):
        run = folder / f"run-{processes}"
        launch("benchmarks.frozen", ["--process", str(folder), str(run)], processes)
        lines = read_log(run / "metrics.jsonl")
        losses[f"losses of {processes}"] = [{k: v for k, v in line.items() if k not in MEASURED} for line in lines]
    answers = json.loads((folder / "run-1" / "answers.json").read_text())
    return {"machine": f"{processor()}, torch {torch.__version__}", **losses, "answers": answers}


def process(folder: Path, run: Path) -> None:
    """One of the processes that `measure` starts."""
    torch.set_num_threads(1)
    store, tokenizers = ExampleStore(folder / "examples"), Tokenizers.load(folder / "tokenizers")
    with process_group() as (rank, world):
        model = train(recipe(world), store, tokenizers, run, rank, world)
        if world == 1:
            (run / "answers.json").write_text(json.dumps(answers(Engine(model, tokenizers))))


def answers(engine: Engine) -> dict[str, Any]:
    """The likeliest answer of every kind to the same words, and its log-likelihood."""
    from ernest.generation.sampling import DEFAULTS

    found = {}
    for kind in KINDS:
        greedy = replace(DEFAULTS[kind], temperature=0.0, first_frame_temperature=None)
        prompt = [EncodedSegment("text", "a red seven at the top left", False)]
        (made,) = engine.answers([prompt], kind, greedy, frames=MediaSpec.frames if kind == "video" else None)
        found[kind] = {"value": np.asarray(made.segments[0].value).tolist(), "log_likelihood": [made.log_likelihood]}
    return found


def largest_difference(one: Any, other: Any) -> float:
    """Between two trees of numbers; infinite where their shapes differ."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return max((largest_difference(one[key], other[key]) for key in one), default=0.0)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return max(map(largest_difference, one, other), default=0.0)
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other)
    return 0.0 if one == other else float("inf")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frozen", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the numbers there instead of comparing them")
    parser.add_argument("--process", type=Path, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.process:
        process(*arguments.process)
        return
    console = Console()
    with tempfile.TemporaryDirectory() as folder, console.status("50 steps in one process, and in two"):
        found = measure(Path(folder))
    if arguments.write:
        arguments.write.write_text(json.dumps(found, indent=0))
        return
    reference = json.loads(REFERENCE.read_text())
    here, there = found.pop("machine"), reference.pop("machine")
    differences = {name: largest_difference(found[name], reference[name]) for name in reference}
    for name, difference in differences.items():
        console.print(f"{name}: {'the same bits' if difference == 0 else f'differ by up to {difference:.3g}'}")
    if here != there:
        console.print(f"The reference is of another machine: {there}; this one is {here}")
    sys.exit(1 if here == there and any(differences.values()) else 0)


if __name__ == "__main__":
    main()
