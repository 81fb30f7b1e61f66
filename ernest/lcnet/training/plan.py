"""Chooses size, network, batch, epochs, rate and crops of a training from its pictures and from the time that it may take."""

import json
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ernest import storage
from ernest.lcnet.architecture import Architecture
from ernest.lcnet.image_io.read import upright_size
from ernest.lcnet.network import PPLCNet
from ernest.lcnet.training.flips import Mirrored, try_mirrored
from ernest.lcnet.training.listing import Listing, places
from ernest.lcnet.training.loop import update
from ernest.lcnet.training.losses import supervised
from ernest.lcnet.training.recipe import RATE_BATCH, Recipe, architecture_of, dump, load_recipe, name_of, peak_rate, sides_of
from ernest.lcnet.training.schedule import make_optimizer, set_rate
from ernest.overrides import read_tree

FILE = "plan.json"
SAMPLE = 64
"""Pictures whose sizes are looked at."""

TRIAL, TRIAL_PIXELS = 16, 1 << 20
"""Pictures in a step that is timed, at least, and their pixels: a step of few small ones is mostly what every step costs."""

SIZES = (32, 64, 96, 128, 160, 224)
CANDIDATES = (("PPLCNet_x1_0", 1.0), ("PPLCNet_x0_5", 1.0), ("PPLCNet_x0_5", 0.6), ("PPLCNet_x0_25", 0.6))
"""Networks and shares of the size, the most capable first: the first is taken whose epochs fit into the time."""

LONG, LONGEST = 2.0, 8.0
"""From this ratio of the sides on pictures are pressed whole into images of their form, up to the second: the middle square would
miss their ends."""

TINY = 48
SMALL = (("small", 1.0),)
"""For pictures up to this side there is a network of their size, which sees three times as many of them a second as x0.5."""

ENOUGH_EPOCHS, MOST_EPOCHS, LEAST_EPOCHS = 30, 200, 3
ENOUGH_STEPS, MOST_STEPS = 3000, 12_000
"""Few pictures want many epochs: a small network that has learnt beats a large one that has not."""

UNEVEN = 10
"""So many times the pictures of the rarest class, and drawing them equally is proposed: top-1 would not show what is lost."""

SHARE = 0.85
"""Of the time for the steps; the rest is for reading pictures and for scoring."""

FEW = 5000
"""Below so many pictures, crops keep half of each, and small ones get the network of their size alone."""
RATE = 0.1
"""The peak rate for 64 pictures a step from random weights; a start that has been trained gets a fifth of it."""


@dataclass(frozen=True)
class Budget:
    """What is given where no recipe is: about how long a run may take, and fields of the recipe, a mapping or "field=value"."""

    minutes: float = 20.0
    fields: Mapping[str, Any] | Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.minutes > 0:
            raise ValueError(f"minutes: expected a positive number, got {self.minutes}")


@dataclass(frozen=True)
class Plan:
    """A recipe, and why it is this one, in lines for the terminal."""

    recipe: Recipe
    reasons: tuple[str, ...]


