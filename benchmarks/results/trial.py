"""What every measurement on real data shares: how much of it is taken, a training and its time, its model, what a score is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from benchmarks.results import clock
from ernest.checkpoint import load_model
from ernest.config.effort import with_effort
from ernest.config.recipe import Recipe, find_recipe, load_recipe
from ernest.generation.engine import Engine, bf16_pays
from ernest.training.run_settings import TrainingRun

T = TypeVar("T")


@dataclass(frozen=True)
class Trial:
    """What a recipe is measured with: the data's folder, the folder of results, the share of everything that is taken, and
    settings beside the recipe's."""

    data: Path
    results: Path
    share: float
    settings: tuple[str, ...] = ()

    @property
    def out(self) -> Path:
        """Where runs, records and judges lie: those of a trial apart from the whole ones, which must not begin with them."""
        return self.results if self.share == 1 else self.results / f"share-{self.share:g}"

    def recipe(self, seed: int, settings: Sequence[str] = (), base: str = "tiny") -> Recipe:
        """The recipe `base` with these settings and the trial's, in its share of the steps."""
        whole = replace(load_recipe(find_recipe(base), (*settings, *self.settings)), seed=seed)
        return whole if self.share == 1 else with_effort(whole, self.share)

    def count(self, whole: int, least: int = 20) -> int:
        """A number of things, or the trial's share of it."""
        return max(min(whole, least), round(whole * self.share))


@dataclass(frozen=True)
class Scored:
    """A score of one seed, its bar, and what it is of; `less` where less is better."""

    name: str
    value: float
    bar: float | None
    note: str
    less: bool = False


def timed(run: TrainingRun, take: Callable[[TrainingRun], T]) -> tuple[T, clock.Spent]:
    """What `take` makes of a run, which goes on where it was stopped, and how long that has taken in all."""
    path = run.out.with_suffix(".seconds")
    with clock.counted(path):
        taken = take(run)
    return taken, clock.read(path)


def engine_of(checkpoint: Path) -> Engine:
    """What reads and draws with the model of a checkpoint."""
    model, tokenizers = load_model(checkpoint)
    return Engine(model, tokenizers, bf16=bf16_pays(model))


def minutes(spent: clock.Spent, bar: float | None = None) -> Scored:
    """How long a training has taken."""
    return Scored("minutes of training", spent.wall / 60, bar, f"{spent.processor / 60:.0f} of a processor", True)
