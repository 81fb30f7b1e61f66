"""Others' files become our networks with the same logits; what is no published network is refused in one sentence."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ernest.lcnet import (
    HUGGING_FACE,
    PADDLECLAS,
    PUBLISHED,
    TEXT_LINE,
    TIMM,
    classify,
    fold,
    load,
    load_checkpoint,
    open_model,
    prepare,
)
from ernest.lcnet.architecture import STRIDES_TEXT_LINE
from ernest.lcnet.decision import Decision
from ernest.lcnet.weights.foreign import load_start
from ernest.lcnet.weights.given import Foreign, foreign_of
from ernest.lcnet.weights.native import save
from tests.lcnet.foreign import write_paddle, write_torch
from tests.lcnet.reference import Arrays, first_arrays, first_logits, second_arrays, second_logits

DEPTHS = {"PPLCNetV2_small": 4, "PPLCNetV2_base": 6, "PPLCNetV2_large": 8}
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def quarter() -> Arrays:
    return first_arrays(0.25, classes=5)


def distance(path: Path, expected: torch.Tensor, **options) -> float:
    """The largest error of a logit, as a share of the largest logit where that is above one."""
    with torch.no_grad():
        return (load(path, **options)(IMAGES) - expected).abs().max().item() / max(1.0, expected.abs().max().item())


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
    """The same numbers as transformers 5.24 writes them."""
    rules = [(r"^blocks(\d)\.(\d)\.", lambda found: f"encoder.blocks.{int(found[1]) - 2}.layers.{found[2]}.")]
    rules += [(r"^conv1\.", "encoder.convolution."), (r"dw_conv\.", "depthwise_convolution.")]
    rules += [(r"pw_conv\.", "pointwise_convolution."), (r"\.conv\.", ".convolution."), (r"\.bn\.", ".normalization.")]
    rules += [(r"se\.conv1", "squeeze_excitation_module.convolutions.0"), (r"^last_conv\b", "last_convolution")]
    rules += [(r"se\.conv2", "squeeze_excitation_module.convolutions.2"), (r"^fc\.", "head.")]
    rules += [("_mean", "running_mean"), ("_variance", "running_var")]
    renamed = {"encoder.convolution.normalization.num_batches_tracked": torch.tensor(7)}
    for name, array in arrays.items():
        for pattern, other in rules:
            name = re.sub(pattern, other, name)
        renamed[name] = torch.from_numpy(array.T.copy() if name == "head.weight" else array)
    return renamed


def second_timm_names(arrays: Arrays) -> dict[str, torch.Tensor]:
    """The second version's numbers as timm 1.0.31 keeps them, with branches."""
    rules = [(r"se\.conv", "se.fc"), (r"pw_conv_1", "pw_conv.0"), (r"pw_conv_2", "pw_conv.1"), (r"^last_conv", "conv_head")]
    rules += [(r"^fc\.", "classifier."), ("_mean", "running_mean"), ("_variance", "running_var")]
    renamed = {}
    for name, array in arrays.items():
        for pattern, other in rules:
            name = re.sub(pattern, other, name)
        if not re.search(r"\.dw_conv\.(weight|bias)$", name):  # timm has either the branches or what they are merged into
            renamed[name] = torch.from_numpy(array.T.copy() if name == "classifier.weight" else array)
    return renamed


