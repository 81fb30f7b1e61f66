"""How a network is trained, as one frozen value. The defaults are those of PP-LCNet x1.0 (arXiv 2109.15099, section 4.1).

What the paper leaves open is as in PaddleClas: no decay of normalisation, label smoothing 0.1, crops of 8 to 100 % of a picture.
"""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from ernest.lcnet.architecture import PUBLISHED, STRIDES_32, STRIDES_64, Architecture, Stride, small_images
from ernest.lcnet.image_io.preprocess import Preprocessing
from ernest.overrides import FieldError, build, read_tree

Precision = Literal["auto", "fp32", "bf16"]
Strides = Literal["auto", "published", "32", "64"]
Fit = Literal["crop", "squash", "letterbox"]

RATE_BATCH = 2048
"""The batch that `Recipe.rate` is meant for; other batches scale it (arXiv 2109.15099 trains 4 x 512 pictures a step)."""

_RANGES: tuple[tuple[tuple[str, ...], str, Callable[[float], bool]], ...] = (
    (("size", "epochs", "batch", "rate"), "a positive number", lambda value: value > 0),
    (("warmup", "weight_decay", "augment", "patience", "seed"), "0 or more", lambda value: value >= 0),
    (("dropout", "momentum", "smoothing", "ema", "erase", "held_out"), "0 to below 1", lambda value: 0 <= value < 1),
    (("balance",), "0 to 1", lambda value: 0 <= value <= 1),
    (("magnitude",), "0 to 10", lambda value: 0 <= value <= 10),
    (("at_once",), "1 or more", lambda value: value >= 1),
)
"""What the fields of a recipe may be; None where one may be left open."""

SMALL_PICTURES = 96
"""Below this side pictures are looked at whole: the border that the published 224 of 256 cut away would be missed."""


@dataclass(frozen=True)
class Recipe:
    """Every setting of a training run. Raises ValueError, which names the field, if a value makes no sense.

    Network: `arch` is a published name or "small" (`small_images`); `strides` "auto" takes `STRIDES_32` up to 48 pixels,
    `STRIDES_64` up to 96. `size` is the side in pixels of the images that the network sees, `channels` 3 or 1 (grey);
    `dropout` None leaves the architecture's.

    Optimizer: SGD with `momentum`; `rate` is the peak learning rate for a batch of 2048 and follows `batch`; `warmup` epochs of
    linear rise, at most a fifth of all, then a cosine down to zero; `stage_rates` are factors for the stem and the five stages.
    A batch goes through the network `at_once` pictures at a time, whose gradients are summed; None is all of them, or as many as
    the memory holds. `ema` is the decay of an exponential moving average of the weights, which is then scored and saved; 0 is
    none.

    Augmentation: crops of a fraction of the area between `crop_area`, of a width over height between `crop_aspect`, both drawn
    uniformly; `flip`; `sizes` trains every batch at one of these sides instead of `size`; `elastic_distort` warps strokes;
    `augment` is how many of RandAugment's operations, of `magnitude` 0 to 10, change a picture; `erase` is the fraction of
    pictures of which a rectangle is set to zero. `resize` is the short side at evaluation; None is 256/224 of `size`, or
    `size` itself below 96.

    `fit` says what becomes of pictures that are no squares: "crop" looks at their middle, as the published networks do, "squash"
    presses the whole picture into the square, in training too, for what shows at the ends of long ones; "letterbox" keeps its
    form and fills what is left with the mean. With these two `width` may differ from `size`, which then is the height.

    `label_separator` stands between the labels of a picture that may have several, or none: in the names of folders and in the
    cells of a table ("+" for "cat+dog"); lists in JSON need none. Empty: every picture has one label. `balance` draws rare
    classes more often, by (pictures of the class) to the power of -`balance`: 1 draws all equally often, and the best network
    is then the one with the highest mean recall of the classes.

    A training ends before its last epoch after `patience` epochs without a better network; 0 is never.

    `held_out` is the fraction of each class that is kept for evaluation where the data have no validation part.
    """

    arch: str = "PPLCNet_x1_0"
    size: int = 224
    width: int | None = None
    channels: int = 3
    strides: Strides = "auto"
    dropout: float | None = None
    epochs: int = 360
    batch: int = 2048
    at_once: int | None = None
    rate: float = 0.8
    warmup: float = 5.0
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-5
    smoothing: float = 0.1
    stage_rates: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    ema: float = 0.0
    crop_area: tuple[float, ...] = (0.08, 1.0)
    crop_aspect: tuple[float, ...] = (3 / 4, 4 / 3)
    flip: bool = True
    sizes: tuple[int, ...] = ()
    elastic_distort: bool = False
    augment: int = 0
    magnitude: float = 9.0
    erase: float = 0.0
    resize: int | None = None
    fit: Fit = "crop"
    label_separator: str = ""
    balance: float = 0.0
    patience: int = 0
    held_out: float = 0.1
    seed: int = 0
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        if self.arch not in PUBLISHED and self.arch != "small":
            known = ", ".join([*PUBLISHED, "small"])
            raise ValueError(f"arch: expected one of {known}, got {self.arch!r}{_near(self.arch, PUBLISHED)}")
        choices = {"strides": get_args(Strides), "fit": get_args(Fit), "precision": get_args(Precision), "channels": (1, 3)}
        for field, known in choices.items():
            if getattr(self, field) not in known:
                raise ValueError(f"{field}: expected one of {', '.join(map(str, known))}, got {getattr(self, field)!r}")
        for names, expected, fits in _RANGES:
            for field in names:
                value = getattr(self, field)
                if value is not None and not fits(value):
                    raise ValueError(f"{field}: expected {expected}, got {value}")
        if self.balance and self.label_separator:
            raise ValueError("balance: pictures of several labels belong to no one class; leave balance or label_separator out")
        if len(self.stage_rates) != 6 or min(self.stage_rates) < 0:
            raise ValueError(f"stage_rates: expected six factors, for the stem and five stages, got {self.stage_rates}")
        for field, most in (("crop_area", 1.0), ("crop_aspect", math.inf)):
            low_high = getattr(self, field)
            if len(low_high) != 2 or not 0 < low_high[0] <= low_high[1] <= most:
                raise ValueError(f"{field}: expected two positive numbers, the smaller first, got {low_high}")
        if self.resize is not None and self.fit != "crop":
            raise ValueError("resize: a picture that is seen whole has no border to cut away; leave resize or fit out")
        if self.width is not None and (self.width < 1 or self.fit == "crop"):
            raise ValueError(f"width: expected a positive width, with fit squash or letterbox, got {self.width} with {self.fit}")
        if self.resize is not None and self.resize < self.size:
            raise ValueError(f"resize: expected at least the size of {self.size}, got {self.resize}")
        if min(self.sizes, default=1) < 1:
            raise ValueError(f"sizes: expected positive sides, got {self.sizes}")
        _check_normalised(self)


