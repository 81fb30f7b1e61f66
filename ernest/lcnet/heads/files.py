"""Saves and loads detectors and segmenters: safetensors with JSON metadata, as `ernest.lcnet.weights.native` does classifiers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ernest import storage
from ernest.lcnet.folding import fold
from ernest.lcnet.heads.detection import Detector, DetectorArchitecture
from ernest.lcnet.heads.segmentation import Segmenter, SegmenterArchitecture
from ernest.lcnet.image_io.preprocess import PADDLECLAS, Preprocessing
from ernest.lcnet.weights import native
from ernest.lcnet.weights.load import read_weights


@dataclass(frozen=True)
class HeadCheckpoint:
    """A detector or segmenter with its metadata. `labels` may be empty; `about` is JSON: settings, scores, a source."""

    network: Detector | Segmenter
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    about: Mapping[str, Any]


def save(
    path: str | Path,
    network: Detector | Segmenter,
    labels: Sequence[str] = (),
    preprocessing: Preprocessing = PADDLECLAS,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Writes `network`, folded or not. The file appears whole or not at all, and replaces an earlier one.

    Raises ValueError if labels or pre-processing are not those of such a network, and OSError.
    """
    labels = tuple(map(str, labels))
    _check_fit(network, labels, preprocessing)
    text = native.metadata(native.Checkpoint(network.backbone, tuple(labels), preprocessing, about or {})) | {
        "head": "detector" if isinstance(network, Detector) else "segmenter",
        "architecture": asdict(network.architecture),
        "folded": not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()),
    }
    storage.save_tensors(path, network.state_dict(), {native.KEY: json.dumps(text)})


def load(path: str | Path) -> HeadCheckpoint:
    """Reads a file that `save` wrote; the network is in evaluation mode. Draws no random numbers.

    Raises ValueError, which names the file, if it is damaged or holds no detector or segmenter, and OSError.
    """
    path = Path(path)
    try:
        text = native.read_metadata(path)
        fields = native.decode_metadata(text) if text is not None else {}
        if fields.get("head") not in ("detector", "segmenter"):
            raise ValueError("expected a detector or a segmenter of ernest.lcnet.heads")
        network = _empty(fields)
        native.fill(network, read_weights(path))
        labels, preprocessing, about, *_ = native.parse_metadata(fields)
        _check_fit(network, labels, preprocessing)
        return HeadCheckpoint(network.eval(), labels, preprocessing, about)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged: the metadata {native.KEY} lacks or misspells something ({error})") from None
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(f"{path}: ") else f"{path}: {error}") from None


def _empty(about: Mapping[str, Any]) -> Detector | Segmenter:
    """A network without values: what a file promises costs no memory before its tensors have been seen to fit."""
    fields = {**about["architecture"], "backbone": native.architecture_from_json(about["architecture"]["backbone"])}
    with torch.device("meta"):
        if about["head"] == "detector":
            network = Detector(DetectorArchitecture(**fields))
        else:
            network = Segmenter(SegmenterArchitecture(**fields))
    return fold(network) if about["folded"] else network


def _check_fit(network: Detector | Segmenter, labels: Sequence[str], preprocessing: Preprocessing) -> None:
    classes, channels = network.architecture.classes, network.architecture.backbone.in_channels
    if labels and len(labels) != classes:
        raise ValueError(f"labels: expected one for each of the {classes} classes, got {len(labels)}")
    if len(preprocessing.mean) != channels:
        wanted = f"expected mean and std of {channels} channels, which the network takes"
        raise ValueError(f"preprocessing: {wanted}, got {len(preprocessing.mean)}")
