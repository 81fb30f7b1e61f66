"""The two chains that detection and segmentation are made of; `fold` folds both."""

from itertools import accumulate
from operator import mul

from torch import nn

from ernest.lcnet.architecture import Architecture
from ernest.lcnet.network import PPLCNet


def conv(
    width: int,
    out: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.Hardswish,
) -> nn.Sequential:
    """Convolution without bias, batch normalisation, activation; an odd kernel keeps the size, divided by the stride."""
    convolution = nn.Conv2d(
        width, out, kernel, stride, padding=dilation * (kernel // 2), dilation=dilation, groups=groups, bias=False
    )
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(out), *([activation()] if activation else []))


def separable(width: int, out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Depthwise convolution and pointwise convolution, each with h-swish: a block of PP-LCNet."""
    return nn.Sequential(conv(width, width, kernel, stride=stride, groups=width), conv(width, out))


def trunk(architecture: Architecture) -> PPLCNet:
    """A PP-LCNet for its `features`, without the classifier. Raises ValueError unless they have the strides 2 to 32."""
    strides = [stride for stride in architecture.strides if isinstance(stride, int)]
    if list(accumulate(strides, mul))[1:] != [2, 4, 8, 16, 32] or len(strides) != len(architecture.strides):
        raise ValueError(f"backbone.strides: expected feature maps at strides 2, 4, 8, 16, 32, got {architecture.strides}")
    network = PPLCNet(architecture)
    del network.head
    return network