def merged(names: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The branches of each block as one kernel of 5x5 with a bias, as timm's `reparameterize` leaves them."""
    rest = {name: tensor for name, tensor in names.items() if "dw_conv_list" not in name}
    for block in {name.partition("dw_conv_list")[0] for name in names if "dw_conv_list" in name}:
        kernel, bias = torch.zeros(()), torch.zeros(())
        for branch in range(3):
            conv, bn = f"{block}dw_conv_list.{branch}.conv.weight", f"{block}dw_conv_list.{branch}.bn"
            if conv in names:
                gain = names[f"{bn}.weight"] / (names[f"{bn}.running_var"] + 1e-5).sqrt()
                kernel = kernel + torch.nn.functional.pad(names[conv] * gain[:, None, None, None], [branch] * 4)
                bias = bias + names[f"{bn}.bias"] - names[f"{bn}.running_mean"] * gain
        rest |= {f"{block}dw_conv.weight": kernel, f"{block}dw_conv.bias": bias}
    return rest


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


ROWS = [
    [[3, 16, 32, [2, 1], False]],
    [[3, 32, 64, 2, False], [3, 64, 64, 1, False]],
    [[3, 64, 128, 1, False], [3, 128, 128, 1, False]],
    [[3, 128, 256, [2, 2], False], *[[5, 256, 256, 1, False]] * 5],
    [[5, 256, 512, 2, True], [5, 512, 512, 1, True]],
]


def test_hugging_face_tells_rate_and_strides_beside_the_weights(quarter: Arrays, tmp_path: Path) -> None:
    path, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    save_file(hugging_face_names(quarter), path)
    assert distance(path, first_logits(quarter, IMAGES)) <= 1e-4
    config.write_text(json.dumps({"hidden_dropout_prob": 0.5, "stem_stride": 1, "block_configs": ROWS}))
    assert load(path).architecture.strides == (1, (2, 1), 2, 1, 2, 2)
    assert distance(path, first_logits(quarter, IMAGES, 0.5, (1, (2, 1), 2, 1, 2, 2))) <= 1e-4
    assert load(path, strides=(2, 2, 2, 2, 2, 2)).architecture.strides == (2, 2, 2, 2, 2, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected the settings of a PP-LCNet"),
        ("[]", "no table of settings"),
        ('{"hidden_act": "gelu"}', "hidden_act is gelu, of which there are hardswish and relu here"),
        ('{"block_configs": [[]]}', "expected the settings of a PP-LCNet"),
        ('{"model_type": "resnet"}', "model_type is resnet"),
        ('{"id2label": {"0": "a", "2": "b"}}', "id2label does not number the classes from 0"),
        ('{"block_configs": [[[3, 16, 32, 1, false], [3, 16, 32, 2, false]]]}', "stage 0 has a stride behind its first block"),
    ],
)
def test_settings_of_another_network_are_told(quarter: Arrays, text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(hugging_face_names(quarter), path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=rf"model\.safetensors: config\.json: .*{message}"):
        load(path)


def test_settings_must_be_those_of_the_weights(quarter: Arrays, tmp_path: Path) -> None:
    path, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    save_file(hugging_face_names(quarter), path)
    config.write_text('{"id2label": {"0": "up", "1": "down"}}')
    with pytest.raises(ValueError, match=r"config\.json: names 2 classes, but the weights have 5"):
        load(path)
    config.write_text('{"scale": 0.5}')
    with pytest.raises(ValueError, match=r"not the network of config\.json, PP-LCNet x0\.5; it differs: encoder"):
        load(path)


def test_labels_and_pictures_of_hugging_face_are_those_of_its_files(quarter: Arrays, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(hugging_face_names(quarter), path)
    assert load_checkpoint(path).preprocessing == HUGGING_FACE
    names = {str(number): f"class {number}" for number in (3, 1, 4, 0, 2)}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "pp_lcnet", "scale": 0.25, "id2label": names}))
    line = {"size": {"width": 160, "height": 80}, "resize_short": None, "do_center_crop": False, "image_mean": [0.1, 0.2, 0.3]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(line))
    found = load_checkpoint(path)
    assert found.labels == ("class 0", "class 1", "class 2", "class 3", "class 4")
    assert found.preprocessing == replace(TEXT_LINE, mean=(0.3, 0.2, 0.1))
    assert load_checkpoint(path, Foreign(preprocessing=TIMM)).preprocessing == TIMM
    (tmp_path / "preprocessor_config.json").write_text('{"resample": 1}')
    with pytest.raises(ValueError, match=r"preprocessor_config\.json: .*resample is 1, of which there are 2"):
        load_checkpoint(path)


