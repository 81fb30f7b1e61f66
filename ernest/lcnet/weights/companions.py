"""Reads what lies beside the weights of others: `config.json` of Hugging Face and of timm, and `preprocessor_config.json`.

They tell what no tensor shows: strides, the rate of the dropout, activation, names of classes, how pictures are prepared. Of
PaddleClas' files only the names tell some of it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import floor
from pathlib import Path
from typing import Any, TypeVar

from ernest.lcnet.architecture import STRIDES_TEXT_LINE, Activation, Block, Stages, Stride
from ernest.lcnet.image_io.preprocess import HUGGING_FACE, PADDLECLAS, TIMM, Preprocessing

ACTIVATIONS: Mapping[str, Activation] = {"hardswish": "h-swish", "relu": "relu"}

LARGEST = 10_000_000
"""Bytes of a file of settings; none has a tenth of that, names of classes included."""

Told = TypeVar("Told")


@dataclass(frozen=True)
class Settings:
    """What a `config.json` tells: fields of the architecture, the rate of the dropout, the names of the classes, whether a
    picture has many of them."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    dropout: float | None = None
    labels: tuple[str, ...] = ()
    many: bool = False


def hugging_face_settings(path: Path) -> Settings | None:
    """The settings of a `pp_lcnet` of transformers; None where there is no file. Raises ValueError, which names the file."""
    return _read(path, _hugging_face_settings)


def hugging_face_preprocessing(path: Path) -> Preprocessing | None:
    """What a `PPLCNetImageProcessor` does to pictures; None where there is no file. Raises ValueError, which names the file."""
    return _read(path, _hugging_face_preprocessing)


def timm_settings(path: Path) -> Settings | None:
    """Names of the classes of a model of timm; None where there is no file, or that of another library."""
    return _read(path, _timm_settings)


def timm_preprocessing(path: Path) -> Preprocessing | None:
    """How a model of timm is evaluated; None where there is no file, or that of another library."""
    return _read(path, _timm_preprocessing)


