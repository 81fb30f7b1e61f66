"""Loads networks from files of Ernest, PaddleClas, timm and Hugging Face; infers architecture and pre-processing, and says how.

Official names, none of which this package fetches. PaddleClas: `PPLCNet_x{0_25,0_35,0_5,0_75,1_0,1_5,2_0,2_5}_pretrained`,
`PPLCNet_x{0_25,0_5,1_0,2_5}_ssld_pretrained`, `PPLCNetV2_{small,base,large}_pretrained` and `PPLCNetV2_base_ssld_pretrained`,
all `.pdparams`. timm: `lcnet_{050,075,100}` and `lcnetv2_{small,base,large}`, as `.pth` or as `model.safetensors`. Hugging
Face: `PP-LCNet_x1_0_{doc_ori,table_cls,textline_ori}_safetensors` and `PP-LCNet_x0_25_textline_ori_safetensors`.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import torch

from ernest.lcnet.architecture import Activation, Architecture, Stride
from ernest.lcnet.decision import ONE
from ernest.lcnet.image_io.preprocess import HUGGING_FACE, PADDLECLAS, TEXT_LINE, TIMM, Preprocessing, describe
from ernest.lcnet.inference import without_helpers
from ernest.lcnet.network import PPLCNet
from ernest.lcnet.weights.arrange import Parts, arrange, fill_network, recognise, select
from ernest.lcnet.weights.companions import (
    Named,
    Settings,
    hugging_face_preprocessing,
    hugging_face_settings,
    paddle_named,
    timm_preprocessing,
    timm_settings,
)
from ernest.lcnet.weights.given import UNKNOWN, Foreign
from ernest.lcnet.weights.key_maps import Origin, is_second
from ernest.lcnet.weights.load import find_weights, refuse_folder
from ernest.lcnet.weights.native import Checkpoint, empty_network, is_folded, read_checkpoint, read_metadata
from ernest.lcnet.weights.paddle_export import Export, read_export

LOG = logging.getLogger(__name__)
"""Says, as information, of each file of others what was assumed; the commands print it."""

PADDLE_DROPOUT = 0.2

PREPROCESSING: Mapping[Origin, Preprocessing] = MappingProxyType(
    {"PaddleClas": PADDLECLAS, "PaddleClas V2": PADDLECLAS, "timm": TIMM, "timm V2": TIMM, "Hugging Face": HUGGING_FACE}
)
"""How each origin prepares pictures, as far as no file and no option says otherwise."""

Value = TypeVar("Value")


def load(path: str | Path, *, dropout: float | None = None, strides: tuple[Stride, ...] | None = None) -> PPLCNet:
    """The network of a file, ready to classify: one of ours (`save`), or a published one.

    Of a published file, which width, how many classes and whose names shows in the file.
    Paddle's dropout, unlike everyone's, scales when it classifies: by 1 - rate, which goes into the classifier here.
    The rate is 0.2, or what the `config.json` beside a file of Hugging Face says; `dropout` overrides it (the published
    x1.0 SSLD student was trained with 0). timm's files need no factor. Strides do not show in weights: `strides` are
    those of the architecture, or of `config.json`, unless given.
    Raises ValueError, which names the file, for anything that is not a whole network, and OSError.
    """
    return load_checkpoint(path, Foreign(strides, dropout)).network


@without_helpers()
def load_checkpoint(path: str | Path, foreign: Foreign = UNKNOWN) -> Checkpoint:
    """As `load`, with the labels and the pre-processing: those in our own file, or those that the origin is known to use.

    Of a file of others, `about["read_as"]` says what was taken from where, and what was assumed. Processes may be forked
    afterwards (`without_helpers`).
    """
    path = Path(path)
    refuse_folder(path)
    if read_metadata(path) is not None:
        refuse_foreign(path, foreign)
        return read_checkpoint(path)
    try:
        return _load_foreign(path, foreign)
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None


def refuse_foreign(path: Path, foreign: Foreign) -> None:
    """Raises ValueError if anything is said of a file that is our own."""
    if foreign != UNKNOWN:
        raise ValueError(
            f"{path}: pre-processing, dropout, strides and many labels are for the files of others; this one holds its own"
        )


def load_start(path: str | Path, foreign: Foreign = UNKNOWN) -> Checkpoint:
    """As `load_checkpoint`, for a training to start from, whose pictures have red first: of a network that wants blue first, the
    first kernel is turned round. Raises ValueError for a deployed network, which cannot learn."""
    saved = load_checkpoint(path, foreign)
    if saved.precision is not None or is_folded(saved.network):
        raise ValueError(f"{path}: a deployed network, without normalisation: start from the checkpoint that it was made of")
    rule = saved.preprocessing
    if not rule.bgr:
        return saved
    kernel = saved.network.stem.get_parameter("0.weight")
    with torch.no_grad():
        kernel.copy_(kernel.flip(1))
    return replace(saved, preprocessing=replace(rule, bgr=False, mean=rule.mean[::-1], std=rule.std[::-1]))


def _load_foreign(path: Path, foreign: Foreign) -> Checkpoint:
    reading = _Reading()
    exported = read_export(path)
    place, tensors = ("", exported.tensors) if exported else find_weights(path)
    parts = select(tensors)
    beside, prepared = _beside(path, parts, foreign.preprocessing is None)
    named = paddle_named(path, parts.classes) if parts.origin == "PaddleClas" else None
    architecture = replace(recognise(parts), **beside.fields)

    strides = reading.first(
        "strides",
        (foreign.strides, "given"),
        (exported and exported.strides, "as exported"),
        (beside.fields.get("strides"), "config.json"),
        (named and named.strides, f"the network's name, {named.part if named else ''}"),
        (architecture.strides, "timm's" if parts.origin.startswith("timm") else "assumed"),
    )
    architecture = replace(architecture, strides=strides)
    factor = _factor(reading, parts, foreign, beside, exported.dropout if exported else None)
    lines = any(isinstance(stride, tuple) for stride in strides)
    preprocessing = reading.first(
        "pictures",
        (foreign.preprocessing, "given"),
        (exported and _exported_rule(exported.size), "assumed from the size that it was exported for"),
        (prepared, "the file beside it"),
        (named and named.preprocessing, f"the network's name, {named.part if named else ''}"),
        (_assumed(parts, architecture, lines), "assumed"),
    )
    preprocessing = reading.fitted(preprocessing, architecture.in_channels)
    activation = _activation(reading, parts.origin, foreign, beside, exported, architecture.activation)
    architecture = replace(architecture, activation=activation)
    many = _many(reading, foreign, beside, named)
    network = empty_network(architecture)
    fill_network(network, parts.origin, arrange(parts, factor), "config.json" if beside.fields else "")
    if beside.labels and len(beside.labels) != architecture.classes:
        raise ValueError(f"config.json: names {len(beside.labels)} classes, but the weights have {architecture.classes}")
    text = reading.text(path, parts, architecture, place)
    about = {"origin": parts.origin, "file": path.name, "read_as": text}
    return Checkpoint(network.eval(), beside.labels, preprocessing, about, decision=replace(ONE, many=many))


def _beside(path: Path, parts: Parts, wants_pictures: bool) -> tuple[Settings, Preprocessing | None]:
    """What the files beside the weights tell of the network and, where that is asked for, of the pictures."""
    config = path.with_name("config.json")
    if parts.origin == "Hugging Face":
        settings = hugging_face_settings(config)
        rule = hugging_face_preprocessing(path.with_name("preprocessor_config.json")) if wants_pictures else None
        return settings or Settings(), rule
    if parts.origin in ("timm", "timm V2"):
        return timm_settings(config) or Settings(), timm_preprocessing(config) if wants_pictures else None
    return Settings(), None


def _factor(reading: "_Reading", parts: Parts, foreign: Foreign, beside: Settings, exported: float | None) -> float:
    """What the classifier's weights are multiplied by: 1 - rate, for those whose dropout scales when it classifies."""
    if parts.origin in ("timm", "timm V2"):
        if foreign.dropout:
            raise ValueError("dropout: timm scales in training and needs no factor")
        return 1.0
    options = (foreign.dropout, "given"), (exported, "as exported"), (beside.dropout, "config.json"), (PADDLE_DROPOUT, "assumed")
    rate = next(value for value, _ in options if value is not None)
    if not 0 <= rate < 1:
        raise ValueError(f"dropout: expected a rate from 0 to below 1, got {rate}")
    if parts.has_wide_layer:  # without it there is no dropout either
        reading.first("dropout", *options)
        return 1.0 - rate
    return 1.0


