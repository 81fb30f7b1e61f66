"""Makes the batches of a training: drawn, encoded where that is left to it, collated; here, ahead of the step, or in processes
beside it. A batch is a function of its step alone, so that nothing hangs on who makes it."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ernest.config.recipe import Recipe
from ernest.config.stages import sequence_at
from ernest.data.collate import collate
from ernest.data.decoded import DecodedRecords
from ernest.data.drawn import DrawnExamples, Examples
from ernest.data.features import FeatureCache
from ernest.data.records import LINES
from ernest.data.sampler import plan
from ernest.data.store import ExampleStore
from ernest.device import count_processors, set_threads
from ernest.model.submodel import SubModels, draw, full, stack
from ernest.sequence.batch import Batch
from ernest.storage import fingerprint
from ernest.tokenizers.bundle import Tokenizers
from ernest.training.ahead import run_ahead
from ernest.training.run_settings import RUN_FILE

AHEAD = 2
"""Batches of each process that wait for their step."""
Made = tuple[Batch, SubModels | None]


def open_examples(run: Path, tokenizers: Tokenizers, hearings: int = 0) -> Examples:
    """What a run trains on: examples that were encoded before it, or its records, which are encoded as they are drawn, with
    so many other hearings of given sounds. Raises ValueError where neither is there."""
    if (run / "examples").is_dir() or not (run / "decoded" / LINES).is_file():
        return ExampleStore(run / "examples")
    decoded = DecodedRecords(run / "decoded")
    origin = fingerprint(run / "decoded" / LINES, run / RUN_FILE)
    return DrawnExamples(decoded, decoded.tasks, tokenizers, origin, hearings)


class BatchMaker:
    """Makes the batch of a step, of the rows of process `rank` of `world`; in another process as well, where it is sent to."""

    def __init__(self, recipe: Recipe, store: Examples, tokenizers: Tokenizers, rank: int = 0, world: int = 1) -> None:
        self.recipe, self.store, self.tokenizers, self.rank, self.world = recipe, store, tokenizers, rank, world
        self.weights = recipe.weights(store.tasks)
        tensor = recipe.parallel.tensor  # neighbours that share matrices share rows
        self.first, self.every = rank // tensor, world // tensor

    def __reduce__(self) -> tuple[type, tuple]:
        return BatchMaker, (self.recipe, self.store, self.tokenizers, self.rank, self.world)

    @cached_property
    def features(self) -> FeatureCache:
        return FeatureCache(self.tokenizers.vision)

    def __getitem__(self, number: int) -> Made:
        """The batch of step `number`, and the sub-models of its rows."""
        sequence, seed = sequence_at(self.recipe, number), self.recipe.seed
        packed = plan(self.store, self.weights, self.tokenizers, sequence, seed, number, self.first, self.every)
        rows = range(self.first, sequence.rows, self.every)
        seeds = [int(np.random.default_rng((seed, number, 1, row)).integers(2**62)) for row in rows]
        batch = collate(packed, sequence.length, self.tokenizers, sequence, seeds, self.features)
        return batch, self._submodels(number, rows)

    def _submodels(self, step: int, rows: range) -> SubModels | None:
        """One sub-model per packed row, or None where all are full."""
        recipe, levels = self.recipe, self.tokenizers.audio.config.levels
        everything = full(recipe.model)
        generators = [np.random.default_rng((recipe.seed, step, 2, row)) for row in rows]
        submodels = [draw(recipe.model, levels, recipe.elastic, generator) for generator in generators]
        return None if all(submodel == everything for submodel in submodels) else stack(submodels, recipe.model)


@contextmanager
def batches(maker: BatchMaker, steps: range) -> Iterator[Iterator[Made]]:
    """Those of the steps, in order: made in as many processes as the recipe says, or else, where processors are left over, by a
    thread while the step before is taken."""
    workers = maker.recipe.training.workers
    if not workers:
        with run_ahead(maker.__getitem__, steps, count_processors() > maker.world) as made:
            yield made
        return
    made = _made_beside(maker, steps, workers)
    try:
        yield made
    finally:
        made.close()  # ends its processes


@dataclass(frozen=True)
class Beside:
    """A maker in a process beside the training. A mistake of the data or the recipe comes back as its line, which is raised where
    the step comes; a loader would make a traceback of it."""

    maker: BatchMaker

    def __getitem__(self, number: int) -> Made | str:
        try:
            return self.maker[number]
        except (ValueError, OSError) as error:
            return str(error)


def _made_beside(maker: BatchMaker, steps: range, workers: int) -> Generator[Made, None, None]:
    for made in _loader(Beside(maker), steps, workers):
        if isinstance(made, str):
            raise ValueError(made)
        yield made


def _loader(maker: Beside, steps: range, workers: int) -> Any:
    from torch.utils.data import DataLoader

    return DataLoader(
        maker,  # pyright: ignore[reportArgumentType]  # has what is asked of a Dataset
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        collate_fn=_as_it_is,
        prefetch_factor=AHEAD,
        multiprocessing_context="spawn",
        worker_init_fn=partial(_begin, torch.get_num_threads()),
        generator=torch.Generator(),  # and not the one that the training draws from
    )


def _begin(threads: int, worker: int) -> None:
    """As many threads as in the training: sums in other numbers of parts are other bits."""
    del worker
    set_threads(threads)


def _as_it_is(made: Any) -> Any:
    return made
