"""The classes of transformers, timm and Paddle themselves, where they are installed: their files answer as they do.

`pip install transformers torchvision timm paddlepaddle` into an environment of its own runs all of these.
"""

import importlib
import itertools
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from ernest.lcnet import HUGGING_FACE, PPLCNet, fold, load_checkpoint, open_model, prepare
from ernest.lcnet.weights.given import Foreign
from tests.lcnet.foreign import write_torch
from tests.lcnet.networks import with_statistics
from tests.lcnet.reference import first_arrays

pytestmark = pytest.mark.filterwarnings("ignore")
IMAGES = torch.randn(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def package(name: str) -> ModuleType:
    try:
        with warnings.catch_warnings(action="ignore"):
            return importlib.import_module(name)
    except Exception as error:
        pytest.skip(f"{name} cannot be imported: {error}")


def telling(network: nn.Module, classifier: nn.Linear) -> nn.Module:
    """With statistics as training leaves them, and a classifier that answers different pictures differently: without either,
    logits differ by 1e-6 and any network passes for any other."""
    with_statistics(network)
    with torch.no_grad():
        classifier.weight.copy_(torch.randn(classifier.weight.shape, generator=torch.Generator().manual_seed(1)))
        classifier.bias.copy_(torch.arange(len(classifier.bias)) / 10)
    return network


def assert_same(ours: PPLCNet, theirs: torch.Tensor, images: torch.Tensor = IMAGES) -> None:
    size = theirs.abs().max()
    assert (theirs[0] - theirs[1]).abs().max() > 0.05 * size
    with torch.no_grad():
        assert (ours(images) - theirs).abs().max() <= 2e-5 * size
        assert (fold(ours)(images) - theirs).abs().max() <= 1e-4 * size


# --------------------------------------------------------------------------------------------------------- Hugging Face

LINES = [
    [[3, 16, 32, 1, False]],
    [[3, 32, 64, [2, 1], False], [3, 64, 64, 1, False]],
    [[3, 64, 128, [2, 1], False], [3, 128, 128, 1, False]],
    [[3, 128, 256, [2, 1], False], *[[5, 256, 256, 1, False]] * 5],
    [[5, 256, 512, [2, 1], True], [5, 512, 512, 1, True]],
]
OTHER = [
    [[5, 24, 32, 2, True], [3, 32, 32, 1, False]],
    [[3, 32, 48, 1, False]],
    [[7, 48, 64, 2, True]],
    [[3, 64, 96, [1, 2], False]],
    [[5, 96, 128, 2, False], [3, 128, 160, 1, True], [3, 160, 160, 1, False]],
]
VARIANTS = {
    "as published": {"scale": 0.25},
    "x1.0": {},
    "lines of text": {"scale": 0.25, "block_configs": LINES},
    "relu, another rate": {"scale": 0.35, "hidden_act": "relu", "hidden_dropout_prob": 0.35},
    "no dropout, another width": {"scale": 0.5, "hidden_dropout_prob": 0, "class_expand": 96},
    "reduction": {"scale": 0.75, "reduction": 8},
    "multiples of 16": {"scale": 0.35, "divisor": 16},
    "multiples of 4": {"scale": 0.3, "divisor": 4},
    "other blocks": {"block_configs": OTHER, "stem_channels": 24, "stem_stride": 1},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_hugging_face(variant: str, tmp_path: Path) -> None:
    transformers = package("transformers.models.pp_lcnet.modeling_pp_lcnet")
    config = package("transformers.models.pp_lcnet.configuration_pp_lcnet")
    names = {0: "up", 1: "left", 2: "down", 3: "right"}
    theirs = transformers.PPLCNetForImageClassification(config.PPLCNetConfig(id2label=names, **VARIANTS[variant])).eval()
    telling(theirs, theirs.head)
    theirs.save_pretrained(tmp_path)
    found = load_checkpoint(tmp_path / "model.safetensors")
    with torch.no_grad():
        assert_same(found.network, theirs(IMAGES).last_hidden_state)
    assert found.labels == tuple(names.values())
    assert open_model(tmp_path / "model.safetensors").labels == tuple(names.values())


def test_backbones_of_hugging_face_are_told(tmp_path: Path) -> None:
    for version, why in (("", "without which it is a backbone"), ("_v3", "are other networks"), ("_v4", "are other networks")):
        module = package(f"transformers.models.pp_lcnet{version}.modeling_pp_lcnet{version}")
        config = package(f"transformers.models.pp_lcnet{version}.configuration_pp_lcnet{version}")
        kind = f"PPLCNet{version[1:].upper()}"
        getattr(module, f"{kind}Backbone")(getattr(config, f"{kind}Config")()).save_pretrained(tmp_path / (version or "v1"))
        with pytest.raises(ValueError, match=why):
            load_checkpoint(tmp_path / (version or "v1") / "model.safetensors")


def test_hugging_face_cuts_the_middle_of_every_size_as_we_do() -> None:
    """All rests that a crop can leave, in both directions, and the file of settings that its processor writes."""
    processor = package("transformers.models.pp_lcnet.image_processing_pp_lcnet").PPLCNetImageProcessor()
    generator = np.random.default_rng(0)
    for height, width in itertools.product(range(256, 264), (256, 257, 258, 259, 411)):
        picture = generator.integers(0, 256, (height, width, 3), np.uint8)
        theirs = torch.as_tensor(np.asarray(processor(images=picture, return_tensors="pt")["pixel_values"]))
        levels = (prepare(picture, HUGGING_FACE) - theirs).abs() * 255 * 0.23  # of noise: a pixel off would be 80 in the mean
        assert levels.mean() <= 0.1, (height, width)
        assert levels.max() <= 2.1, (height, width)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"resize_short": None, "size": {"height": 80, "width": 160}, "do_center_crop": False},
        {
            "resize_short": 100,
            "crop_size": {"height": 64, "width": 96},
            "image_mean": [0.1, 0.2, 0.3],
            "image_std": [0.5, 0.6, 0.7],
        },
        {"resample": 3, "do_normalize": False},
    ],
)
def test_the_processor_of_hugging_face_is_read_from_its_file(options: dict, tmp_path: Path) -> None:
    processor = package("transformers.models.pp_lcnet.image_processing_pp_lcnet").PPLCNetImageProcessor(**options)
    module = package("transformers.models.pp_lcnet.modeling_pp_lcnet")
    config = package("transformers.models.pp_lcnet.configuration_pp_lcnet").PPLCNetConfig(scale=0.25)
    module.PPLCNetForImageClassification(config).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    rule = load_checkpoint(tmp_path / "model.safetensors").preprocessing
    picture = np.kron(np.random.default_rng(0).integers(0, 256, (40, 60, 3)), np.ones((5, 5, 1))).astype(np.uint8)
    theirs = torch.as_tensor(np.asarray(processor(images=picture, return_tensors="pt")["pixel_values"]))
    assert ((prepare(picture, rule) - theirs).abs() * 255 * min(rule.std)).max() <= 1.1