def _check_normalised(recipe: Recipe) -> None:
    """Raises ValueError where the last maps of pictures that go through together are one pixel, which has no deviation."""
    parts = -(-recipe.batch // (recipe.at_once or recipe.batch))
    strides = [one if isinstance(one, tuple) else (one, one) for one in architecture_of(recipe, 1).strides]
    down = [math.prod(stride[axis] for stride in strides) for axis in (0, 1)]
    sides = sides_of(recipe, min((recipe.size, *recipe.sizes)))
    if recipe.batch // parts == 1 and all(side <= stride for side, stride in zip(sides, down, strict=True)):
        field = "batch" if parts == 1 else "at_once"
        raise ValueError(f"{field}: expected 2 pictures or more, got 1: at {sides[0]}x{sides[1]} the last map of one is a pixel")


def published_recipe(arch: str, **changes: Any) -> Recipe:
    """The recipe that a published network was trained with: the table of the paper, and PaddleClas for what it leaves out."""
    base: dict[str, Any] = {"arch": arch}
    if arch.startswith("PPLCNetV2"):
        base |= {"epochs": 480, "weight_decay": 4e-5, "sizes": (160, 192, 224, 288, 320)}
        base |= {"PPLCNetV2_small": {"weight_decay": 2e-5}, "PPLCNetV2_large": {"rate": 0.4}}.get(arch, {})
    elif arch in PUBLISHED and PUBLISHED[arch].scale > 1:
        base["weight_decay"] = 4e-5
    return Recipe(**(base | changes))


def distillation_recipe(arch: str, **changes: Any) -> Recipe:
    """The recipe of PaddleClas for an SSLD student: x2.5 as published, every other width as x1.0 (rate 0.4 for 1024 a step)."""
    base: dict[str, Any] = {"epochs": 200, "batch": 1024, "rate": 0.8, "weight_decay": 1e-5, "dropout": 0.0}
    if arch == "PPLCNet_x2_5":
        base = {"epochs": 100, "batch": 1024, "rate": 0.4, "weight_decay": 4e-5}
    return published_recipe(arch, **(base | changes))


def load_recipe(file: str | Path | None = None, overrides: Mapping[str, Any] | Sequence[str] = ()) -> Recipe:
    """The published recipe of `arch` with the fields of a TOML file and, over them, `overrides`: a mapping or "field=value".

    Raises ValueError, which names the file or the field and the nearest name there is, for anything that is no recipe.
    """
    texts = () if isinstance(overrides, Mapping) else overrides
    try:
        tree = read_tree(file, texts)
    except FieldError as error:
        raise ValueError(f"{error.value!r}: expected field=value, such as epochs=20") from None
    tree |= overrides if isinstance(overrides, Mapping) else {}
    arch = build(str, tree.get("arch", Recipe.arch), "arch")
    return build(Recipe, dump(published_recipe(arch)) | tree)


def fields_of_size(text: str, fields: Sequence[str] = ()) -> tuple[str, ...]:
    """The fields, as `load_recipe` takes them, for images of a side such as "64" or of height x width such as "64x256".

    Whole pictures are pressed into images that are no squares, unless the other `fields` say how they fit. Raises ValueError.
    """
    sides = text.lower().replace("×", "x").split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() and int(side) for side in sides):
        raise ValueError(f"size: expected a side such as 64, or height x width such as 64x256, got {text!r}")
    if len({*map(int, sides)}) == 1:
        return (f"size={int(sides[0])}",)
    fit = () if any(field.startswith("fit=") for field in fields) else ("fit=squash",)
    return (f"size={int(sides[0])}", f"width={int(sides[1])}", *fit)