def make_plan(listing: Listing, budget: Budget, out: Path, started: Architecture | None = None) -> Plan:
    """The recipe for these pictures: fields as they are given, all others such that a run takes about the time of the budget.

    A plan is kept in `out` and taken again for the same question, so that a run that was interrupted goes on; where a run has
    begun, other minutes change nothing but its epochs, other processors nothing at all, and its plan is not replaced by one for
    other pictures, which that run refuses; epochs and patience may always be others. `started` is the network of the weights to
    start from. Raises ValueError as `load_recipe` does for fields.
    """
    given = budget.fields if isinstance(budget.fields, Mapping) else read_tree(None, budget.fields)
    side, form = typical_form(listing)
    length = {name: value for name, value in given.items() if name in ("epochs", "patience")}
    fields = {name: value for name, value in given.items() if name not in length}
    asked = {"fields": fields, "minutes": budget.minutes, "pictures": len(listing.files), "side": side, "form": round(form, 2)}
    asked["started"] = started is not None and name_of(started)
    asked |= {"labels": list(listing.labels), "processors": torch.get_num_threads()}
    begun = (out / "state.safetensors").exists() and (out / FILE).exists()
    kept, before = _kept(out / FILE, asked, ("minutes", "processors") if begun else ("minutes",))
    if kept is not None and (before == budget.minutes or begun):
        recipe = load_recipe(overrides=kept | {"epochs": max(1, round(kept["epochs"] * budget.minutes / before))} | length)
        longer = f", but {recipe.epochs} epochs instead of {kept['epochs']}" if recipe.epochs != kept["epochs"] else ""
        return Plan(recipe, (f"as planned before ({out / FILE}){longer}",))
    mirrored = None if "flip" in given else try_mirrored(listing)
    name = name_of(started) if started else None
    recipe, reasons = _chosen(len(listing.files), len(listing.labels), (side, form), given, budget.minutes, name, mirrored)
    reasons += _uneven(listing, recipe)
    if not begun:
        storage.write_text(out / FILE, json.dumps({"asked": asked, "recipe": dump(recipe)}, indent=1))
    return Plan(recipe, reasons)


def typical_form(listing: Listing) -> tuple[int, float]:
    """The median short side of some pictures and the median of width over height, from their headers; 224 and 1 of no picture."""
    from PIL import Image

    sides, forms = [], []
    for index in np.linspace(0, len(listing.files) - 1, min(SAMPLE, len(listing.files))).astype(int):
        try:
            with Image.open(listing.files[index]) as picture:
                height, width = upright_size(picture)
                sides.append(min(height, width))
                forms.append(width / height)
        except Exception:  # whatever is wrong with it is told when it is read
            continue
    return (int(np.median(sides)), float(np.median(forms))) if sides else (224, 1.0)


