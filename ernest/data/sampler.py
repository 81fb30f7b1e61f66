"""Which examples form a row of a training step, and how their words are cut: a pure function of seeds."""

from collections.abc import Iterator, Mapping

import numpy as np

from ernest.config.recipe import SequenceConfig
from ernest.data.layout import PackedExample, lay_out_example
from ernest.data.store import ExampleStore
from ernest.sequence.packing import fill_rows
from ernest.tokenizers.bundle import Tokenizers


def plan(
    store: ExampleStore, weights: Mapping[str, float], tokenizers: Tokenizers, config: SequenceConfig, seed: int, step: int
) -> list[list[PackedExample]]:
    """The rows of a step. A task is drawn by its weight, an example evenly among the task's."""
    rng = np.random.default_rng((seed, step))
    tasks = [task for task in weights if weights[task] > 0 and task in store.tasks]
    share = np.array([weights[task] for task in tasks])

    def draws() -> Iterator[PackedExample]:
        while True:
            indices = store.tasks[tasks[rng.choice(len(tasks), p=share / share.sum())]]
            example = store[indices[rng.integers(len(indices))]]
            drop_condition = bool(rng.random() < config.condition_dropout) and example.segments[-1].form != "text"
            placed = lay_out_example(
                example, tokenizers, lambda text: tokenizers.text.encode(text, config.bpe_dropout, rng), drop_condition
            )
            if len(placed.layout) > config.length:  # cut finely by dropout, an example that just fits a row may not
                placed = lay_out_example(example, tokenizers, tokenizers.text.encode, drop_condition)
            yield placed

    return fill_rows(draws(), lambda placed: len(placed.layout), config.rows, config.length)
