"""Ernest's own checkpoint: weights, architecture, labels and pre-processing in one safetensors file.

The tensors carry the names of `PPLCNet`. One entry of the metadata, `ernest.lcnet`, holds a JSON text with the
architecture, the labels of the classes, the pre-processing and whatever else the writer wanted to tell.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import nn

from ernest import storage
from ernest.lcnet.architecture import Architecture, Block
from ernest.lcnet.decision import ONE, Decision
from ernest.lcnet.folding import fold
from ernest.lcnet.image_io.preprocess import PADDLECLAS, Preprocessing
from ernest.lcnet.network import PPLCNet
from ernest.lcnet.weights.load import check_numbers, read_weights

KEY = "ernest.lcnet"
"""Where the JSON text is, in every kind of file that can carry one."""

VERSION = 1

Precision = Literal["fp32", "bf16", "int8"]
"""Of the products of a deployed network."""


@dataclass(frozen=True)
class Checkpoint:
    """A network with its metadata. `labels` is empty where nobody named the classes; `about` is JSON: a recipe, scores, a source.

    `precision` ("fp32", "bf16" or "int8") is that of a deployed network, None for one that may be trained on or deployed.
    `decision` says whether a picture has one label or many, and how likely they have to be.
    """

    network: PPLCNet
    labels: tuple[str, ...] = ()
    preprocessing: Preprocessing = PADDLECLAS
    about: Mapping[str, Any] = field(default_factory=dict)
    precision: Precision | None = None
    decision: Decision = ONE


def save(
    path: str | Path,
    network: PPLCNet,
    labels: Sequence[str] = (),
    preprocessing: Preprocessing = PADDLECLAS,
    about: Mapping[str, Any] | None = None,
    precision: Precision | None = None,
    decision: Decision = ONE,
) -> None:
    """Writes `network`, folded or not, in float32. The file appears whole or not at all, and replaces an earlier one.

    Raises ValueError if labels or pre-processing are not those of such a network, and OSError.
    """
    saved = Checkpoint(network, tuple(map(str, labels)), preprocessing, about or {}, precision, decision)
    check_fit(network.architecture, saved.labels, preprocessing, decision)
    tensors = {name: tensor.detach() for name, tensor in network.state_dict().items()}
    tensors = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    text = metadata(saved) | {"architecture": asdict(network.architecture), "folded": is_folded(network)}
    storage.save_tensors(path, tensors, {KEY: json.dumps(text)})


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Reads a file that `save` wrote; the network is in evaluation mode. Draws no random numbers.

    Raises ValueError, which names the file, if it is damaged or not ours, and OSError.
    """
    path = Path(path)
    try:
        text = read_metadata(path)
        if text is None:
            raise ValueError(f"expected a file of ernest.lcnet, with {KEY} in its metadata")
        about = decode_metadata(text)
        if "head" in about:
            raise ValueError(f"holds a {about['head']}: read it with ernest.lcnet.heads.load")
        network = empty_network(architecture_from_json(about["architecture"]), bool(about["folded"]))
        fill(network, read_weights(path))
        saved = Checkpoint(network.eval(), *parse_metadata(about))
        check_fit(network.architecture, saved.labels, saved.preprocessing, saved.decision)
        return saved
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged: the metadata {KEY} lacks or misspells something ({error})") from None
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(f"{path}: ") else f"{path}: {error}") from None


def read_metadata(path: str | Path) -> str | None:
    """The JSON text that `save` put into a safetensors file; None where there is none, as in the files of others."""
    with Path(path).open("rb") as file:
        if file.read(9)[8:9] != b"{":
            return None
    return storage.read_header(path).metadata.get(KEY)


# ---------------------------------------------------------------------------------------------------------- the text


def metadata(saved: Checkpoint) -> dict[str, Any]:
    """The metadata of a checkpoint as JSON can hold it: the same in Ernest's files, in ONNX and in OpenVINO's."""
    return {
        "version": VERSION,
        "labels": list(saved.labels),
        "preprocessing": asdict(saved.preprocessing),
        "about": dict(saved.about),
        "precision": saved.precision,
        "decision": asdict(saved.decision),
    }