def test_lines_of_text_of_hugging_face_show_by_their_strides(quarter: Arrays, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(hugging_face_names(quarter), path)
    (tmp_path / "config.json").write_text(json.dumps({"block_configs": ROWS}))
    assert load_checkpoint(path).preprocessing == TEXT_LINE


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


# ------------------------------------------------------------------------------------------------------------- timm's


@pytest.mark.parametrize("name", ["PPLCNetV2_small"])
def test_timm_keeps_the_second_version_with_branches_or_merged(name: str, tmp_path: Path) -> None:
    arrays, path = second_arrays(PUBLISHED[name].scale, DEPTHS[name], classes=5), tmp_path / f"{name}.safetensors"
    expected, names = second_logits(arrays, IMAGES, DEPTHS[name], rate=0.0), second_timm_names(arrays)
    save_file(names, path)
    assert distance(path, expected) <= 1e-4
    save_file(merged(names), path)
    assert distance(path, expected) <= 1e-4
    found = load(path)
    assert (found.architecture.scale, found.architecture.head_bias) == (PUBLISHED[name].scale, False)
    with torch.no_grad():
        assert (fold(found)(IMAGES) - expected).abs().max() <= 2e-4 * max(1.0, expected.abs().max().item())


def test_paddle_too_may_hold_merged_kernels_alone(tmp_path: Path) -> None:
    arrays = second_arrays(0.75, 4, classes=5)
    names = merged(
        {name: torch.from_numpy(array) for name, array in arrays.items() if not name.endswith(("_mean", "_variance"))}
        | {
            name.replace("_mean", "running_mean").replace("_variance", "running_var"): torch.from_numpy(array)
            for name, array in arrays.items()
            if name.endswith(("_mean", "_variance"))
        }
    )
    back = {name.replace("running_mean", "_mean").replace("running_var", "_variance"): value for name, value in names.items()}
    path = write_paddle(tmp_path / "x.pdparams", {name: value.numpy() for name, value in back.items()})
    expected = second_logits(arrays, IMAGES, 4)
    assert distance(path, expected) <= 1e-4


def test_timm_prepares_two_widths_otherwise_and_its_config_goes_first(tmp_path: Path) -> None:
    for scale, cubic in ((0.35, False), (0.5, True), (1.5, False)):
        path = tmp_path / f"lcnet_{scale}.safetensors"
        save_file(timm_names(first_arrays(scale, classes=3), torch.zeros(1280)), path)
        assert load_checkpoint(path).preprocessing == replace(TIMM, cubic=cubic)
    rule = {"input_size": [3, 192, 192], "crop_pct": 0.95, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.25] * 3}
    about = {"architecture": "lcnet_150", "label_names": ["a", "b", "c"], "pretrained_cfg": rule}
    (tmp_path / "config.json").write_text(json.dumps(about))
    found = load_checkpoint(path)
    assert found.labels == ("a", "b", "c")
    assert found.preprocessing == replace(TIMM, resize=202, crop=(192, 192), cubic=False, mean=(0.5,) * 3, std=(0.25,) * 3)
    for change, message in (({"interpolation": "lanczos"}, "interpolation is lanczos"), ({"crop_mode": "border"}, "crop_mode")):
        (tmp_path / "config.json").write_text(json.dumps(about | {"pretrained_cfg": rule | change}))
        with pytest.raises(ValueError, match=rf"config\.json: .*{message}"):
            load_checkpoint(path)
        assert load_checkpoint(path, Foreign(preprocessing=TIMM)).preprocessing == TIMM


