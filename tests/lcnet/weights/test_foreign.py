"""Others' files become our networks with the same logits; what is no published network is refused in one sentence."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ernest.lcnet import PUBLISHED, fold, load
from tests.lcnet.foreign import write_paddle, write_torch
from tests.lcnet.reference import Arrays, first_arrays, first_logits, second_arrays, second_logits

DEPTHS = {"PPLCNetV2_small": 4, "PPLCNetV2_base": 6, "PPLCNetV2_large": 8}
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def quarter() -> Arrays:
    return first_arrays(0.25, classes=5)


def distance(path: Path, expected: torch.Tensor, **options) -> float:
    with torch.no_grad():
        return (load(path, **options)(IMAGES) - expected).abs().max().item()


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_network_loads_from_paddle(name: str, tmp_path: Path) -> None:
    scale = PUBLISHED[name].scale
    if name in DEPTHS:
        arrays = second_arrays(scale, DEPTHS[name], classes=5)
        expected = second_logits(arrays, IMAGES, DEPTHS[name])
    else:
        arrays = first_arrays(scale, classes=5)
        expected = first_logits(arrays, IMAGES)
    path = write_paddle(tmp_path / f"{name}_pretrained.pdparams", arrays, protocol=4, layout="B")
    network = load(path)
    path.unlink()
    assert expected.abs().max() > 0.5
    logits = max(1.0, expected.abs().max().item())
    with torch.no_grad():
        assert (network(IMAGES) - expected).abs().max() <= 1e-4 * logits
        assert (fold(network)(IMAGES) - expected).abs().max() <= 2e-4 * logits
    assert network.architecture.scale == scale
    assert network.architecture.classes == 5
    assert not network.training


@pytest.mark.parametrize("layout", ["A", "B"])
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_both_layouts_and_three_protocols(quarter: Arrays, layout: str, protocol: int, tmp_path: Path) -> None:
    path = write_paddle(tmp_path / "x.pdparams", quarter, protocol, layout)
    assert distance(path, first_logits(quarter, IMAGES)) <= 1e-4


def test_the_factor_of_the_head_is_the_rate_that_the_file_was_trained_with(quarter: Arrays, tmp_path: Path) -> None:
    path = write_paddle(tmp_path / "x.pdparams", quarter)
    assert distance(path, first_logits(quarter, IMAGES)) <= 1e-4
    assert distance(path, first_logits(quarter, IMAGES), dropout=0.0) >= 5e-2
    assert distance(path, first_logits(quarter, IMAGES, rate=0.0), dropout=0.0) <= 1e-4
    with pytest.raises(ValueError, match=r"x\.pdparams: dropout: expected a rate from 0 to below 1, got 1\.0"):
        load(path, dropout=1.0)


def test_a_student_counters_and_old_stage_names_are_understood(quarter: Arrays, tmp_path: Path) -> None:
    both = {f"Student.{name}": array for name, array in quarter.items()}
    both |= {f"Teacher.{name}": array for name, array in first_arrays(0.35, classes=5).items()}
    both |= {"Student.total_ops": np.zeros(1, np.int64), "Student.blocks2.0.total_params": np.zeros(1, np.int64)}
    assert distance(write_paddle(tmp_path / "student.pdparams", both), first_logits(quarter, IMAGES)) <= 1e-4
    second = second_arrays(0.75, 4, classes=5)
    old = {re.sub(r"^stages\.(\d)", lambda found: f"stage{int(found[1]) + 1}", name): array for name, array in second.items()}
    assert distance(write_paddle(tmp_path / "old.pdparams", old), second_logits(second, IMAGES, 4)) <= 1e-4


def timm_names(arrays: Arrays, head_bias: torch.Tensor) -> dict[str, torch.Tensor]:
    """The same numbers as timm keeps them: five stages become six, linear layers are not transposed, one bias more."""
    places = [(stage, place) for stage, count in enumerate((1, 2, 2, 2, 4, 2)) for place in range(count)]
    blocks = [(stage, place) for stage, count in enumerate((1, 2, 2, 6, 2)) for place in range(count)]
    rules = [(rf"^blocks{s + 2}\.{p}\.", f"blocks.{t}.{q}.") for (s, p), (t, q) in zip(blocks, places, strict=True)]
    rules += [(r"^conv1\.conv", "conv_stem"), (r"^conv1\.bn", "bn1"), (r"dw_conv\.conv", "conv_dw"), (r"dw_conv\.bn", "bn1")]
    rules += [(r"pw_conv\.conv", "conv_pw"), (r"pw_conv\.bn", "bn2"), (r"se\.conv1", "se.conv_reduce")]
    rules += [(r"se\.conv2", "se.conv_expand"), ("_mean", "running_mean"), ("_variance", "running_var")]
    rules += [(r"^last_conv", "conv_head"), (r"^fc", "classifier")]
    renamed = {"conv_head.bias": head_bias, "bn1.num_batches_tracked": torch.tensor(7)}
    for name, array in arrays.items():
        for pattern, other in rules:
            name = re.sub(pattern, other, name)
        renamed[name] = torch.from_numpy(array.T.copy() if name == "classifier.weight" else array)
    return renamed


def hugging_face_names(arrays: Arrays) -> dict[str, torch.Tensor]:
    rules = [(r"^blocks(\d)\.(\d)\.", lambda found: f"encoder.blocks.{int(found[1]) - 2}.layers.{found[2]}.")]
    rules += [(r"^conv1\.", "embedder.convolution."), (r"dw_conv\.", "depthwise_convolution.")]
    rules += [(r"pw_conv\.", "pointwise_convolution."), (r"\.conv\.", ".convolution."), (r"\.bn\.", ".normalization.")]
    rules += [(r"se\.conv", "squeeze_excitation_module.convolution"), (r"^last_conv\b", "last_convolution")]
    rules += [("_mean", "running_mean"), ("_variance", "running_var")]
    renamed = {"embedder.convolution.normalization.num_batches_tracked": torch.tensor(7)}
    for name, array in arrays.items():
        for pattern, other in rules:
            name = re.sub(pattern, other, name)
        renamed[name] = torch.from_numpy(array.T.copy() if name == "fc.weight" else array)
    return renamed


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_timm_has_a_bias_more_and_no_factor(quarter: Arrays, kind: str, tmp_path: Path) -> None:
    renamed, path = timm_names(quarter, torch.zeros(1280)), tmp_path / f"lcnet_025.{kind}"
    write_torch(path, renamed) if kind == "pth" else save_file(renamed, path)
    assert distance(path, first_logits(quarter, IMAGES, rate=0.0)) <= 1e-4
    assert load(path).architecture.head_bias
    renamed["conv_head.bias"] = torch.ones(1280)
    write_torch(path, renamed) if kind == "pth" else save_file(renamed, path)
    assert distance(path, first_logits(quarter, IMAGES, rate=0.0)) > 0.1
    with pytest.raises(ValueError, match="dropout: timm scales in training and needs no factor"):
        load(path, dropout=0.2)


def test_hugging_face_tells_rate_and_strides_beside_the_weights(quarter: Arrays, tmp_path: Path) -> None:
    path, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    save_file(hugging_face_names(quarter), path)
    assert distance(path, first_logits(quarter, IMAGES)) <= 1e-4
    blocks = [[[3, 16, 32, [2, 1], False]], [[3, 32, 64, 2, False]], [[3, 64, 128, 1, False]], [[3, 128, 256, 2, False]]]
    config.write_text(json.dumps({"hidden_dropout_prob": 0.5, "stem_stride": 1, "block_configs": [*blocks, blocks[1]]}))
    assert load(path).architecture.strides == (1, (2, 1), 2, 1, 2, 2)
    assert distance(path, first_logits(quarter, IMAGES, 0.5, (1, (2, 1), 2, 1, 2, 2))) <= 1e-4
    assert load(path, strides=(2, 2, 2, 2, 2, 2)).architecture.strides == (2, 2, 2, 2, 2, 2)
    for wrong in ("{", "[]", '{"hidden_act": "relu"}', '{"block_configs": [[]]}'):
        config.write_text(wrong)
        with pytest.raises(ValueError, match=r"model\.safetensors: config\.json: expected"):
            load(path)


def test_loading_draws_no_random_numbers_and_shares_nothing(quarter: Arrays, tmp_path: Path) -> None:
    path = write_paddle(tmp_path / "x.pdparams", quarter)
    state = torch.get_rng_state()
    first, second = load(path), load(path)
    assert torch.equal(state, torch.get_rng_state())
    assert {p.data_ptr() for p in first.parameters()}.isdisjoint(p.data_ptr() for p in second.parameters())
    first.train()(IMAGES).sum().backward()
    assert all(parameter.grad is not None for parameter in first.parameters())


def test_a_head_of_another_size_or_none_and_grey_stems_show_in_the_file(quarter: Arrays, tmp_path: Path) -> None:
    arrays = dict(quarter)
    del arrays["last_conv.weight"]
    arrays["fc.weight"] = np.zeros((128, 3), np.float32)
    arrays["fc.bias"] = np.zeros(3, np.float32)
    arrays["conv1.conv.weight"] = arrays["conv1.conv.weight"][:, :1].copy()
    found = load(write_paddle(tmp_path / "x.pdparams", arrays)).architecture
    assert (found.classes, found.head_width, found.in_channels) == (3, 0, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv1.conv.weight": None}, "expected the names of PaddleClas, timm or Hugging Face, got conv1.bn.weight"),
        ({"fc.weight": None}, "expected a classifier fc.weight of two dimensions"),
        ({"blocks3.1.pw_conv.bn._mean": None}, "nearest, PP-LCNet x0.25, it differs: blocks3.1.pw_conv.bn._mean is missing"),
        ({"neck.weight": np.zeros(3, np.float32)}, "it differs: neck.weight is not part of it"),
        ({"fc.bias": np.zeros(4, np.float32)}, "fc.bias is [4] instead of [5]"),
        ({"blocks4.0.dw_conv.conv.weight": np.zeros((16, 1, 5, 5), np.float32)}, "is [16, 1, 5, 5] instead of [16, 1, 3, 3]"),
    ],
)
def test_what_is_no_published_network_is_told(quarter: Arrays, change: dict, message: str, tmp_path: Path) -> None:
    arrays = {name: array for name, array in (quarter | change).items() if array is not None}
    path = write_paddle(tmp_path / "x.pdparams", arrays)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: ")
