"""Runs that differ from a base in one thing each: trained on the examples of a demo with its tokenizers, and measured alike.

Each base has a mixture of its own, so that what is asked of it is learnt in a minute; all are networks of one size.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from ernest.config.recipe import Recipe, from_tree
from ernest.config.sizes import sized
from ernest.data import collate as collating
from ernest.data.sampler import plan
from ernest.data.store import ExampleStore
from ernest.device import set_threads
from ernest.evaluation.directions import DIRECTIONS
from ernest.evaluation.evaluate import evaluate
from ernest.evaluation.routing import max_violation, mixture_load, normalised_entropy
from ernest.generation.engine import Engine, bf16_pays
from ernest.model.backbone import Block
from ernest.model.network import Ernest
from ernest.model.submodel import full
from ernest.results import changes
from ernest.results.changes import CnnAlone, MlpMerger, VitAlone
from ernest.results.elastic import PLAIN
from ernest.results.held_out import held_out, losses
from ernest.results.units import kept
from ernest.storage import append_line
from ernest.tokenizers.bundle import Tokenizers
from ernest.training.loop import train
from ernest.training.loss import MODALITIES, LossBalancer, combine, loss_sums
from ernest.verifiers.judges import Judges

SEEDS = (0, 1, 2)
SIZE, ROWS = 5, 8
"""Layers of the network, from which its other sizes follow, and rows of a step."""
DRAWN = 150
"""Pictures that are drawn, and described, for a score."""
INJECTED, CELLS = 0.2, 4
"""Share of the bits that are turned over while a picture is drawn, at the scale of so many cells."""
LAST = 20
"""Steps at the end of a run over which the routers' bias is watched."""
Measures = dict[str, float]


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
        return f"{self.base}-{self.name}".replace(" ", "-").replace(",", "")


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

    def recipe(self, arm: Arm, seed: int) -> Recipe:
        """The demo's, in the sizes and steps of an arm, without sub-models."""
        whole, mixture = self.whole(), MIXTURES[arm.base]
        weights = {task: mixture.weights.get(task, 0.0) for task in self.store.tasks} if mixture.weights else whole.mixture
        training = replace(
            whole.training, steps=mixture.steps, warmup=mixture.steps // 10, save_every=mixture.steps // 2, show_every=0
        )
        return arm.change(
            replace(
                whole,
                seed=seed,
                elastic=PLAIN,
                mixture=weights,
                model=replace(whole.model, **sized(SIZE)),
                sequence=replace(whole.sequence, rows=ROWS),
                parallel=replace(whole.parallel, replicate=1),
                training=training,
            )
        )

    def judges(self) -> Judges:
        """The demo's."""
        return Judges.load(self.demo / "judges")

    def whole(self) -> Recipe:
        """The demo's recipe."""
        return from_tree(json.loads((self.demo / "recipe.json").read_text()))


def measure(study: Study, seed: int, arms: Sequence[Arm] = ARMS) -> dict[str, dict[str, Measures]]:
    """What was measured of each arm, by base and name, of one seed; what is kept is not measured again."""
    found: dict[str, dict[str, Measures]] = {}
    for arm in arms:
        folder = study.build / f"seed-{seed}"
        settings = {"size": SIZE, "rows": ROWS, "steps": MIXTURES[arm.base].steps, "weights": MIXTURES[arm.base].weights,
                    "drawn": DRAWN, "examples": study.store.fingerprint}  # fmt: skip
        made = kept(folder / f"{arm.folder}.json", settings, lambda arm=arm: _measured(study, arm, seed))
        found.setdefault(arm.base, {})[arm.name] = made
    return found


def _measured(study: Study, arm: Arm, seed: int) -> Measures:
    """Trains an arm, or goes on, and measures it; the run itself is not kept."""
    set_threads(1)
    recipe, run = study.recipe(arm, seed), study.build / f"seed-{seed}" / arm.folder
    run.mkdir(parents=True, exist_ok=True)
    study.tell(f"seed {seed}: {arm.base}, {arm.name}")
    with arm.within():
        network = train(recipe, study.store, study.tokenizers, run, on_step=_watch(study, arm, recipe, run))
        network = network.eval().requires_grad_(False)
        found = _held_out_losses(study, arm, network)
        if arm.draws:
            found |= _drawn(study, arm, network, seed)
    if arm.base == ALL:
        found |= evenness(study, recipe, network) | _watched(run)
    if arm.name == FOUR:
        found |= _cut_to_one(study, network)
    shutil.rmtree(run)
    return found


# ------------------------------------------------------------------ what is measured


def _held_out_losses(study: Study, arm: Arm, network: Ernest) -> Measures:
    examples, tasks = held_out(study.build / "held-out", study.tokenizers, study.whole().seed), MIXTURES[arm.base].tasks
    found = losses(network, examples, study.tokenizers, tasks)
    if arm.base == PICTURES:
        flipped = losses(network, examples, study.tokenizers, ("text→image",), corruption=study.whole().sequence)
        found |= {f"{name}, flipped history": value for name, value in flipped.items()}
    if arm.base == SOUNDS:
        wrong = losses(network, examples, study.tokenizers, ("text→speech",), wrong_first_codes=True)
        found |= {f"{name}, wrong first code": value for name, value in wrong.items()}
    return found


