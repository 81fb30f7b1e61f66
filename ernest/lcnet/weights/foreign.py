"""Loads networks from files of Ernest, PaddleClas, timm and Hugging Face; infers architecture and pre-processing.

Official names, none of which this package fetches. PaddleClas: `PPLCNet_x{0_25,0_35,0_5,0_75,1_0,1_5,2_0,2_5}_pretrained`,
`PPLCNet_x{0_25,0_5,1_0,2_5}_ssld_pretrained`, `PPLCNetV2_{small,base,large}_pretrained` and `PPLCNetV2_base_ssld_pretrained`,
all `.pdparams`. timm: `lcnet_{050,075,100}`, as `.pth` or as `model.safetensors`. Hugging Face:
`PP-LCNet_x1_0_{doc_ori,table_cls,textline_ori}_safetensors` and `PP-LCNet_x0_25_textline_ori_safetensors`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from ernest.lcnet.architecture import PUBLISHED, Architecture, Stride, scale_channels
from ernest.lcnet.image_io.preprocess import HUGGING_FACE, PADDLECLAS, TEXT_LINE, TIMM, Preprocessing
from ernest.lcnet.network import PPLCNet
from ernest.lcnet.weights.key_maps import SPELLINGS, Origin, their_name
from ernest.lcnet.weights.load import read_weights
from ernest.lcnet.weights.native import Checkpoint, read_checkpoint, read_metadata

PADDLE_DROPOUT = 0.2

PREPROCESSING: Mapping[Origin, Preprocessing] = MappingProxyType(
    {"PaddleClas": PADDLECLAS, "PaddleClas V2": PADDLECLAS, "timm": TIMM, "Hugging Face": HUGGING_FACE}
)
"""How each origin prepares pictures. Hugging Face's classifiers of text lines, which want TEXT_LINE, show by their strides."""

UNUSED = re.compile(r"(^|\.)(num_batches_tracked|total_ops|total_params)$|\.dw_conv\.(weight|bias)$")
"""Counters, and the merged kernel that V2 keeps beside its branches and fills only when it is used."""


def load(path: str | Path, *, dropout: float | None = None, strides: tuple[Stride, ...] | None = None) -> PPLCNet:
    """The network of a file, ready to classify: one of ours (`save`), or a published one.

    Of a published file, which width, how many classes and whose names shows in the file.
    Paddle's dropout, unlike everyone's, scales when it classifies: by 1 - rate, which goes into the classifier here.
    The rate is 0.2, or what the `config.json` beside a file of Hugging Face says; `dropout` overrides it (the published
    x1.0 SSLD student was trained with 0). timm's files need no factor. Strides do not show in weights: `strides` are
    those of the architecture, or of `config.json`, unless given.
    Raises ValueError, which names the file, for anything that is not a whole network, and OSError.
    """
    return load_checkpoint(path, dropout=dropout, strides=strides).network


def load_checkpoint(path: str | Path, *, dropout: float | None = None, strides: tuple[Stride, ...] | None = None) -> Checkpoint:
    """As `load`, with the labels and the pre-processing: those in our own file, or those that the origin is known to use."""
    path = Path(path)
    if read_metadata(path) is not None:
        if dropout is not None or strides is not None:
            raise ValueError(f"{path}: dropout and strides are for the files of others; this one holds its own")
        return read_checkpoint(path)
    tensors = _student(read_weights(path))
    try:
        origin = _origin(tensors)
        config = _config(path.with_name("config.json")) if origin == "Hugging Face" else _Config()
        if origin == "timm" and dropout:
            raise ValueError("dropout: timm scales in training and needs no factor")
        rate = config.dropout if dropout is None else dropout
        if not 0 <= rate < 1:
            raise ValueError(f"dropout: expected a rate from 0 to below 1, got {rate}")
        tensors = _arranged(origin, tensors, 1.0 if origin == "timm" else 1.0 - rate)
        architecture = _recognised(origin, tensors)
        architecture = replace(architecture, strides=strides or config.strides or architecture.strides)
        with torch.random.fork_rng(devices=[]):  # the first values are thrown away, and draw nothing from the caller
            network = PPLCNet(architecture)
        lines = origin == "Hugging Face" and any(isinstance(stride, tuple) for stride in architecture.strides)
        preprocessing = TEXT_LINE if lines else PREPROCESSING[origin]
        return Checkpoint(_filled(origin, network, tensors), (), preprocessing, {"origin": origin, "file": path.name})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


@dataclass(frozen=True)
class _Config:
    dropout: float = PADDLE_DROPOUT
    strides: tuple[Stride, ...] | None = None


