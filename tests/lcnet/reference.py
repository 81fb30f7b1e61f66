"""PP-LCNet and PP-LCNetV2 spelled out on arrays with PaddleClas' names: a second statement of both architectures."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Arrays = dict[str, np.ndarray]

FIRST = {
    "blocks2": [(3, 16, 32, 1, False)],
    "blocks3": [(3, 32, 64, 2, False), (3, 64, 64, 1, False)],
    "blocks4": [(3, 64, 128, 2, False), (3, 128, 128, 1, False)],
    "blocks5": [(3, 128, 256, 2, False), *[(5, 256, 256, 1, False)] * 5],
    "blocks6": [(5, 256, 512, 2, True), (5, 512, 512, 1, True)],
}
"""Kernel, channels in and out at x1.0, stride, squeeze-and-excite."""

SECOND = [(64, 3, False, False, False), (128, 3, False, False, False), (256, 5, True, True, False), (512, 5, False, True, True)]
"""Channels in at x1.0, kernel, split pointwise (and squeeze-and-excite), branches, shortcut."""


class Draw:
    """Arrays of a reasonable size, drawn and kept by name as they are asked for."""

    def __init__(self, seed: int, scale: float) -> None:
        self.rng, self.scale, self.arrays = np.random.default_rng(seed), scale, Arrays()

    def width(self, channels: int) -> int:
        exact = channels * self.scale
        near = max(8, 8 * int(exact / 8 + 0.5))
        return near + 8 if near < 0.9 * exact else near

    def uniform(self, name: str, low: float, high: float, *shape: int) -> None:
        self.arrays[name] = (low + (high - low) * self.rng.random(shape, dtype=np.float32)).astype(np.float32)

    def weight(self, name: str, *shape: int, gain: float = 2.4) -> None:
        bound = gain / float(np.prod(shape[1:])) ** 0.5
        self.uniform(name, -bound, bound, *shape)

    def conv(self, name: str, *shape: int) -> None:
        self.weight(f"{name}.conv.weight", *shape)
        for leaf, low, high in (("weight", 0.7, 1.3), ("bias", -0.1, 0.1), ("_mean", -0.1, 0.1), ("_variance", 0.5, 1.5)):
            self.uniform(f"{name}.bn.{leaf}", low, high, shape[0])

    def squeeze(self, name: str, channels: int) -> None:
        for part, out, inside in (("conv1", channels // 4, channels), ("conv2", channels, channels // 4)):
            self.weight(f"{name}.{part}.weight", out, inside, 1, 1)
            self.uniform(f"{name}.{part}.bias", -0.5, 0.5, out)

    def head(self, channels: int, classes: int) -> Arrays:
        self.weight("last_conv.weight", 1280, channels, 1, 1)
        self.uniform("fc.weight", -0.06, 0.06, 1280, classes)
        self.uniform("fc.bias", -0.1, 0.1, classes)
        return self.arrays


class Measuring(Arrays):
    """Arrays whose normalisation takes its statistics from what passes through, so that signals neither die nor grow."""


NOISE = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def first_arrays(scale: float, classes: int, seed: int = 0) -> Arrays:
    """All arrays of PP-LCNet under PaddleClas' names, at random."""
    draw = Draw(seed, scale)
    draw.conv("conv1", draw.width(16), 3, 3, 3)
    for stage, rows in FIRST.items():
        for place, (kernel, channels, out, _, squeeze) in enumerate(rows):
            channels, name = draw.width(channels), f"{stage}.{place}"
            draw.conv(f"{name}.dw_conv", channels, 1, kernel, kernel)
            if squeeze:
                draw.squeeze(f"{name}.se", channels)
            draw.conv(f"{name}.pw_conv", draw.width(out), channels, 1, 1)
    measuring = Measuring(draw.head(draw.width(512), classes))
    first_logits(measuring, NOISE)
    return dict(measuring)


def first_logits(arrays: Arrays, images: Tensor, rate: float = 0.2, first_strides: tuple = (2, 1, 2, 2, 2, 2)) -> Tensor:
    """What PaddleClas makes of the images: dropout scales by 1 - rate."""
    x = F.hardswish(_conv(arrays, "conv1", images, first_strides[0]))
    for (stage, rows), first in zip(FIRST.items(), first_strides[1:], strict=True):
        for place in range(len(rows)):
            name = f"{stage}.{place}"
            x = F.hardswish(_conv(arrays, f"{name}.dw_conv", x, 1 if place else first))
            if f"{name}.se.conv1.weight" in arrays:
                x = x * F.hardsigmoid(_squeeze(arrays, f"{name}.se", x))
            x = F.hardswish(_conv(arrays, f"{name}.pw_conv", x))
    return _head(arrays, x, F.hardswish, rate)