def _chosen(
    count: int,
    classes: int,
    shape: tuple[int, float],
    fields: Mapping[str, Any],
    minutes: float,
    started: str | None,
    mirrored: Mirrored | None,
) -> tuple[Recipe, tuple[str, ...]]:
    """The most capable network of which enough epochs fit into the minutes, and why."""
    side, form = shape if not fields.keys() & {"size", "width", "fit", "resize", "sizes"} else (shape[0], 1.0)
    natural = max((size for size in SIZES if size <= 1.25 * side), default=SIZES[0])
    base = _settings(count, natural, bool(fields.get("label_separator")), started is not None)
    if mirrored is not None:
        base["flip"] = not mirrored.hurts
    steps = max(1, count // int(fields.get("batch", base["batch"])))
    seconds, chosen, epochs = 0.0, base, LEAST_EPOCHS
    for arch, share in _candidates(natural, count < FEW, started):
        size = max(SIZES[0], int(share * natural) // 32 * 32)
        chosen = base | {"arch": arch, **_sides(size, form)} | dict(fields)
        seconds = step_seconds(load_recipe(overrides=chosen | {"epochs": 1}), classes)
        epochs = int(SHARE * 60 * minutes / (seconds * steps))
        if epochs >= max(ENOUGH_EPOCHS, min(MOST_EPOCHS, ENOUGH_STEPS // steps)) or {"arch", "size"} <= set(fields):
            break
    most = min(MOST_EPOCHS, max(2 * ENOUGH_EPOCHS, MOST_STEPS // steps))
    recipe = load_recipe(overrides={"epochs": int(np.clip(epochs, LEAST_EPOCHS, most))} | chosen)
    return recipe, (
        f"{count} pictures of {classes} classes, short side {side}: {recipe.arch} at {recipe.size}x{recipe.width or recipe.size}"
        + (", whole pictures pressed into that" if recipe.fit == "squash" else ""),
        f"{recipe.epochs} epochs of {steps} steps with {recipe.batch} pictures, {seconds:.2f} s each: about "
        f"{max(1, round(recipe.epochs * steps * seconds / 60))} minutes",
        f"rate {peak_rate(recipe):.3g}, crops from {recipe.crop_area[0]:.0%}, {_flips(recipe, mirrored)}",
        "any of it by --set, more time by --minutes, the paper's recipe by --recipe paper",
    )


def _settings(count: int, natural: int, many: bool, started: bool) -> dict[str, Any]:
    """What follows from the number of pictures and their natural size, whatever the network."""
    return {
        "batch": int(np.clip(2 ** round(np.log2(max(1, count) / 40)), 16, 128)),
        "weight_decay": 5e-4,
        "sizes": (),
        "nesterov": True,
        "rate": RATE * (0.2 if started else 1.0) * RATE_BATCH / 64,
        "smoothing": 0.0 if many else 0.1,
        "crop_area": (0.5, 1.0) if count < FEW or natural <= 96 else (0.2, 1.0),
    }


def _sides(short: int, form: float) -> dict[str, Any]:
    """Fields for images with this short side: squares, or of the form of long pictures, which is width over height."""
    if max(form, 1 / form) < LONG:
        return {"size": short}
    long = round(short * min(LONGEST, max(form, 1 / form)) / 32) * 32
    return {"size": short, "width": long, "fit": "squash"} if form > 1 else {"size": long, "width": short, "fit": "squash"}


def _candidates(natural: int, few: bool, started: str | None) -> tuple[tuple[str, float], ...]:
    if started:
        return ((started, 1.0), (started, 0.6))
    if natural > TINY:
        return CANDIDATES
    return SMALL if few else (*CANDIDATES[:2], *SMALL)


def _uneven(listing: Listing, recipe: Recipe) -> tuple[str, ...]:
    """A line where classes are so uneven that the rare ones will hardly be learnt."""
    counts = Counter(place for target in listing.targets for place in places(target))
    most, least = max(counts.values(), default=1), min(counts.values(), default=1)
    if listing.many or recipe.balance or most < UNEVEN * least:
        return ()
    return (f"classes have {least} to {most} pictures: --set balance=1 draws them equally often and scores by class",)


def _flips(recipe: Recipe, mirrored: Mirrored | None) -> str:
    """Whether pictures are mirrored, and what was found of it."""
    flips = f"flips {'on' if recipe.flip else 'off'}"
    if mirrored is None or not mirrored.count:
        return flips
    found = f"{mirrored.plain:.0%} of {mirrored.count} pictures look most like another of their class"
    return f"{flips}: {found}, {mirrored.mirrored:.0%} when mirrored"


def step_seconds(recipe: Recipe, classes: int) -> float:
    """Of one step of the recipe on this machine, by two of a few pictures after one that does not count."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PPLCNet(architecture_of(recipe, classes)).train()
        optimizer, objective = make_optimizer(network, recipe), supervised(recipe.smoothing)
        set_rate(optimizer, 1e-4)
        count = min(recipe.batch, max(TRIAL, TRIAL_PIXELS // math.prod(sides_of(recipe))))
        images = torch.randn(count, recipe.channels, *sides_of(recipe)).contiguous(memory_format=torch.channels_last)
        targets = torch.zeros(count, dtype=torch.long)
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            update(network, objective, optimizer, images, targets, bf16=recipe.precision == "bf16")
            times.append(time.perf_counter() - begun)
    return min(times[1:]) * recipe.batch / count


def _kept(path: Path, asked: Mapping[str, Any], free: Sequence[str]) -> tuple[dict[str, Any] | None, float]:
    """The recipe of an earlier plan that answered the same question but for what is `free`, and the minutes of that one."""
    try:
        saved = json.loads(path.read_text())
        before = float(saved["asked"]["minutes"])
        same = saved["asked"] | {name: asked[name] for name in free} == json.loads(json.dumps(asked))
        return (saved["recipe"], before) if same else (None, 0.0)
    except (OSError, ValueError, KeyError, TypeError):
        return None, 0.0