def _read(path: Path, parse: Callable[[dict[str, Any]], Told]) -> Told | None:
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("too large")
        about = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(about, dict):
            raise ValueError("no table of settings")
        return parse(about)
    except (ValueError, AttributeError, IndexError, KeyError, TypeError, OverflowError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else repr(error)
        raise ValueError(f"{path.name}: expected the settings of a PP-LCNet: {reason}") from None


# --------------------------------------------------------------------------------------------------------- Hugging Face


def _hugging_face_settings(about: dict[str, Any]) -> Settings:
    kind = about.get("model_type", "pp_lcnet")
    if kind != "pp_lcnet":
        raise ValueError(f"model_type is {kind}")
    activation = about.get("hidden_act", "hardswish")
    if activation not in ACTIVATIONS:
        raise ValueError(f"hidden_act is {activation}, of which there are {' and '.join(ACTIVATIONS)} here")
    fields: dict[str, Any] = {"activation": ACTIVATIONS[activation]}
    for theirs, ours in (("scale", "scale"), ("stem_channels", "stem"), ("reduction", "reduction"), ("divisor", "divisor")):
        if about.get(theirs) is not None:
            fields[ours] = about[theirs]
    if about.get("block_configs") is not None:
        stages, strides = _stages(about["block_configs"])
        fields |= {"stages": stages, "strides": (_stride(about.get("stem_stride", 2)), *strides)}
    elif about.get("stem_stride") is not None:
        fields["strides"] = (_stride(about["stem_stride"]), 1, 2, 2, 2, 2)
    names = {int(number): str(name) for number, name in (about.get("id2label") or {}).items()}
    if sorted(names) != list(range(len(names))):
        raise ValueError("id2label does not number the classes from 0")
    labels = tuple(names[number] for number in range(len(names)))
    many = about.get("problem_type") == "multi_label_classification"
    return Settings(fields, float(about.get("hidden_dropout_prob", 0.2)), labels, many)


def _stages(table: Any) -> tuple[Stages, tuple[Stride, ...]]:
    """Rows of (kernel, channels in, channels out, stride, squeeze-and-excite), one a block, in a list for each stage."""
    stages, strides = [], []
    for number, rows in enumerate(table):
        blocks = [Block(int(kernel), int(out), squeeze=bool(squeeze)) for kernel, _, out, _, squeeze in rows]
        later = [_stride(row[3]) for row in rows[1:]]
        if any(stride != 1 for stride in later):
            raise ValueError(f"block_configs: stage {number} has a stride behind its first block, {later}")
        stages.append(tuple(blocks))
        strides.append(_stride(rows[0][3]))
    return tuple(stages), tuple(strides)


def _stride(value: Any) -> Stride:
    if not isinstance(value, list):
        return int(value)
    vertical, horizontal = value
    return int(vertical) if vertical == horizontal else (int(vertical), int(horizontal))


def _hugging_face_preprocessing(about: dict[str, Any]) -> Preprocessing:
    """Whatever the order of the colours, the mean and deviation there are those of red, green, blue, and blue comes first at
    the end; a file may leave out what is as the class has it."""
    defaults = {"do_resize": True, "do_center_crop": True, "do_rescale": True, "do_normalize": True, "resample": 2}
    about = defaults | {"image_mean": HUGGING_FACE.mean[::-1], "image_std": HUGGING_FACE.std[::-1]} | about
    if about.get("size_divisor") not in (None, 1):
        raise ValueError(f"size_divisor is {about['size_divisor']}, which is not known here")
    if not about["do_resize"] or not about["do_rescale"] or abs(about.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-6:
        raise ValueError("pictures are not resized, or not scaled by 1/255, which is not known here")
    if about["resample"] not in (2, 3):
        raise ValueError(f"resample is {about['resample']}, of which there are 2 (bilinear) and 3 (bicubic) here")
    short = about.get("resize_short", 256)
    resize = int(short) if short is not None else _sides(about.get("size", {"height": 256, "width": 256}))
    crop = _sides(about.get("crop_size", 224)) if about["do_center_crop"] else None
    rule = replace(HUGGING_FACE, resize=resize, crop=crop, cubic=about["resample"] == 3)
    if not about["do_normalize"]:
        return replace(rule, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    mean, std = (tuple(map(float, about[key][::-1])) for key in ("image_mean", "image_std"))
    return replace(rule, mean=mean, std=std)


def _sides(value: Any) -> tuple[int, int]:
    return (int(value["height"]), int(value["width"])) if isinstance(value, dict) else (int(value), int(value))


# ---------------------------------------------------------------------------------------------------------------- timm


def _timm_settings(about: dict[str, Any]) -> Settings:
    names = about.get("label_names") or about.get("pretrained_cfg", {}).get("label_names") or ()
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names, key=int)]
    return Settings(labels=tuple(map(str, names)))


def _timm_preprocessing(about: dict[str, Any]) -> Preprocessing | None:
    """As timm's transforms for evaluation: the short side is the crop's by `crop_pct`, rounded down."""
    if "architecture" not in about:
        return None
    if not str(about["architecture"]).startswith("lcnet"):
        raise ValueError(f"architecture is {about['architecture']}")
    rule = about.get("pretrained_cfg") or {}
    mode, share = rule.get("crop_mode") or "center", float(rule.get("crop_pct") or 0.875)
    _, height, width = rule.get("input_size", (3, 224, 224))
    kind = rule.get("interpolation", "bilinear")
    if kind not in ("bilinear", "bicubic"):
        raise ValueError(f"interpolation is {kind}, of which there are bilinear and bicubic here")
    if mode not in ("center", "squash") or (mode == "center" and height != width):
        raise ValueError(f"crop_mode is {mode} for pictures of {height}x{width}, which is not known here")
    sides = floor(height / share), floor(width / share)
    mean, std = (tuple(map(float, rule.get(key) or getattr(TIMM, key))) for key in ("mean", "std"))
    resize = sides if mode == "squash" else sides[0]
    return replace(TIMM, resize=resize, crop=(int(height), int(width)), cubic=kind == "bicubic", mean=mean, std=std)


# ---------------------------------------------------------------------------------------------------------- PaddleClas


@dataclass(frozen=True)
class Named:
    """A published network of PaddleClas that differs from those for ImageNet in what no tensor shows."""

    part: str
    classes: int
    strides: tuple[Stride, ...] | None
    preprocessing: Preprocessing
    many: bool = False


TEXT = replace(PADDLECLAS, resize=(80, 160), crop=None)

PADDLE_NAMED = (
    Named("textline_ori", 2, STRIDES_TEXT_LINE, TEXT),
    Named("language_classification", 10, STRIDES_TEXT_LINE, TEXT),
    Named("person_attribute", 26, None, replace(TEXT, resize=(256, 192)), many=True),
    Named("pedestrian_attribute", 26, None, replace(TEXT, resize=(256, 192)), many=True),
    Named("vehicle_attribute", 19, None, replace(TEXT, resize=(192, 256)), many=True),
)
"""Of PULC and PaddleX, by a part of the name of the file or of its folder, and by the number of classes."""


def paddle_named(path: Path, classes: int) -> Named | None:
    """What the name of a file, together with its number of classes, tells of a network of PaddleClas."""
    name = f"{path.absolute().parent.name}/{path.name}".lower()
    return next((one for one in PADDLE_NAMED if one.part in name and one.classes == classes), None)