# ----------------------------------------------------------------------------------------------------------------- timm


@pytest.mark.parametrize("name", ["lcnet_035", "lcnet_050", "lcnet_075", "lcnet_100", "lcnet_150"])
@pytest.mark.parametrize("channels", [3, 1])
def test_timm(name: str, channels: int, tmp_path: Path) -> None:
    timm = package("timm")
    theirs = timm.create_model(name, num_classes=7, in_chans=channels).eval()
    telling(theirs, theirs.classifier)
    images = IMAGES[:, :channels]
    with torch.no_grad():
        expected = theirs(images)
    write_torch(tmp_path / "x.pth", theirs.state_dict())
    assert_same(load_checkpoint(tmp_path / "x.pth").network, expected, images)
    package("timm.models").save_for_hf(theirs, tmp_path, safe_serialization=True, model_config={"label_names": list("abcdefg")})
    found = load_checkpoint(tmp_path / "model.safetensors")
    assert_same(found.network, expected, images)
    assert found.labels == tuple("abcdefg")
    rule = package("timm.data").resolve_data_config({}, model=theirs)
    assert found.preprocessing.cubic == (rule["interpolation"] == "bicubic")
    assert found.preprocessing == load_checkpoint(tmp_path / "x.pth").preprocessing


@pytest.mark.parametrize("name", ["lcnetv2_small", "lcnetv2_base", "lcnetv2_large"])
def test_the_second_version_of_timm(name: str, tmp_path: Path) -> None:
    timm = package("timm")
    theirs = timm.create_model(name, num_classes=7).eval()
    telling(theirs, theirs.classifier)
    for path in (tmp_path / "branches.pth", tmp_path / "merged.pth"):
        with torch.no_grad():
            expected = theirs(IMAGES)
        write_torch(path, theirs.state_dict())
        assert_same(load_checkpoint(path).network, expected)
        for module in theirs.modules():
            if hasattr(module, "reparameterize"):
                module.reparameterize()