def dump(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON can hold it; `load_recipe(overrides=dump(recipe))` is the same recipe."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(recipe).items()}


def peak_rate(recipe: Recipe, batch: int | None = None) -> float:
    """The highest learning rate, scaled by the batch: twice the pictures in a step, twice the rate."""
    return recipe.rate * (batch or recipe.batch) / RATE_BATCH


def architecture_of(recipe: Recipe, classes: int) -> Architecture:
    """The network that the recipe trains."""
    if recipe.arch == "small":
        chosen = small_images(classes)
    else:
        chosen = replace(PUBLISHED[recipe.arch], classes=classes, strides=_strides(recipe))
    dropout = chosen.dropout if recipe.dropout is None else recipe.dropout
    return replace(chosen, in_channels=recipe.channels, dropout=dropout)


def sides_of(recipe: Recipe, size: int | None = None) -> tuple[int, int]:
    """Height and width of what the network sees, or of the same form with the height `size`."""
    height, width = recipe.size, recipe.width or recipe.size
    return (height, width) if size is None else (size, max(1, round(size * width / height)))


def largest_sides(recipe: Recipe) -> tuple[int, int]:
    """Height and width of the largest images that a training with `sizes` sees."""
    return sides_of(recipe, max((recipe.size, *recipe.sizes)))


def name_of(architecture: Architecture) -> str:
    """The `arch` whose widths and blocks these are; that of the paper's x1.0 where there is none."""
    for name, one in (*PUBLISHED.items(), ("small", small_images(1))):
        if (one.scale, one.stages, one.stem) == (architecture.scale, architecture.stages, architecture.stem):
            return name
    return Recipe.arch


def preprocessing_of(recipe: Recipe) -> Preprocessing:
    """What pictures go through at evaluation, and with the trained network ever after."""
    whole = recipe.size if recipe.size < SMALL_PICTURES else round(recipe.size * 256 / 224)
    standard = Preprocessing()
    grey = {"mean": (0.449,), "std": (0.226,)} if recipe.channels == 1 else {}  # the means of ImageNet's three
    if recipe.fit != "crop":
        return replace(standard, resize=sides_of(recipe), crop=None, letterbox=recipe.fit == "letterbox", **grey)
    return replace(standard, resize=recipe.resize or whole, crop=(recipe.size, recipe.size), **grey)


def _strides(recipe: Recipe) -> tuple[Stride, ...]:
    side = min(sides_of(recipe, min((recipe.size, *recipe.sizes))))
    if recipe.strides == "32" or (recipe.strides == "auto" and side <= 48):
        return STRIDES_32
    if recipe.strides == "64" or (recipe.strides == "auto" and side <= SMALL_PICTURES):
        return STRIDES_64
    return PUBLISHED[recipe.arch].strides


def _near(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