def second_arrays(scale: float, depth: int, classes: int, seed: int = 0) -> Arrays:
    """All arrays of PP-LCNetV2 under PaddleClas' names, at random, with what a training file holds besides."""
    draw = Draw(seed, scale)
    stem, out = draw.width(32), draw.width(64)
    draw.conv("stem.0", stem, 3, 3, 3)
    draw.conv("stem.1.dw_conv", stem, 1, 3, 3)
    draw.conv("stem.1.pw_conv", out, stem, 1, 1)
    for stage, ((channels, kernel, split, branches, _), count) in enumerate(zip(SECOND, (2, 2, depth, 2), strict=True)):
        for place in range(count):
            name, width, out = f"stages.{stage}.{place}", draw.width(channels * (1 + (place > 0))), draw.width(2 * channels)
            if branches:
                for number, side in enumerate(range(kernel, 0 if place else 1, -2)):
                    draw.conv(f"{name}.dw_conv_list.{number}", width, 1, side, side)
                draw.weight(f"{name}.dw_conv.weight", width, 1, kernel, kernel)
                draw.uniform(f"{name}.dw_conv.bias", 0, 0, width)
            else:
                draw.conv(f"{name}.dw_conv", width, 1, kernel, kernel)
            if split:
                draw.squeeze(f"{name}.se", width)
                draw.conv(f"{name}.pw_conv_1", out // 2, width, 1, 1)
                draw.conv(f"{name}.pw_conv_2", out, out // 2, 1, 1)
            else:
                draw.conv(f"{name}.pw_conv", out, width, 1, 1)
    measuring = Measuring(draw.head(draw.width(1024), classes))
    second_logits(measuring, NOISE, depth)
    return dict(measuring)


def second_logits(arrays: Arrays, images: Tensor, depth: int, rate: float = 0.2) -> Tensor:
    """What PaddleClas makes of the images before its branches are merged."""
    x = F.relu(_conv(arrays, "stem.0", images, 2))
    x = F.relu(_conv(arrays, "stem.1.pw_conv", F.relu(_conv(arrays, "stem.1.dw_conv", x))))
    for stage, ((_, _, split, branches, shortcut), count) in enumerate(zip(SECOND, (2, 2, depth, 2), strict=True)):
        for place in range(count):
            name, stride, before = f"stages.{stage}.{place}", 1 if place else 2, x
            if branches:
                parts = range(3 if place else 2)
                x = F.relu(torch.stack([_conv(arrays, f"{name}.dw_conv_list.{part}", x, stride) for part in parts]).sum(0))
            else:
                x = F.relu(_conv(arrays, f"{name}.dw_conv", x, stride))
            if split:
                x = x * torch.sigmoid(_squeeze(arrays, f"{name}.se", x))
            for part in ("pw_conv_1", "pw_conv_2") if split else ("pw_conv",):
                x = F.relu(_conv(arrays, f"{name}.{part}", x))
            x = before + x if shortcut and place else x
    return _head(arrays, x, F.relu, rate)


def _conv(arrays: Arrays, name: str, x: Tensor, stride: int | tuple[int, int] = 1) -> Tensor:
    weight = torch.from_numpy(arrays[f"{name}.conv.weight"])
    groups = x.shape[1] // weight.shape[1]
    y = F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=groups)
    if isinstance(arrays, Measuring):
        variance, mean = torch.var_mean(y, (0, 2, 3))
        arrays |= {f"{name}.bn._mean": mean.numpy(), f"{name}.bn._variance": variance.numpy() + np.float32(0.1)}
    statistics = (torch.from_numpy(arrays[f"{name}.bn.{leaf}"]) for leaf in ("_mean", "_variance", "weight", "bias"))
    return F.batch_norm(y, *statistics, eps=1e-5)


def _squeeze(arrays: Arrays, name: str, x: Tensor) -> Tensor:
    one, other = (
        (torch.from_numpy(arrays[f"{name}.{part}.weight"]), torch.from_numpy(arrays[f"{name}.{part}.bias"]))
        for part in ("conv1", "conv2")
    )
    return F.conv2d(F.relu(F.conv2d(F.adaptive_avg_pool2d(x, 1), *one)), *other)


def _head(arrays: Arrays, x: Tensor, activation, rate: float) -> Tensor:
    wide = activation(F.conv2d(F.adaptive_avg_pool2d(x, 1), torch.from_numpy(arrays["last_conv.weight"]))).flatten(1)
    return (1 - rate) * wide @ torch.from_numpy(arrays["fc.weight"]) + torch.from_numpy(arrays["fc.bias"])