def test_one_channel_goes_by_the_first_weight_and_the_mean_is_told(quarter: Arrays, tmp_path: Path) -> None:
    names = timm_names(quarter, torch.zeros(1280))
    names["conv_stem.weight"] = names["conv_stem.weight"].sum(1, keepdim=True)
    save_file(names, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"architecture": "lcnet_025", "pretrained_cfg": {"input_size": [3, 224, 224]}}')
    found = load_checkpoint(tmp_path / "model.safetensors")
    assert found.network.architecture.in_channels == 1
    assert found.preprocessing.mean == pytest.approx((0.449,))
    assert found.preprocessing.std == pytest.approx((0.226,))
    assert "for its one channel mean 0.449 and deviation 0.226 (assumed" in found.about["read_as"]


# ------------------------------------------------------------------------------------------- what a file does not tell


def test_options_say_what_paddles_lines_of_text_need(quarter: Arrays, tmp_path: Path, caplog) -> None:
    path = write_paddle(tmp_path / "best_model.pdparams", quarter)
    expected = first_logits(quarter, IMAGES, first_strides=STRIDES_TEXT_LINE)
    assert distance(path, expected) > 0.01
    given = foreign_of("2,2x1,2x1,2x1,2x1", "paddleclas", (80, 160))
    assert given == Foreign(STRIDES_TEXT_LINE, None, replace(PADDLECLAS, resize=(80, 160), crop=None))
    assert given == foreign_of("2, 1, 2x1, 2x1, 2x1, 2x1", "paddleclas", (80, 160))
    found = load_checkpoint(path, given)
    assert distance(path, expected, strides=given.strides) <= 1e-4
    assert found.preprocessing == given.preprocessing
    assert "strides 2,1,2x1,2x1,2x1,2x1 (given); dropout 0.2 (assumed)" in found.about["read_as"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("2,2,2",), "strides: expected six of the stem and the five stages, or Paddle's five"),
        (("2,2x1x1,2,2,2",), "strides: expected six"),
        (("2,0,2,2,2",), "strides: expected six"),
        (("2,a,2,2,2",), "strides: expected six"),
        ((None, "torchvision"), "preprocessing: expected one of paddleclas, timm, .*, got torchvision"),
        ((None, None, (80, 160)), "squash: name the pre-processing, too"),
        ((None, "timm", (0, 160)), "resize: expected positive sides"),
    ],
)
def test_wrong_options_are_told(options: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        foreign_of(*options)


def test_a_known_name_with_its_number_of_classes_tells_strides_and_pictures(tmp_path: Path) -> None:
    two, five = first_arrays(0.25, classes=2), first_arrays(0.25, classes=5)
    path = write_paddle(tmp_path / "PP-LCNet_x0_25_textline_ori_pretrained.pdparams", two)
    found = load_checkpoint(path)
    assert found.network.architecture.strides == STRIDES_TEXT_LINE
    assert found.preprocessing == replace(PADDLECLAS, resize=(80, 160), crop=None)
    assert "the network's name, textline_ori" in found.about["read_as"]
    assert load_checkpoint(path, Foreign((2, 1, 2, 2, 2, 2))).network.architecture.strides == (2, 1, 2, 2, 2, 2)
    (tmp_path / "textline_orientation").mkdir()
    inside = write_paddle(tmp_path / "textline_orientation/best_model.pdparams", two)
    assert load(inside).architecture.strides == STRIDES_TEXT_LINE
    assert load(write_paddle(path, five)).architecture.strides == (2, 1, 2, 2, 2, 2)


def test_what_was_assumed_is_logged_and_what_is_told_is_not(quarter: Arrays, tmp_path: Path, caplog) -> None:
    caplog.set_level("INFO", "ernest.lcnet.weights")
    path = write_paddle(tmp_path / "best_model.pdparams", quarter)
    load(path)
    assert caplog.messages == [
        f"{path}: taken for a PP-LCNet x0.25 of PaddleClas, 5 classes; strides 2,1,2,2,2,2 (assumed); dropout 0.2 (assumed); "
        "pictures short side 256, middle 224x224, bilinear, red first (assumed); activation h-swish (assumed)"
    ]
    caplog.clear()
    load_checkpoint(path, Foreign((2, 1, 2, 2, 2, 2), 0.2, PADDLECLAS, activation="h-swish"))
    assert not caplog.messages


def test_an_activation_that_no_tensor_shows_may_be_told(quarter: Arrays, tmp_path: Path) -> None:
    path = write_paddle(tmp_path / "best_model.pdparams", quarter)
    found = load_checkpoint(path, foreign_of(activation="relu"))
    assert found.network.architecture.activation == "relu"
    assert "activation relu (given)" in found.about["read_as"]
    assert load(path).architecture.activation == "h-swish"
    with pytest.raises(ValueError, match="activation: expected one of h-swish, relu, got gelu"):
        foreign_of(activation="gelu")


def test_networks_of_attributes_give_every_label_a_probability_of_its_own(tmp_path: Path) -> None:
    path = write_paddle(tmp_path / "person_attribute_pretrained.pdparams", first_arrays(0.25, classes=26))
    assert load_checkpoint(path).decision == Decision(many=True)
    other = write_paddle(tmp_path / "x.pdparams", first_arrays(0.25, classes=26))
    assert load_checkpoint(other).decision == Decision()
    told = load_checkpoint(other, foreign_of(many=True))
    assert told.decision == Decision(many=True)
    assert "many labels a picture (given)" in told.about["read_as"]
    picture = tmp_path / "x.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(picture)
    model = open_model(path)
    logits = model.run(prepare(np.asarray(Image.open(picture)), model.preprocessing))[0]
    answer = next(classify(model, [picture]))
    assert sorted(value for _, value in answer.labels) == pytest.approx(sorted(logits.sigmoid()[logits > 0].tolist()), abs=1e-5)


# -------------------------------------------------------------------------------------------------- numbers and wrappers


def test_bfloat16_lies_as_uint16_in_files_of_paddle(quarter: Arrays, tmp_path: Path) -> None:
    halves = {name: torch.from_numpy(array).to(torch.bfloat16) for name, array in quarter.items()}
    bits = {name: tensor.view(torch.int16).numpy().view(np.uint16) for name, tensor in halves.items()}
    rounded = {name: tensor.float().numpy() for name, tensor in halves.items()}
    path = write_paddle(tmp_path / "x.pdparams", bits)
    assert distance(path, first_logits(rounded, IMAGES)) <= 1e-4


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("conv1.bn.bias", np.array([np.nan] + [0.0] * 7, np.float32), "conv1.bn.bias: 1 of 8 numbers are not finite"),
        ("fc.bias", np.array([np.inf, -np.inf, 0, 0, 0], np.float32), "fc.bias: 2 of 5 numbers are not finite"),
        ("fc.bias", np.array([1e300, 0, 0, 0, 0]), "fc.bias: 1 of 5 numbers are not finite"),
        ("fc.bias", np.arange(5), r"fc.bias holds whole numbers \(int64\), which are no weights"),
        ("conv1.bn._variance", np.full(8, -1, np.float32), "conv1.bn._variance: a variance of -1 is below zero"),
    ],
)
def test_numbers_that_are_no_weights_are_refused(quarter: Arrays, name: str, value: np.ndarray, message: str, tmp_path) -> None:
    path = write_paddle(tmp_path / "x.pdparams", quarter | {name: value})
    with pytest.raises(ValueError, match=rf"x\.pdparams: {message}"):
        load(path)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.model."])
