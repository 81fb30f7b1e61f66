"""Detectors and segmenters survive their files; what is no such file is told."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ernest.lcnet import Architecture, PPLCNet, fold, small_images
from ernest.lcnet.heads import Detector, DetectorArchitecture, Segmenter, SegmenterArchitecture, load, save
from ernest.lcnet.image_io.preprocess import HUGGING_FACE, Preprocessing
from ernest.lcnet.weights import native

BACKBONE = Architecture(scale=0.25)
DETECTOR = DetectorArchitecture(classes=2, backbone=BACKBONE, width=16, layers=1)


def networks() -> list[Detector | Segmenter]:
    torch.manual_seed(0)
    decoders = [Segmenter(SegmenterArchitecture(2, BACKBONE, decoder)) for decoder in ("liteseg", "deeplab")]
    return [one.eval() for one in [Detector(DETECTOR), *decoders]]


@pytest.mark.parametrize("is_folded", [False, True])
def test_what_was_saved_comes_back(tmp_path: Path, is_folded: bool) -> None:
    for network in networks():
        network = fold(network) if is_folded else network
        save(tmp_path / "head.safetensors", network, ("cat", "dog"), HUGGING_FACE, {"steps": 7})
        state = torch.get_rng_state()
        saved = load(tmp_path / "head.safetensors")
        assert torch.equal(torch.get_rng_state(), state)
        assert (saved.labels, saved.preprocessing, saved.about) == (("cat", "dog"), HUGGING_FACE, {"steps": 7})
        assert type(saved.network) is type(network)
        assert saved.network.architecture == network.architecture
        expected, found = network.state_dict(), saved.network.state_dict()
        assert expected.keys() == found.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
        assert not saved.network.training


def test_names_of_classes_may_be_an_array(tmp_path: Path) -> None:
    save(tmp_path / "one.safetensors", Detector(DetectorArchitecture(2, Architecture(scale=0.25), 8)), np.array(["a", "b"]))
    assert load(tmp_path / "one.safetensors").labels == ("a", "b")
    native.save(tmp_path / "other.safetensors", PPLCNet(small_images(2, scale=0.25)), np.array([0, 1]))
    assert native.read_checkpoint(tmp_path / "other.safetensors").labels == ("0", "1")


def test_what_does_not_fit_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    for network in networks():
        with pytest.raises(ValueError, match="labels: expected one for each of the 2 classes, got 3"):
            save(path, network, ("a", "b", "c"))
        with pytest.raises(ValueError, match=r"preprocessing: expected mean and std of 3 channels, .*, got 1"):
            save(path, network, preprocessing=Preprocessing(mean=(0.5,), std=(0.5,)))
    assert not list(tmp_path.iterdir())


def test_files_of_other_kinds_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    native.save(path, PPLCNet(small_images(classes=2)))
    with pytest.raises(ValueError, match=r"other.safetensors: expected a detector or a segmenter of ernest.lcnet.heads"):
        load(path)
    save(path, networks()[0])
    with pytest.raises(ValueError, match=r"other.safetensors: holds a detector: read it with ernest.lcnet.heads.load"):
        native.read_checkpoint(path)
    path.write_bytes(b"not weights at all")
    with pytest.raises(ValueError, match=r"other.safetensors: expected a detector or a segmenter"):
        load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.safetensors")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    save(path, networks()[0])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"head.safetensors: damaged"):
        load(path)
    path.write_bytes(whole)
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        text = json.loads(file.metadata()[native.KEY])

    def rewritten(changes: dict) -> None:
        save_file(tensors, path, {native.KEY: json.dumps(text | changes)})

    rewritten({"architecture": text["architecture"] | {"width": 32}})
    with pytest.raises(ValueError, match=r"head.safetensors: the tensors are not those of its architecture"):
        load(path)
    rewritten({"architecture": text["architecture"] | {"bins": 1}})
    with pytest.raises(ValueError, match=r"head.safetensors: bins: expected at least 2, got 1"):
        load(path)
    rewritten({"architecture": {"classes": 2}})
    with pytest.raises(ValueError, match=r"head.safetensors: damaged: the metadata .* lacks or misspells .*backbone"):
        load(path)
    rewritten({"labels": ["one"]})
    with pytest.raises(ValueError, match=r"head.safetensors: labels: expected one for each of the 2 classes, got 1"):
        load(path)