def _activation(
    reading: "_Reading", origin: Origin, foreign: Foreign, beside: Settings, exported: Export | None, usual: Activation
) -> Activation:
    """What is told of it, or the usual one: no tensor shows it, and the paper trained both. timm has one alone."""
    if origin not in ("PaddleClas", "Hugging Face"):
        if foreign.activation not in (None, usual):
            raise ValueError(f"activation: {origin} has {usual}")
        return usual
    return reading.first(
        "activation",
        (foreign.activation, "given"),
        (exported and exported.activation, "as exported"),
        (beside.fields.get("activation"), "config.json"),
        (usual, "assumed"),
    )


def _many(reading: "_Reading", foreign: Foreign, beside: Settings, named: Named | None) -> bool:
    """Whether pictures have several labels each, which somebody has to say."""
    sources = ((foreign.many, "given"), (beside.many, "config.json"), (named and named.many, "the network's name"))
    source = next((source for many, source in sources if many), None)
    if source is not None:
        reading.taken.append(f"many labels a picture ({source})")
    return source is not None


def _assumed(parts: Parts, architecture: Architecture, lines: bool) -> Preprocessing:
    """How such pictures are usually prepared: lines of text show by their strides, and timm has two ways by width."""
    if parts.origin == "Hugging Face" and lines:
        return TEXT_LINE
    if lines:
        return replace(PREPROCESSING[parts.origin], resize=TEXT_LINE.resize, crop=None)
    if parts.origin == "timm" and architecture.scale in (0.35, 1.5):
        return replace(TIMM, cubic=False)
    return PREPROCESSING[parts.origin]


