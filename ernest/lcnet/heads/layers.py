"""Layers that the detection and the segmentation heads share: convolution blocks, and the backbone without its classifier."""

from itertools import accumulate
from operator import mul

from torch import Tensor, nn

from ernest.lcnet.architecture import Activation, Architecture
from ernest.lcnet.network import ConvNormAct, PPLCNet, draw_weight


def conv(
    width: int,
    out: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    activation: Activation | None = "h-swish",
) -> ConvNormAct:
    """A `ConvNormAct` with weights drawn for ReLU-like activations (Kaiming, fan out)."""
    chain = ConvNormAct(width, out, kernel, stride, dilation, groups, activation)
    draw_weight(chain.get_parameter("0.weight"))
    return chain


def separable(width: int, out: int, stride: int = 1) -> nn.Sequential:
    """Depthwise 5x5 convolution and pointwise convolution, each with h-swish: a block of PP-LCNet."""
    return nn.Sequential(conv(width, width, 5, stride=stride, groups=width), conv(width, out))


def trunk(architecture: Architecture) -> PPLCNet:
    """A PP-LCNet for its `features`, without the classifier. Raises ValueError unless they have the strides 2 to 32."""
    strides = [stride for stride in architecture.strides if isinstance(stride, int)]
    if list(accumulate(strides, mul))[1:] != [2, 4, 8, 16, 32] or len(strides) != len(architecture.strides):
        raise ValueError(f"backbone.strides: expected feature maps at strides 2, 4, 8, 16, 32, got {architecture.strides}")
    network = PPLCNet(architecture)
    del network.head
    return network


def as_type_of(network: nn.Module, images: Tensor) -> Tensor:
    """Images `[N, C, H, W]` of any floating-point type in that of the network. Raises ValueError for others: grey levels, say."""
    if not isinstance(images, Tensor) or not images.is_floating_point() or images.ndim != 4:
        got = f"{images.dtype} {list(images.shape)}" if hasattr(images, "dtype") else type(images).__name__
        raise ValueError(f"images: expected floating-point numbers [N, C, H, W] as `normalise_pictures` makes them, got {got}")
    return images.to(next(network.parameters()).dtype)
