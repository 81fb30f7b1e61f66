"""A network comes back from our own file as it went in, with its labels and its pre-processing; damaged files are told."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ernest.lcnet import PADDLECLAS, PPLCNet, Preprocessing, fold, load, pplcnet_v2, small_images
from ernest.lcnet.architecture import Architecture
from ernest.lcnet.weights.load import read_weights
from ernest.lcnet.weights.native import KEY, read_checkpoint, save

IMAGES = torch.randn(2, 3, 33, 47, generator=torch.Generator().manual_seed(0))
LABELS = ("kitten", "Hündchen", "a bird, far away", "犬", '"quoted"')


def network(architecture: Architecture) -> PPLCNet:
    """Of random weights and of statistics as training would leave them."""
    torch.manual_seed(0)
    made = PPLCNet(architecture)
    with torch.no_grad():
        for _ in range(3):
            made(torch.randn(8, architecture.in_channels, 64, 64))
    return made.eval()


ARCHITECTURES = {
    "x0.25": Architecture(classes=5, scale=0.25),
    "text lines": Architecture(classes=5, scale=0.25, strides=(2, (2, 1), (2, 1), (2, 1), (2, 1), (2, 1)), head_bias=True),
    "V2": replace(pplcnet_v2(0.75, 4), classes=5),
    "small": small_images(5),
    "relu, no hidden layer": Architecture(classes=5, scale=0.25, activation="relu", head_width=0, dropout=0.0),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("is_folded", [False, True])
def test_all_comes_back(name: str, is_folded: bool, tmp_path: Path) -> None:
    made = network(ARCHITECTURES[name])
    made = fold(made) if is_folded else made
    preprocessing = Preprocessing(resize=(80, 160), crop=None, bgr=True, antialias=True)
    about = {"epochs": 3, "scores": [0.5, None], "source": "Ä"}
    path = tmp_path / "new" / "x.safetensors"
    save(path, made, LABELS, preprocessing, about)
    back = read_checkpoint(path)
    assert (back.labels, back.preprocessing, back.about, back.precision) == (LABELS, preprocessing, about, None)
    assert back.network.architecture == made.architecture
    with torch.no_grad():
        assert torch.equal(back.network(IMAGES), made(IMAGES))
        assert torch.equal(load(path)(IMAGES), made(IMAGES))
    assert not back.network.training
    assert {one.requires_grad for one in back.network.parameters()} == {not is_folded}
    assert list(path.parent.iterdir()) == [path]


def test_the_default_type_of_torch_changes_nothing(tmp_path: Path) -> None:
    save(tmp_path / "x.safetensors", PPLCNet(small_images(3, scale=0.25)).eval())
    torch.set_default_dtype(torch.float64)
    try:
        network = read_checkpoint(tmp_path / "x.safetensors").network
    finally:
        torch.set_default_dtype(torch.float32)
    assert {value.dtype for value in network.state_dict().values() if value.is_floating_point()} == {torch.float32}


def test_a_network_that_came_back_trains_on_and_draws_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save(path, network(small_images(5)))
    state = torch.get_rng_state()
    first, second = read_checkpoint(path).network, read_checkpoint(path).network
    assert torch.equal(state, torch.get_rng_state())
    first.train()(torch.randn(4, 3, 32, 32)).sum().backward()
    with torch.no_grad():
        for parameter in first.parameters():
            assert parameter.grad is not None
            parameter.zero_()
    assert all(parameter.abs().sum() > 0 for parameter in second.parameters() if parameter.ndim > 1)


def test_the_same_network_makes_the_same_bytes(tmp_path: Path) -> None:
    made = network(small_images(5))
    for name in ("one", "two"):
        save(tmp_path / name, made.to(memory_format=torch.channels_last), LABELS)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_labels_and_channels_must_fit(tmp_path: Path) -> None:
    path, made = tmp_path / "x.safetensors", network(small_images(5))
    with pytest.raises(ValueError, match="labels: expected one for each of the 5 classes, got 2"):
        save(path, made, ("one", "two"))
    with pytest.raises(ValueError, match="preprocessing: expected mean and std of 3 channels, which the network takes, got 1"):
        save(path, made, LABELS, Preprocessing(mean=(0.5,), std=(0.5,)))
    assert not list(tmp_path.iterdir())


def rewrite(path: Path, change: dict | None = None, tensors: dict | None = None) -> None:
    """The same file with other entries in its text, or other tensors; what is changed to None is taken out."""
    with safe_open(path, framework="pt") as file:
        text = json.loads(file.metadata()[KEY])
    change, tensors, kept = change or {}, tensors or {}, load_file(path)
    text = {name: value for name, value in (text | change).items() if name not in change or value is not None}
    kept = {name: value for name, value in (kept | tensors).items() if value is not None}
    save_file(kept, path, {KEY: json.dumps(text)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version: expected 1, got 2; a later Ernest may have written it"),
        ({"labels": ["one"]}, "labels: expected one for each of the 5 classes, got 1"),
        ({"labels": None}, "damaged: the metadata ernest.lcnet lacks or misspells something ('labels')"),
        ({"architecture": {"classes": 5}}, "lacks or misspells something ('strides')"),
        ({"preprocessing": {"resized": 3}}, "unexpected keyword argument 'resized'"),
        ({"preprocessing": {"std": [0.0, 1.0, 1.0]}}, "std: expected positive values"),
    ],
)
def test_wrong_texts_are_told(change: dict, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save(path, network(small_images(5)), LABELS)
    rewrite(path, change)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        read_checkpoint(path)
    assert str(error.value).startswith(f"{path}: ")
    assert str(error.value).count(str(path)) == 1


def test_tensors_must_be_those_of_the_architecture(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for name, tensor, message in (
        ("stem.0.weight", None, "stem.0.weight is missing"),
        ("neck.weight", torch.zeros(3), "neck.weight is not part of it"),
        ("head.classifier.bias", torch.zeros(4), "head.classifier.bias is torch.float32 [4] instead of torch.float32 [5]"),
        ("head.classifier.bias", torch.zeros(5, dtype=torch.int64), "is torch.int64 [5] instead of torch.float32 [5]"),
    ):
        save(path, network(small_images(5)), LABELS)
        rewrite(path, tensors={name: tensor})
        with pytest.raises(ValueError, match=re.escape(message)):
            read_checkpoint(path)


def test_a_promise_of_a_huge_network_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save(path, network(small_images(5)))
    with safe_open(path, framework="pt") as file:
        text = json.loads(file.metadata()[KEY])
    rewrite(path, {"architecture": text["architecture"] | {"classes": 10**12}})
    with pytest.raises(ValueError, match=r"head.classifier.weight is torch.float32 \[5, 256\] instead of"):
        read_checkpoint(path)


def test_a_header_of_any_length_is_taken_for_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for length in range(0x200, 0x300, 8):  # 0x280 begins with the byte of a pickle
        header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).ljust(length).encode()
        path.write_bytes(length.to_bytes(8, "little") + header + bytes(4))
        assert torch.equal(read_weights(path)["a"], torch.zeros(1))


@pytest.mark.parametrize("kept", [0, 4, 9, 500, 20_000, -1])
def test_truncated_files_are_told(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save(path, network(small_images(5)))
    path.write_bytes(path.read_bytes()[:kept])
    for reader in (read_checkpoint, load):
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: "):
            reader(path)


def test_options_for_the_files_of_others_are_refused_for_ours(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save(path, network(small_images(5)))
    with pytest.raises(ValueError, match="dropout, strides and many labels are for the files of others"):
        load(path, dropout=0.2)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="expected a file of ernest"):
        read_checkpoint(path)


def test_the_mode_of_a_file_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save(tmp_path / "x.safetensors", network(small_images(5)))
    finally:
        os.umask(before)
    assert (tmp_path / "x.safetensors").stat().st_mode & 0o777 == 0o640


def test_the_default_is_the_preprocessing_of_paddleclas(tmp_path: Path) -> None:
    save(tmp_path / "x.safetensors", network(small_images(5)))
    assert read_checkpoint(tmp_path / "x.safetensors").preprocessing == PADDLECLAS


def test_a_network_that_was_read_does_not_change_with_its_file(tmp_path: Path) -> None:
    """Overwritten in place, as `cp` does it, and then cut: who reads memory of the file would answer otherwise, and then end."""
    path = tmp_path / "x.safetensors"
    made = network(small_images(5))
    save(path, made)
    for reader in (load, read_weights):
        save(path, made)
        back = reader(path)
        content = bytearray(path.read_bytes())
        content[4096:] = b"\x55" * (len(content) - 4096)
        with path.open("r+b") as file:
            file.write(content)
            file.truncate(4096)
        if reader is load:
            with torch.no_grad():
                assert torch.equal(back(IMAGES), made(IMAGES))
        else:
            assert all(torch.equal(tensor, made.state_dict()[name]) for name, tensor in back.items())


@pytest.mark.parametrize("name", ["stem.1.running_var", "head.classifier.bias"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(name: str, value: float, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    made = network(small_images(5))
    save(path, made)
    rewrite(path, tensors={name: torch.full_like(made.state_dict()[name], value)})
    with pytest.raises(ValueError, match=rf"x\.safetensors: {name}: \d+ of \d+ numbers are not finite"):
        load(path)
