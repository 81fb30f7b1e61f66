"""Tokenizers beside the training: how long a step waits for its batch where records are encoded as they are drawn.

`python -m benchmarks.model.tokenizers_beside [DEMO] [STEPS]` trains the demo's network on records of its world with its
tokenizers, one thread a process, wall time.
"""

import json
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Literal

import torch

from ernest.config.recipe import from_tree
from ernest.data.drawn import DrawnExamples, Examples
from ernest.data.examples import encode
from ernest.data.store import ExampleStore
from ernest.sequence.record import Record
from ernest.storage import read_log
from ernest.tokenizers.bundle import Tokenizers
from ernest.training.loop import train
from ernest.world.world import TASKS, records

RECORDS, FIRST = 100, 3
"""Of each task; and steps that are not counted, in which processes start."""
WAYS: dict[str, tuple[Literal["before", "drawn"], int]] = {
    "encoded before, batches by a thread": ("before", 0),
    "encoded when drawn, by a thread": ("drawn", 0),
    "encoded when drawn, by two processes": ("drawn", 2),
}


def main(demo: str = "build/demo", steps: str = "15") -> None:
    torch.set_num_threads(1)
    recipe, tokenizers = (
        from_tree(json.loads((Path(demo) / "recipe.json").read_text())),
        Tokenizers.load(Path(demo) / "tokenizers"),
    )
    made = [record for task in TASKS for record in records(task, recipe.seed, range(RECORDS))]
    print("| examples | s a step | of it waiting |")
    print("|---|---|---|")
    for name, (when, workers) in WAYS.items():
        training = replace(recipe.training, steps=int(steps), save_every=int(steps), show_every=0, encode=when, workers=workers)
        with tempfile.TemporaryDirectory() as folder:
            examples = _examples(Path(folder), made, tokenizers, when)
            train(replace(recipe, training=training), examples, tokenizers, Path(folder))
            lines = read_log(Path(folder) / "metrics.jsonl")[FIRST:]
        waiting = sum(line["waiting"] for line in lines) / sum(line["seconds"] for line in lines)
        print(f"| {name} | {median(line['seconds'] for line in lines):.2f} | {waiting:.1%} |", flush=True)


def _examples(folder: Path, made: list[Record], tokenizers: Tokenizers, when: str) -> Examples:
    if when == "drawn":
        return DrawnExamples(made, [record.task for record in made], tokenizers, "the world's")
    one_by_one: Iterable = (example for record in made for example in encode([record], tokenizers))
    ExampleStore.write(folder / "examples" / "own", one_by_one)
    return ExampleStore(folder / "examples")


if __name__ == "__main__":
    main(*sys.argv[1:])