def decode_metadata(text: str) -> dict[str, Any]:
    """The text as a dictionary. Raises ValueError if it is no JSON, or of a version that we do not know."""
    try:
        about = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"damaged: the metadata {KEY} is no JSON ({error})") from None
    if not isinstance(about, dict) or about.get("version") != VERSION:
        found = about.get("version") if isinstance(about, dict) else about
        raise ValueError(f"version: expected {VERSION}, got {found}; a later Ernest may have written it")
    return about


Told = tuple[tuple[str, ...], Preprocessing, Mapping[str, Any], Precision | None, Decision]


def parse_metadata(about: Mapping[str, Any]) -> Told:
    """Labels, pre-processing, `about`, precision and decision from decoded metadata. Raises KeyError, TypeError or ValueError."""
    preprocessing: dict[str, Any] = {}
    for name, value in about["preprocessing"].items():
        preprocessing[name] = tuple(value) if isinstance(value, list) else value
    if about["precision"] not in (None, *get_args(Precision)):
        raise ValueError(f"precision: expected one of {', '.join(get_args(Precision))}, got {about['precision']}")
    decision = Decision(bool(about["decision"]["many"]), tuple(map(float, about["decision"]["thresholds"])))
    labels, rule = tuple(map(str, about["labels"])), Preprocessing(**preprocessing)
    return labels, rule, dict(about["about"]), about["precision"], decision


def architecture_from_json(fields: Mapping[str, Any]) -> Architecture:
    """The inverse of `dataclasses.asdict` for what has been through JSON, where tuples are lists."""
    strides = tuple(tuple(one) if isinstance(one, list) else one for one in fields["strides"])
    stages = tuple(tuple(Block(**block) for block in stage) for stage in fields["stages"])
    return Architecture(**{**fields, "strides": strides, "stages": stages})


def check_fit(architecture: Architecture, labels: Sequence[str], preprocessing: Preprocessing, decision: Decision = ONE) -> None:
    """Raises ValueError if labels or thresholds are not one a class, or the pre-processing makes another number of channels."""
    if len(decision.thresholds) not in (0, 1, architecture.classes):
        raise ValueError(
            f"thresholds: expected one for each of the {architecture.classes} classes, got {len(decision.thresholds)}"
        )
    if labels and len(labels) != architecture.classes:
        raise ValueError(f"labels: expected one for each of the {architecture.classes} classes, got {len(labels)}")
    channels = len(preprocessing.mean)
    if channels != architecture.in_channels:
        wanted = f"expected mean and std of {architecture.in_channels} channels, which the network takes"
        raise ValueError(f"preprocessing: {wanted}, got {channels}")


# ------------------------------------------------------------------------------------------------------- the network


def is_folded(network: nn.Module) -> bool:
    """Whether its normalisation has gone into the convolutions (`fold`)."""
    return not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def empty_network(architecture: Architecture, is_folded: bool = False) -> PPLCNet:
    """A network without values: what a file promises costs no memory before its tensors have been seen to fit."""
    with torch.device("meta"):
        network = PPLCNet(architecture).float()  # whatever torch's default is
    return fold(network) if is_folded else network


def fill(network: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Makes `tensors` the values of `network`. Raises ValueError, which names some, unless they are exactly its own."""
    expected = network.state_dict()
    faults = [f"{name} is missing" for name in expected if name not in tensors]
    faults += [f"{name} is not part of it" for name in tensors if name not in expected]
    for name in expected.keys() & tensors.keys():
        wanted, got = expected[name], tensors[name]
        if (wanted.shape, wanted.dtype) != (got.shape, got.dtype):
            faults.append(f"{name} is {got.dtype} {list(got.shape)} instead of {wanted.dtype} {list(wanted.shape)}")
    if faults:
        more = f", and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise ValueError(f"the tensors are not those of its architecture: {'; '.join(faults[:3])}{more}")
    check_numbers({name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()})
    network.load_state_dict(tensors, assign=True)