@pytest.mark.parametrize("name", ["lcnet_050", "lcnet_150"])
def test_pictures_are_prepared_as_timm_does(name: str, tmp_path: Path) -> None:
    timm, image = package("timm"), package("PIL.Image")
    theirs = timm.create_model(name, num_classes=7)
    write_torch(tmp_path / "x.pth", theirs.state_dict())
    rule = load_checkpoint(tmp_path / "x.pth").preprocessing
    data = package("timm.data")
    transform = data.create_transform(**data.resolve_data_config({}, model=theirs))
    for height, width in ((300, 400), (480, 641), (600, 801)):
        picture = np.kron(np.random.default_rng(0).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)), np.ones((8, 8, 1)))
        picture = picture[:height, :width].astype(np.uint8)
        difference = (prepare(picture, rule)[0] - transform(image.fromarray(picture))).abs() * 255 * 0.23
        assert difference.mean() <= 0.1, (height, width)


@pytest.mark.parametrize("wrapped", [nn.DataParallel, torch.compile, lambda network: nn.ModuleDict({"model": network})])
def test_wrappers_and_training_checkpoints(wrapped: Callable, tmp_path: Path) -> None:
    timm = package("timm")
    theirs = timm.create_model("lcnet_035", num_classes=7).eval()
    telling(theirs, theirs.classifier)
    with torch.no_grad():
        expected = theirs(IMAGES)
    optimizer = torch.optim.AdamW(theirs.parameters())
    theirs(IMAGES).sum().backward()
    optimizer.zero_grad()
    content = {"epoch": 3, "state_dict": wrapped(theirs).state_dict(), "optimizer": optimizer.state_dict()}
    write_torch(tmp_path / "checkpoint-3.pth.tar", content)
    assert_same(load_checkpoint(tmp_path / "checkpoint-3.pth.tar").network, expected)


def test_a_checkpoint_of_timms_training(tmp_path: Path) -> None:
    """As its saver writes it: arguments in a Namespace, optimizer, and the averaged network, which timm evaluates."""
    import argparse

    timm, utils = package("timm"), package("timm.utils")
    theirs = timm.create_model("lcnet_035", num_classes=7)
    averaged = utils.ModelEmaV3(theirs, decay=0.5)
    telling(averaged.module, averaged.module.classifier)
    optimizer = torch.optim.SGD(theirs.parameters(), 0.1, momentum=0.9)
    arguments = argparse.Namespace(model="lcnet_035", lr=0.1, path=Path("x"), mean=None)
    saver = utils.CheckpointSaver(
        theirs, optimizer, arguments, averaged, checkpoint_dir=str(tmp_path), recovery_dir=str(tmp_path)
    )
    saver.save_checkpoint(0, metric=np.float64(12.5))
    found = load_checkpoint(tmp_path / "last.pth.tar")
    with torch.no_grad():
        assert_same(found.network, averaged.module.eval()(IMAGES))
    assert "in state_dict_ema" in found.about["read_as"]


# ---------------------------------------------------------------------------------------------------------------- Paddle