def _exported_rule(size: tuple[int, int] | None) -> Preprocessing | None:
    """PaddleClas crops squares of 224, and presses pictures into any other size."""
    if size is None:
        return None
    return PADDLECLAS if size == PADDLECLAS.crop else replace(PADDLECLAS, resize=size, crop=None)


@dataclass
class _Reading:
    """What was taken from where, in words."""

    taken: list[str] = field(default_factory=list)
    is_sure: bool = True

    def first(self, what: str, *options: tuple[Value | None, str]) -> Value:
        """The first value that is known; the last option always is."""
        value, source = next((value, source) for value, source in options if value is not None)
        self.is_sure &= not source.startswith("assumed")
        self.taken.append(f"{what} {_in_words(value)} ({source})")
        return value

    def fitted(self, rule: Preprocessing, channels: int) -> Preprocessing:
        """For a network of one channel, whatever made it so, the mean of the three means: what timm takes."""
        if channels != 1 or len(rule.mean) == 1:
            return rule
        mean, std = sum(rule.mean) / len(rule.mean), sum(rule.std) / len(rule.std)
        self.is_sure = False
        self.taken.append(f"for its one channel mean {mean:.3f} and deviation {std:.3f} (assumed: the means of three)")
        return replace(rule, mean=(mean,), std=(std,), bgr=False)

    def text(self, path: Path, parts: Parts, architecture: Architecture, place: str) -> str:
        """One line, which is also logged if anything was assumed."""
        version = "V2" if is_second(parts.origin) else ""
        where = "".join(f", in {one.rstrip('.')}" for one in (place, parts.prefix) if one)
        whose = f"PP-LCNet{version} x{architecture.scale:g} of {parts.origin.removesuffix(' V2')}"
        text = f"{whose}, {architecture.classes} classes{where}; {'; '.join(self.taken)}"
        if not self.is_sure:
            LOG.info("%s: taken for a %s", path, text)
        return text


def _in_words(value: Any) -> str:
    if isinstance(value, Preprocessing):
        return describe(value)
    if isinstance(value, tuple):
        return ",".join("x".join(map(str, one)) if isinstance(one, tuple) else str(one) for one in value)
    return str(value)
