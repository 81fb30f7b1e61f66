"""The seesaw: whether directions lose by being trained together, beside runs of one direction each on as much of its data.

The single runs take the joint run's tokenizers, and as many steps as the direction had of the joint run's positions. The way of a
direction goes from its plateau, where it knows nothing of what it is given, to what it reaches alone.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.results.trial import Scored, Trial, engine_of
from ernest.config.recipe import Recipe
from ernest.data.examples import Example, encode
from ernest.data.layout import lay_out_example
from ernest.data.records import RecordFolder
from ernest.data.store import ExampleStore
from ernest.evaluation.losses import record_losses
from ernest.generation.engine import Engine
from ernest.sequence.record import Record
from ernest.tokenizers.bundle import Tokenizers
from ernest.training.prepare import train_on_records
from ernest.training.run_settings import TrainingRun

STEPS = 550
"""Of the joint run."""
NO_WORSE, LEAST_WAY = 0.10, 0.5
"""Nats by which a text's loss may lie above the single run's, and the share of the way that every direction must go."""
FEWEST = 12
"""Steps of a single run, at least."""
TESTED = 500
"""Records of a direction on which losses are taken, at most."""


def measure_seesaw(records: RecordFolder, tests: Sequence[Record], folder: Path, recipe: Recipe, trial: Trial) -> list[Scored]:
    """Trains jointly and singly, where that was not done yet, and compares the losses on `tests`."""
    checkpoint = train_on_records(TrainingRun(records, folder / "joint", recipe))
    tokenizers = Tokenizers.load(checkpoint / "tokenizers")
    store = ExampleStore(folder / "joint/examples")
    examples: dict[str, list[Example]] = {}
    for example in encode(tests, tokenizers):
        examples.setdefault(example.task, []).append(example)
    scores = []
    for task, share in shares_of_positions(store, tokenizers, recipe).items():
        single = _single(records, folder, recipe, checkpoint, task, share)
        scores += _compared(task, engine_of(checkpoint), engine_of(single), examples[task][: trial.count(TESTED)])
    return scores


def shares_of_positions(store: ExampleStore, tokenizers: Tokenizers, recipe: Recipe) -> dict[str, float]:
    """Of each task that is learnt: its share of a run's positions, from its weight and the mean length of its documents."""
    positions = {}
    for task, weight in recipe.weights(store.tasks).items():
        some = [store[int(index)] for index in store.tasks[task][:100]]
        lengths = [len(lay_out_example(one, tokenizers, tokenizers.text.encode).layout) for one in some]
        positions[task] = weight * sum(lengths) / len(lengths)
    return {task: count / sum(positions.values()) for task, count in positions.items() if count}


def _single(records: RecordFolder, folder: Path, recipe: Recipe, tokenizers: Path, task: str, share: float) -> Path:
    """The checkpoint of a run that learns one task."""
    training = replace(recipe.training, steps=max(FEWEST, round(share * recipe.training.steps)))
    tasks = {record.task for record in records.stored}
    alone = replace(recipe, training=training, mixture={name: float(name == task) for name in tasks})
    name = task.replace(" ", "-").replace("→", "-to-")
    return train_on_records(TrainingRun(records, folder / name, alone, checkpoint=tokenizers))


def _compared(task: str, joint: Engine, single: Engine, examples: Sequence[Example]) -> list[Scored]:
    """The loss of a direction in both runs, and how much of its way the joint one goes."""
    together, alone = (float(record_losses(engine, examples).mean()) for engine in (joint, single))
    if examples[0].segments[-1].form == "text":
        counts = Counter(example.segments[-1].data for example in examples)
        plateau = -sum(count / len(examples) * math.log(count / len(examples)) for count in counts.values())
        above = [Scored(f"seesaw, {task}: joint − single, nats a text", together - alone, NO_WORSE, f"single {alone:.3f}", True)]
    else:
        plateau, above = float(record_losses(single, examples, hidden=True).mean()), []
    way = (plateau - together) / max(plateau - alone, 1e-9)
    return [
        *above,
        Scored(f"seesaw, {task}: share of the way", way, LEAST_WAY, f"loss {plateau:.3f} → {alone:.3f}, {together:.3f}"),
    ]
