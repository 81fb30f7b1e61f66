"""The arms of the ablations: runs that differ from a base in one thing each.

Each base has a mixture of its own, so that what is asked of it is learnt in a minute; all are networks of one size.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from ernest.config.recipe import Recipe
from ernest.config.sizes import sized
from ernest.results.recipe import changes
from ernest.results.recipe.changes import CnnAlone, MlpMerger, VitAlone
from ernest.results.small_runs import PLAIN, Study, in_one_process
from ernest.results.units import file_name

SIZE, ROWS = 5, 8
"""Layers of the network, from which its other sizes follow, and rows of a step."""


@dataclass(frozen=True)
class Mixture:
    """What a base learns, in how many steps, and the directions whose held-out records it is measured on."""

    steps: int
    weights: Mapping[str, float]
    tasks: tuple[str, ...]


PICTURES, SOUNDS, TEXTS, ALL = "pictures", "sounds", "texts", "all"
MIXTURES: Mapping[str, Mixture] = {
    PICTURES: Mixture(200, {"text→image": 2.0, "image→text": 1.0}, ("text→image", "image→text")),
    SOUNDS: Mixture(100, {"text→speech": 2.0, "speech→text": 1.0}, ("text→speech", "speech→text")),
    TEXTS: Mixture(100, {"text": 1.0}, ("text",)),
    ALL: Mixture(160, {}, ("text→image", "image→text", "text→speech", "speech→text", "text", "text→video", "video→text")),
}
"""An empty mixture is the demo's."""


@dataclass(frozen=True)
class Arm:
    """A run: a base and what it does otherwise, by its recipe (`change`) or by what is replaced in code (`within`); `draws` says
    whether pictures are drawn and described for a score."""

    base: str
    name: str
    change: Callable[[Recipe], Recipe] = lambda recipe: recipe
    within: Callable[[], AbstractContextManager[None]] = nullcontext
    draws: bool = False

    @property
    def folder(self) -> str:
        return file_name(f"{self.base}-{self.name}")


def _sequence(**values: float) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, sequence=replace(recipe.sequence, **values))


def training_change(**values: float) -> Callable[[Recipe], Recipe]:
    """What sets fields of a recipe's training."""
    return lambda recipe: replace(recipe, training=replace(recipe.training, **values))


def _model(**values: int) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, model=replace(recipe.model, **values))


BASE = "base"
NO_FLIPS, EVEN_SCALES, ORDER, TIME = "no flips", "cells weigh alike", "places in order", "places in time"
CNN, VIT, MLP = "CNN alone", "ViT alone", "MLP"
NO_FEEDBACK, NO_MTP = "no feedback", "no head of the token after next"
NO_BIAS, SKEWED, SKEWED_NO_BIAS, STEADY = "no bias", "skewed", "skewed, no bias", "bias at full speed"
EQUAL, FOUR = "losses weigh alike", "four experts a token"
ARMS = (
    Arm(PICTURES, BASE, draws=True),
    Arm(PICTURES, NO_FLIPS, _sequence(bit_flip_rate=0.0), draws=True),
    Arm(PICTURES, EVEN_SCALES, within=changes.even_scales, draws=True),
    Arm(PICTURES, ORDER, within=lambda: changes.places(changes.in_order)),
    Arm(PICTURES, TIME, within=lambda: changes.places(changes.in_time)),
    Arm(PICTURES, CNN, within=lambda: changes.merger(CnnAlone), draws=True),
    Arm(PICTURES, VIT, within=lambda: changes.merger(VitAlone), draws=True),
    Arm(PICTURES, MLP, within=lambda: changes.merger(MlpMerger), draws=True),
    Arm(ALL, BASE),
    Arm(ALL, NO_BIAS, training_change(bias_speed=0.0)),
    Arm(ALL, SKEWED, within=changes.skewed_routers),
    Arm(ALL, SKEWED_NO_BIAS, training_change(bias_speed=0.0), changes.skewed_routers),
    Arm(ALL, STEADY, within=changes.steady_balance),
    Arm(ALL, EQUAL, within=changes.equal_losses),
    Arm(ALL, FOUR, _model(top_k=4)),
    Arm(SOUNDS, BASE),
    Arm(SOUNDS, NO_FEEDBACK, within=changes.without_feedback),
    Arm(TEXTS, BASE),
    Arm(TEXTS, NO_MTP, _model(multi_token=False)),
)


def recipe_of(study: Study, arm: Arm, seed: int) -> Recipe:
    """The demo's, in the sizes and steps of an arm, without sub-models."""
    whole, mixture = study.whole(), MIXTURES[arm.base]
    weights = {task: mixture.weights.get(task, 0.0) for task in study.store.tasks} if mixture.weights else whole.mixture
    steps = mixture.steps
    recipe = in_one_process(whole, seed, ROWS, steps=steps, warmup=steps // 10, save_every=steps // 2)
    return arm.change(replace(recipe, elastic=PLAIN, mixture=weights, model=replace(whole.model, **sized(SIZE))))