def paddle_network(paddle: ModuleType, scale: float, strides: list, before: int) -> nn.Module:
    """PaddleClas' class in short, with the numbers of our reference, after `before` other layers of the process, whose
    numbers then do not begin at 0."""
    layers, table = paddle.nn, json.loads(json.dumps(LINES).replace("[2, 1]", "2"))

    def width(channels: int) -> int:
        near = max(8, int(channels * scale + 4) // 8 * 8)
        return near + 8 if near < 0.9 * channels * scale else near

    class ConvBN(layers.Layer):
        def __init__(self, inside, out, kernel, stride=1, groups=1) -> None:
            super().__init__()
            self.conv = layers.Conv2D(inside, out, kernel, stride, kernel // 2, groups=groups, bias_attr=False)
            self.bn = layers.BatchNorm2D(out)
            self.act = layers.Hardswish()

        def forward(self, x):
            return self.act(self.bn(self.conv(x)))

    class Squeeze(layers.Layer):
        def __init__(self, channels) -> None:
            super().__init__()
            self.pool, self.relu, self.gate = layers.AdaptiveAvgPool2D(1), layers.ReLU(), layers.Hardsigmoid()
            self.conv1, self.conv2 = layers.Conv2D(channels, channels // 4, 1), layers.Conv2D(channels // 4, channels, 1)

        def forward(self, x):
            return paddle.multiply(x=x, y=self.gate(self.conv2(self.relu(self.conv1(self.pool(x))))))

    class Block(layers.Layer):
        def __init__(self, inside, out, kernel, stride, squeeze) -> None:
            super().__init__()
            self.dw_conv = ConvBN(inside, inside, kernel, stride, inside)
            self.se = Squeeze(inside) if squeeze else None
            self.pw_conv = ConvBN(inside, out, 1)

        def forward(self, x):
            x = self.dw_conv(x)
            return self.pw_conv(self.se(x) if self.se else x)

    class Network(layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = ConvBN(3, width(16), 3, strides[0])
            for number, rows in enumerate(table):
                firsts = [strides[number] if number else 1, *[1] * len(rows)]
                blocks = [
                    Block(width(inside), width(out), kernel, stride, squeeze)
                    for (kernel, inside, out, _, squeeze), stride in zip(rows, firsts, strict=False)
                ]
                setattr(self, f"blocks{number + 2}", layers.Sequential(*blocks))
            self.pool, self.act = layers.AdaptiveAvgPool2D(1), layers.Hardswish()
            self.last_conv = layers.Conv2D(width(512), 1280, 1, bias_attr=False)
            self.dropout = layers.Dropout(p=0.2, mode="downscale_in_infer")
            self.flatten, self.fc = layers.Flatten(start_axis=1, stop_axis=-1), layers.Linear(1280, 4)

        def forward(self, x):
            x = self.conv1(x)
            for number in range(2, 7):
                x = getattr(self, f"blocks{number}")(x)
            return self.fc(self.flatten(self.dropout(self.act(self.last_conv(self.pool(x))))))

    for _ in range(before):
        layers.Sequential(layers.Conv2D(1, 1, 1), layers.BatchNorm2D(1))
    network = Network()
    for name, array in first_arrays(scale, classes=4).items():
        network.state_dict()[name].set_value(array)
    network.eval()
    return network


@pytest.mark.parametrize("before", [0, 7])
def test_what_paddle_saves_and_exports(before: int, tmp_path: Path) -> None:
    paddle = package("paddle")
    strides = [2, [2, 1], [2, 1], [2, 1], [2, 1]]
    theirs = paddle_network(paddle, 0.25, strides, before)
    expected = torch.from_numpy(theirs(paddle.to_tensor(IMAGES.numpy())).numpy())
    paddle.save(theirs.state_dict(), str(tmp_path / "x.pdparams"))
    ours = load_checkpoint(tmp_path / "x.pdparams", Foreign((2, 1, (2, 1), (2, 1), (2, 1), (2, 1))))
    assert_same(ours.network, expected)
    spec = [paddle.static.InputSpec([None, 3, 80, 160])]
    paddle.jit.save(paddle.jit.to_static(theirs, input_spec=spec), str(tmp_path / "inference"))
    found = load_checkpoint(tmp_path / "inference.pdiparams")
    assert_same(found.network, expected)
    assert (found.preprocessing.resize, found.preprocessing.crop) == ((80, 160), None)
    assert load_checkpoint(tmp_path / "inference.json").network.architecture == found.network.architecture


def test_bfloat16_of_paddle(tmp_path: Path) -> None:
    paddle = package("paddle")
    theirs = paddle_network(paddle, 0.25, [2, 2, 2, 2, 2], 0)
    theirs.to(dtype="bfloat16")
    paddle.save(theirs.state_dict(), str(tmp_path / "x.pdparams"))
    found = load_checkpoint(tmp_path / "x.pdparams").network
    theirs.to(dtype="float32")
    assert_same(found, torch.from_numpy(theirs(paddle.to_tensor(IMAGES.numpy())).numpy()))