def _drawn(study: Study, arm: Arm, network: Ernest, seed: int) -> Measures:
    """Scores of pictures drawn and described, and drawn again while bits of a scale are turned over."""
    engine, judges = Engine(network, study.tokenizers, bf16=bf16_pays(network)), study.judges()

    def score(direction: str) -> float:
        return evaluate(DIRECTIONS[direction], engine, judges, seed, DRAWN)[0].value

    found = {"score, text→image": score("text→image"), "score, image→text": score("image→text")}
    if arm.name in (BASE, NO_FLIPS):
        with changes.flipped_draws(CELLS, INJECTED, seed):
            found["score, text→image, flipped bits"] = score("text→image")
    return found


def evenness(study: Study, recipe: Recipe, network: Ernest) -> Measures:
    """How evenly experts are used on four batches of the training's mixture."""
    weights = recipe.weights(study.store.tasks)
    load = mixture_load(network, study.store, weights, study.tokenizers, recipe.sequence, recipe.seed + 1000, batches=4)
    return {
        "entropy, worst layer": float(normalised_entropy(load.sum(0)).min()),
        "largest ÷ mean load, of a batch": float(1 + max_violation(load).mean()),
        "largest ÷ mean load, worst layer": float(1 + max_violation(load).mean(0).max()),
        "experts never chosen": float((load.sum(0) == 0).mean()),
    }


def _cut_to_one(study: Study, network: Ernest) -> Measures:
    """Losses with one expert a token."""
    one, examples = (
        replace(full(network.config), top_k=1),
        held_out(study.build / "held-out", study.tokenizers, study.whole().seed),
    )
    found = losses(network, examples, study.tokenizers, MIXTURES[ALL].tasks, one)
    return {f"{name}, one expert": value for name, value in found.items()}


# ------------------------------------------------------------------ what is watched in training


def _watch(study: Study, arm: Arm, recipe: Recipe, run: Path) -> Callable[[int, Mapping[str, float], Ernest], None]:
    """Notes the shares of the gradient at every quarter, and the routers' bias in the last steps."""
    steps, losses_so_far = recipe.training.steps, run / "metrics.jsonl"

    def watch(number: int, metrics: Mapping[str, float], network: Ernest) -> None:
        del metrics
        if arm.base != ALL:
            return
        if (number + 1) % (steps // 4) == 0:
            balancer = LossBalancer({})
            for line in losses_so_far.read_text().splitlines():
                balancer = balancer.observe(json.loads(line))
            append_line(run / "shares.jsonl", json.dumps({"step": number} | _shares(study, recipe, number, network, balancer)))
        if number >= steps - LAST:
            bias = [block.moe.router.selection_bias.tolist() for block in network.backbone.blocks if isinstance(block, Block)]
            append_line(run / "bias.jsonl", json.dumps({"step": number, "bias": bias}))

    return watch


def _shares(study: Study, recipe: Recipe, number: int, network: Ernest, balancer: LossBalancer) -> Measures:
    """Each modality's share of the sum of the gradients' norms, on the rows of a step, with these weights of the losses."""
    weights = recipe.weights(study.store.tasks)
    rows = plan(study.store, weights, study.tokenizers, recipe.sequence, recipe.seed, number)
    batch = collating.collate(rows, recipe.sequence.length, study.tokenizers)
    sums, counts = loss_sums(network(batch), batch)
    parameters, norms = [one for one in network.parameters() if one.requires_grad], {}
    for name, kept_losses in zip(MODALITIES, ([1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]), strict=True):
        loss = combine(sums * torch.tensor(kept_losses), counts, balancer, recipe.training.mtp_weight)
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        norms[name] = float(torch.stack([one.norm() for one in gradients if one is not None]).norm())
    return {name: norm / sum(norms.values()) for name, norm in norms.items()}


def _watched(run: Path) -> Measures:
    """The mean shares over the quarters, the largest of any quarter, and how far the bias swings in the last steps."""
    shares, bias = (_by_step(run / name) for name in ("shares.jsonl", "bias.jsonl"))
    table = np.array([[line[name] for name in MODALITIES] for line in shares])
    swing = np.array([line["bias"] for line in bias]).std(axis=0).mean()
    found = {f"share of the gradient, {name}": float(value) for name, value in zip(MODALITIES, table.mean(0), strict=True)}
    return found | {"largest share of the gradient": float(table.mean(0).max()), "swing of the bias": float(swing)}


def _by_step(path: Path) -> list[dict]:
    """The lines of a file, the last one of each step: a run that was cut writes some again."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return list({line["step"]: line for line in lines}.values())
