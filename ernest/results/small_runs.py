"""Small runs on the examples of a demo, with its tokenizers and judges: what the studies that train networks share."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from ernest.config.recipe import Recipe, read_recipe
from ernest.config.tables import ElasticConfig
from ernest.data.store import ExampleStore
from ernest.device import set_threads
from ernest.evaluation.directions import DIRECTIONS
from ernest.evaluation.evaluate import evaluate
from ernest.evaluation.routing import max_violation, mixture_load, normalised_entropy
from ernest.generation.engine import Engine, bf16_pays
from ernest.model.network import Ernest
from ernest.model.submodel import SubModel
from ernest.results.paired import SEEDS
from ernest.storage import own_folder
from ernest.tokenizers.bundle import Tokenizers
from ernest.training.loop import OnStep, train
from ernest.verifiers.judges import Judges

PLAIN = ElasticConfig(1.0, 1.0, 1.0)
"""Training without sub-models."""
Measured = TypeVar("Measured")


@dataclass(frozen=True)
class Study:
    """The demo on whose examples and with whose tokenizers and judges everything is trained and measured, and where the work is
    kept; `tell` hears how far it is."""

    demo: Path
    build: Path
    tell: Callable[[str], None] = lambda line: None
    tokenizers: Tokenizers = field(init=False)
    store: ExampleStore = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokenizers", Tokenizers.load(self.demo / "tokenizers"))
        object.__setattr__(self, "store", ExampleStore(self.demo / "examples"))

    def judges(self) -> Judges:
        """The demo's."""
        return Judges.load(self.demo / "judges")

    def whole(self) -> Recipe:
        """The demo's recipe."""
        return read_recipe(self.demo / "recipe.json")


def seed_by_seed(study: Study, measure: Callable[[Study, int], Measured], write: Callable[[Sequence[Measured]], None]) -> None:
    """Measures a seed after the other in the study's folder, and writes what was found so far after each."""
    found: list[Measured] = []
    with own_folder(study.build):
        for seed in SEEDS:
            found.append(measure(study, seed))
            write(found)


def in_one_process(recipe: Recipe, seed: int, rows: int, **training: float) -> Recipe:
    """A recipe with this seed and so many rows a step, which tells nothing itself; `training` are fields of its training."""
    return replace(
        recipe,
        seed=seed,
        sequence=replace(recipe.sequence, rows=rows),
        parallel=replace(recipe.parallel, replicate=1),
        training=replace(recipe.training, show_every=0, **training),
    )


def trained(study: Study, recipe: Recipe, run: Path, on_step: OnStep | None = None, begin_with: Path | None = None) -> Ernest:
    """The network at the end of a run on the demo's examples, which goes on from its newest state."""
    set_threads(1)
    run.mkdir(parents=True, exist_ok=True)
    network = train(recipe, study.store, study.tokenizers, run, on_step=on_step, begin_with=begin_with)
    return network.eval().requires_grad_(False)


def scores(
    study: Study, network: Ernest, directions: Sequence[str], seed: int, count: int, submodel: SubModel | None = None
) -> dict[str, float]:
    """The score of each direction on so many records that no run has seen, by the demo's judges."""
    engine, judges = Engine(network, study.tokenizers, submodel, bf16=bf16_pays(network)), study.judges()
    return {name: evaluate(DIRECTIONS[name], engine, judges, seed, count)[0].value for name in directions}


def evenness(study: Study, recipe: Recipe, network: Ernest) -> dict[str, float]:
    """How evenly experts are used on four batches of the training's mixture."""
    weights = recipe.weights(study.store.tasks)
    load = mixture_load(network, study.store, weights, study.tokenizers, recipe.sequence, recipe.seed + 1000, batches=4)
    return {
        "entropy, worst layer": float(normalised_entropy(load.sum(0)).min()),
        "largest ÷ mean load, of a batch": float(1 + max_violation(load).mean()),
        "largest ÷ mean load, worst layer": float(1 + max_violation(load).mean(0).max()),
        "experts never chosen": float((load.sum(0) == 0).mean()),
    }


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Something else under a name of a module or a class, for as long as the context lasts."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
