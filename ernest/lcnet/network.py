"""The torch module of PP-LCNet and PP-LCNetV2, vision networks made for CPUs, built from an `Architecture`.

- a stem convolution and depthwise-separable blocks in five stages; sums only where V2 asks for them
- first version (arXiv 2109.15099): h-swish, 5x5 kernels in the last seven blocks, squeeze-and-excite in the last two
- second version (PaddleClas): ReLU, parallel depthwise branches, pointwise convolutions in two steps, a shortcut
- a wide layer (1280) between the pooled features and the classifier
- strides, widths, kernels and places of squeeze-and-excite are data: any image size, dense feature maps
"""

from collections.abc import Callable
from contextvars import ContextVar
from itertools import pairwise

import torch
from torch import Tensor, nn

from ernest.lcnet.architecture import Activation, Architecture, Block, Gate, Stride, small_images

__all__ = ["Architecture", "Block", "PPLCNet", "small_images"]


def one_after_the_other(x: Tensor, norm: nn.Module, activation: nn.Module | None = None) -> Tensor:
    return norm(x) if activation is None else activation(norm(x))


norm_and_activation: ContextVar[Callable[..., Tensor]] = ContextVar("norm_and_activation", default=one_after_the_other)
"""What follows a convolution, of its map, the norm and the activation: a training may have both done by one kernel."""


class PPLCNet(nn.Module):
    """Images `[N, in_channels, H, W]` to logits `[N, classes]`, or to the feature maps of all stages."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        width = architecture.width(architecture.stem)
        self.stem = ConvNormAct(architecture.in_channels, width, 3, architecture.strides[0], activation=architecture.activation)
        stages, channels = [], []
        for stage, stride in zip(architecture.stages, architecture.strides[1:], strict=True):
            blocks = []
            for index, block in enumerate(stage):
                out = architecture.width(block.channels)
                blocks.append(DepthwiseSeparable(width, out, block, stride if index == 0 else 1, architecture))
                width = out
            stages.append(nn.Sequential(*blocks))
            channels.append(width)
        self.stages = nn.Sequential(*stages)
        self.feature_channels = tuple(channels)
        self.head = Head(width, architecture)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                draw_weight(module.weight)

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
        if images.ndim != 4 or images.shape[1] != self.architecture.in_channels:
            raise ValueError(f"images: expected [N, {self.architecture.in_channels}, H, W], got {list(images.shape)}")
        # Depthwise convolutions train two to five times faster on a CPU when channels lie innermost in memory.
        return self.stem(images.contiguous(memory_format=torch.channels_last))


class Head(nn.Module):
    """Global average pooling, a wide layer without normalisation, dropout, classifier."""

    def __init__(self, width: int, architecture: Architecture) -> None:
        super().__init__()
        head_width, activation = architecture.head_width, _activation(architecture.activation)
        wide = [nn.Linear(width, head_width, bias=architecture.head_bias), activation] if head_width else []
        self.wide = nn.Sequential(*wide) if wide else nn.Identity()
        self.dropout = nn.Dropout(architecture.dropout)
        self.classifier = nn.Linear(head_width or width, architecture.classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.dropout(self.wide(x.mean((2, 3)))))


class SqueezeExcite(nn.Module):
    """Scales every channel by a gate from 0 to 1, computed from the means of all channels (arXiv 1709.01507)."""

    def __init__(self, channels: int, gate: Gate, reduction: int = 4) -> None:
        super().__init__()
        inner = channels // reduction
        if inner < 1:
            raise ValueError(f"reduction: expected at most {channels}, the channels of a block, got {reduction}")
        reduce, expand = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)
        self.gate = nn.Sequential(reduce, nn.ReLU(), expand, nn.Sigmoid() if gate == "sigmoid" else nn.Hardsigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x.mean((2, 3), keepdim=True))


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch normalisation, activation unless None; an odd kernel keeps the size over the stride."""

    def __init__(
        self,
        width: int,
        out: int,
        kernel: int = 1,
        stride: Stride = 1,
        dilation: int = 1,
        groups: int = 1,
        activation: Activation | None = "h-swish",
    ) -> None:
        padding = dilation * (kernel // 2)
        convolution = nn.Conv2d(width, out, kernel, stride, padding, dilation, groups, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(out), *([_activation(activation)] if activation else []))

    def forward(self, input: Tensor) -> Tensor:
        convolution, *others = self
        return norm_and_activation.get()(convolution(input), *others)


class ParallelDepthwise(nn.Module):
    """The sum of depthwise convolutions of sides k, k - 2, ..., 1; with a stride without the one of side 1.

    The sum is one depthwise convolution, into which `fold` merges the branches after training.
    """

    def __init__(self, width: int, kernel: int, stride: Stride, activation: Activation) -> None:
        super().__init__()
        sides = [side for side in range(kernel, 0, -2) if side > 1 or stride == 1]
        self.branches = nn.ModuleList(ConvNormAct(width, width, side, stride, groups=width, activation=None) for side in sides)
        self.activation = _activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        total = self.branches[0](x)
        for branch in self.branches[1:]:
            total = total + branch(x)
        return self.activation(total)


class DepthwiseSeparable(nn.Sequential):
    """Depthwise convolution, squeeze-and-excite if the block has it, pointwise convolution; the input added if `shortcut`.

    The paper's Figure 2 draws squeeze-and-excite last; its parameter counts and its code put it in between.
    """

    def __init__(self, width: int, out: int, block: Block, stride: Stride, architecture: Architecture) -> None:
        activation = architecture.activation
        squeeze = [SqueezeExcite(width, architecture.gate, architecture.reduction)] if block.squeeze else []
        if block.branches:
            depthwise = ParallelDepthwise(width, block.kernel, stride, activation)
        else:
            depthwise = ConvNormAct(width, width, block.kernel, stride, groups=width, activation=activation)
        widths = (width, out // 2, out) if block.split else (width, out)
        pointwise = [ConvNormAct(one, other, activation=activation) for one, other in pairwise(widths)]
        super().__init__(depthwise, *squeeze, *pointwise)
        # The published code adds the input only where both shapes agree, which spares the blocks with a stride.
        self.shortcut = block.shortcut and stride == 1 and width == out

    def forward(self, input: Tensor) -> Tensor:
        output = super().forward(input)
        return input + output if self.shortcut else output


def draw_weight(weight: Tensor) -> None:
    """Draws a kernel for ReLU-like activations (Kaiming, fan out). None for a network without values, of which torch would import
    its compiler to draw them: that takes seconds."""
    if not weight.is_meta:
        nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")


def _activation(name: Activation) -> nn.Module:
    return nn.ReLU() if name == "relu" else nn.Hardswish()