def test_prefixes_of_wrappers_are_taken_off(quarter: Arrays, prefix: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for names, rate in ((timm_names(quarter, torch.zeros(1280)), 0.0), (hugging_face_names(quarter), 0.2)):
        save_file({f"{prefix}{name}": tensor for name, tensor in names.items()} | {"criterion.weight": torch.ones(5)}, path)
        assert distance(path, first_logits(quarter, IMAGES, rate)) <= 1e-4
        told = prefix.replace("._orig_mod", "").rstrip(".")
        assert f"in {told}" in load_checkpoint(path).about["read_as"]


@pytest.mark.parametrize("wrapped", ["._orig_mod.", "._fsdp_wrapped_module._checkpoint_wrapped_module."])
def test_parts_that_were_compiled_or_wrapped_by_themselves_are_those(quarter: Arrays, wrapped: str, tmp_path: Path) -> None:
    names = {name.replace(".", wrapped, 1): tensor for name, tensor in hugging_face_names(quarter).items()}
    save_file(names, tmp_path / "model.safetensors")
    assert distance(tmp_path / "model.safetensors", first_logits(quarter, IMAGES, 0.2)) <= 1e-4
    path = write_torch(tmp_path / "last.ckpt", {"state_dict": names, "epoch": 1})
    assert distance(path, first_logits(quarter, IMAGES, 0.2)) <= 1e-4
    (tmp_path / "model.safetensors").rename(tmp_path / "model-00001-of-00002.safetensors")
    with pytest.raises(ValueError, match=r"model-00001-of-00002\.safetensors: one of several files of a network: save it in one"):
        load(tmp_path / "model-00001-of-00002.safetensors")
    (tmp_path / "model-00001-of-00002.safetensors").rename(tmp_path / "model-00001-of-00001.safetensors")
    assert load(tmp_path / "model-00001-of-00001.safetensors").architecture.scale == 0.25


def test_two_networks_in_a_file_are_told(quarter: Arrays, tmp_path: Path) -> None:
    names = timm_names(quarter, torch.zeros(1280))
    save_file(
        {f"{prefix}.{name}": tensor.clone() for name, tensor in names.items() for prefix in ("one", "other")}, tmp_path / "x"
    )
    with pytest.raises(ValueError, match=r"x: holds several networks \(one\., other\.\): save one of them alone"):
        load(tmp_path / "x")


def test_backbones_and_later_versions_are_told(quarter: Arrays, tmp_path: Path) -> None:
    names = hugging_face_names(quarter)
    backbone = {name: tensor for name, tensor in names.items() if name.startswith("encoder.")}
    save_file(backbone, tmp_path / "x")
    with pytest.raises(ValueError, match=r"expected a classifier head\.weight of two dimensions, without which it is a backbone"):
        load(tmp_path / "x")
    save_file(backbone | {"encoder.blocks.0.layers.0.depthwise_convolution.lab.scale": torch.ones(1)}, tmp_path / "x")
    with pytest.raises(ValueError, match="PP-LCNetV3 and V4 are other networks, of which nothing is read"):
        load(tmp_path / "x")


def test_a_start_that_wants_blue_first_gets_red_first(quarter: Arrays, tmp_path: Path) -> None:
    save_file(hugging_face_names(quarter), tmp_path / "model.safetensors")
    there, start = load_checkpoint(tmp_path / "model.safetensors"), load_start(tmp_path / "model.safetensors")
    assert (there.preprocessing.bgr, start.preprocessing.bgr) == (True, False)
    picture = np.random.default_rng(0).integers(0, 256, (260, 300, 3), np.uint8)
    with torch.no_grad():
        one, other = (each.network(prepare(picture, each.preprocessing)) for each in (there, start))
    assert (one - other).abs().max() <= 1e-5 * one.abs().max()


def test_a_deployed_file_is_no_start_for_a_training(quarter: Arrays, tmp_path: Path) -> None:
    network = load(write_paddle(tmp_path / "x.pdparams", quarter))
    save(tmp_path / "x.safetensors", fold(network), precision="fp32")
    with pytest.raises(ValueError, match=r"x\.safetensors: a deployed network, without normalisation: start from the checkpoint"):
        load_start(tmp_path / "x.safetensors")
    (tmp_path / "x.onnx").write_bytes(b"\x08\x08\x12\x0cernest.lcnet")
    with pytest.raises(ValueError, match=r"x\.onnx: .*this is a deployed network; give the checkpoint that it was made of"):
        load_start(tmp_path / "x.onnx")