def _config(path: Path) -> _Config:
    """What Hugging Face keeps beside the weights: the rate and the strides, or their defaults where there is no file."""
    if not path.exists():
        return _Config()
    try:
        about = json.loads(path.read_text())
        rate = about.get("hidden_dropout_prob", about.get("dropout_prob", PADDLE_DROPOUT))
        if about.get("hidden_act", "hardswish") != "hardswish":
            raise ValueError(f"{path.name}: expected hardswish for hidden_act, got {about['hidden_act']}")
        if about.get("block_configs") is None:
            return _Config(float(rate))
        strides = [about.get("stem_stride", 2), *[blocks[0][3] for blocks in about["block_configs"]]]
        return _Config(float(rate), tuple(tuple(one) if isinstance(one, list) else int(one) for one in strides))
    except (AttributeError, IndexError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path.name}: expected the configuration of a PP-LCNet ({error!r})") from None


def _student(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without what is no weight; of a distillation only the student; the second version by its present names."""
    students = {name.removeprefix("Student."): tensor for name, tensor in tensors.items() if name.startswith("Student.")}
    kept = {name: tensor for name, tensor in (students or tensors).items() if not UNUSED.search(name)}
    return {re.sub(r"^stage([1-4])\.", lambda found: f"stages.{int(found[1]) - 1}.", name): kept[name] for name in kept}


def _origin(tensors: Mapping[str, Tensor]) -> Origin:
    for origin, spelling in SPELLINGS.items():
        if f"{spelling.stem[0]}.weight" in tensors:
            return origin
    some = ", ".join(list(tensors)[:3])
    raise ValueError(f"expected the names of PaddleClas, timm or Hugging Face, got {some}")


def _arranged(origin: Origin, tensors: Mapping[str, Tensor], factor: float) -> dict[str, Tensor]:
    """Float32 in our shapes: Paddle keeps linear layers transposed, all keep the wide layer as a convolution."""
    spelling = SPELLINGS[origin]
    head, classifier = f"{spelling.head}.weight", f"{spelling.classifier}.weight"
    if classifier not in tensors or tensors[classifier].ndim != 2:
        raise ValueError(f"expected a classifier {classifier} of two dimensions")
    arranged = {name: tensor.float().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    if origin in ("PaddleClas", "PaddleClas V2"):
        arranged[classifier] = arranged[classifier].T.contiguous()
    if head in arranged:
        arranged[head] = arranged[head].flatten(1)
        arranged[classifier] *= factor  # without the wide layer there is no dropout either
    return arranged


def _recognised(origin: Origin, tensors: Mapping[str, Tensor]) -> Architecture:
    """The published architecture whose widths are most like those in the file, with the head that the file has."""
    spelling = SPELLINGS[origin]
    version = [one for name, one in PUBLISHED.items() if name.startswith("PPLCNetV2") == (origin == "PaddleClas V2")]
    nearest = max(version, key=lambda one: _agreement(origin, one, tensors))
    head, stem = f"{spelling.head}.weight", tensors[f"{spelling.stem[0]}.weight"]
    return replace(
        nearest,
        classes=len(tensors[f"{spelling.classifier}.weight"]),
        head_width=len(tensors[head]) if head in tensors else 0,
        head_bias=f"{spelling.head}.bias" in tensors,
        in_channels=stem.shape[1] if stem.ndim == 4 else 3,
    )


def _agreement(origin: Origin, architecture: Architecture, tensors: Mapping[str, Tensor]) -> int:
    """How many blocks of an architecture are in the file with the width that they should have."""
    agreeing = 0
    for stage, blocks in enumerate(architecture.stages):
        for index, block in enumerate(blocks):
            last = f"stages.{stage}.{index}.{1 + block.squeeze + block.split}.0.weight"
            found = tensors.get(their_name(origin, last, block))
            agreeing += found is not None and len(found) == scale_channels(block.channels, architecture.scale)
    return agreeing


def _filled(origin: Origin, network: PPLCNet, tensors: Mapping[str, Tensor]) -> PPLCNet:
    """The network with the tensors of the file, if there is one for each of its own and none to spare."""
    state, faults, names = {}, [], set()
    for name, tensor in network.state_dict().items():
        if UNUSED.search(name):
            state[name] = tensor
            continue
        _, *index = name.split(".")
        block = network.architecture.stages[int(index[0])][int(index[1])] if name.startswith("stages.") else None
        theirs = their_name(origin, name, block)
        names.add(theirs)
        state[name] = tensors.get(theirs, tensor)
        if theirs not in tensors:
            faults.append(f"{theirs} is missing")
        elif state[name].shape != tensor.shape:
            faults.append(f"{theirs} is {list(state[name].shape)} instead of {list(tensor.shape)}")
    faults += [f"{extra} is not part of it" for extra in tensors if extra not in names]
    if faults:
        more = f", and {len(faults) - 3} more" if len(faults) > 3 else ""
        nearest = f"PP-LCNet{'V2' if origin == 'PaddleClas V2' else ''} x{network.architecture.scale}"
        raise ValueError(f"no published network; from the nearest, {nearest}, it differs: {'; '.join(faults[:3])}{more}")
    network.load_state_dict(state, assign=True)
    return network.eval()
