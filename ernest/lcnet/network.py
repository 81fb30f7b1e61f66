"""PP-LCNet, a vision network made for CPUs (arXiv 2109.15099): a table of data and one short module.

- a stem convolution and thirteen depthwise-separable blocks in five stages, without shortcuts
- h-swish everywhere, 5x5 kernels in the last seven blocks, squeeze-and-excite in the last two
- a wide layer (1280) between the pooled features and the classifier
- strides, widths, kernels and places of squeeze-and-excite are data: any image size, dense feature maps
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Block:
    """One depthwise-separable block: side of its depthwise kernel, output channels at scale 1, squeeze-and-excite or not."""

    kernel: int
    channels: int
    squeeze: bool = False


PP_LCNET: tuple[tuple[Block, ...], ...] = (
    (Block(3, 32),),
    (Block(3, 64), Block(3, 64)),
    (Block(3, 128), Block(3, 128)),
    (Block(3, 256), *[Block(5, 256)] * 5),
    (Block(5, 512, squeeze=True), Block(5, 512, squeeze=True)),
)
"""The five stages of Table 1; only the first block of a stage has a stride."""

SCALES = (0.25, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5)
"""The published widths."""


@dataclass(frozen=True)
class Architecture:
    """What there is to choose. The defaults are PP-LCNet x1.0 for ImageNet.

    `strides` are those of the stem and of the five stages, each a number or (vertical, horizontal). `hidden` is the
    width of the layer before the classifier, which `scale` leaves alone; 0 leaves the layer out.
    """

    classes: int = 1000
    scale: float = 1.0
    strides: tuple[int | tuple[int, int], ...] = (2, 1, 2, 2, 2, 2)
    stages: tuple[tuple[Block, ...], ...] = PP_LCNET
    stem: int = 16
    hidden: int = 1280
    dropout: float = 0.2
    in_channels: int = 3

    def __post_init__(self) -> None:
        if len(self.strides) != 1 + len(self.stages):
            wanted = f"one for the stem and one for each of the {len(self.stages)} stages"
            raise ValueError(f"strides: expected {wanted}, got {self.strides}")
        if self.scale <= 0:
            raise ValueError(f"scale: expected a positive number, got {self.scale}")


def small_images(classes: int, scale: float = 1.0) -> Architecture:
    """For pictures of about 32x32, cheap to train: maps of 16, 8 and 4, 3x3 kernels that fit them, nine blocks."""
    stages = (
        (Block(3, 64), Block(3, 64)),
        (Block(3, 128), Block(3, 128)),
        (Block(3, 128),),
        (Block(3, 256), Block(3, 256, squeeze=True)),
        (Block(3, 256, squeeze=True),),
    )
    return Architecture(classes, scale, strides=(2, 1, 2, 1, 2, 1), stages=stages, stem=32, hidden=0, dropout=0.1)


class PPLCNet(nn.Module):
    """Images `[N, in_channels, H, W]` to logits `[N, classes]`, or to the feature maps of all stages."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        width = scaled(architecture.stem, architecture.scale)
        self.stem = _conv(architecture.in_channels, width, 3, architecture.strides[0])
        stages, channels = [], []
        for stage, stride in zip(architecture.stages, architecture.strides[1:], strict=True):
            blocks = []
            for place, block in enumerate(stage):
                out = scaled(block.channels, architecture.scale)
                blocks.append(_separable(width, out, block, stride if place == 0 else 1))
                width = out
            stages.append(nn.Sequential(*blocks))
            channels.append(width)
        self.stages = nn.Sequential(*stages)
        self.feature_channels = tuple(channels)
        self.head = Head(width, architecture)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, images: Tensor) -> list[Tensor]:
        """The output of every stage, finest first: `[N, feature_channels[i], H_i, W_i]`."""
        x, maps = self._begin(images), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stages(self._begin(images)))

    def _begin(self, images: Tensor) -> Tensor:
        # Depthwise convolutions train two to five times faster on a CPU when channels lie innermost in memory.
        return self.stem(images.contiguous(memory_format=torch.channels_last))


class Head(nn.Module):
    """Global average pooling, a wide layer without normalisation or bias, dropout, classifier."""

    def __init__(self, width: int, architecture: Architecture) -> None:
        super().__init__()
        hidden = architecture.hidden
        self.wide = nn.Sequential(nn.Linear(width, hidden, bias=False), nn.Hardswish()) if hidden else nn.Identity()
        self.dropout = nn.Dropout(architecture.dropout)
        self.classifier = nn.Linear(hidden or width, architecture.classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.dropout(self.wide(x.mean((2, 3)))))


class SqueezeExcite(nn.Module):
    """Channels weighed by what the whole map holds: pooled, reduced by four, expanded, hard sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.Conv2d(channels, channels // 4, 1), nn.ReLU(), nn.Conv2d(channels // 4, channels, 1), nn.Hardsigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x.mean((2, 3), keepdim=True))


def scaled(channels: int, scale: float) -> int:
    """`channels` times `scale`, as the nearest multiple of 8: at least 8, and never more than a tenth too small."""
    exact = channels * scale
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


def published_parameters(network: nn.Module) -> int:
    """Parameters as the paper's tables count them: with the running mean and variance of batch normalisation."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    return sum(p.numel() for p in network.parameters()) + sum(2 * norm.num_features for norm in norms)


def _separable(width: int, out: int, block: Block, stride: int | tuple[int, int]) -> nn.Sequential:
    """Depthwise convolution, squeeze-and-excite where wanted, pointwise convolution.

    The paper's Figure 2 draws squeeze-and-excite last; its parameter counts and its code put it in between.
    """
    squeeze = [SqueezeExcite(width)] if block.squeeze else []
    return nn.Sequential(_conv(width, width, block.kernel, stride, groups=width), *squeeze, _conv(width, out, 1))


def _conv(width: int, out: int, kernel: int, stride: int | tuple[int, int] = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(width, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.Hardswish())
