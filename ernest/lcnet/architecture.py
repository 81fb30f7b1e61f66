"""Architectures of PP-LCNet as frozen data: the eleven published ones, the paper's ablations, one for small images.

First version: arXiv 2109.15099, Table 1. Second version: PaddleClas, PP-LCNetV2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, get_args

Stride = int | tuple[int, int]
"""The same in both directions, or (vertical, horizontal)."""

Activation = Literal["h-swish", "relu"]
Gate = Literal["hard-sigmoid", "sigmoid"]


@dataclass(frozen=True)
class Block:
    """One depthwise-separable block: side of its depthwise kernel, output channels at scale 1, squeeze-and-excite or not.

    Of the second version: `branches` adds depthwise kernels of side k - 2, ..., 1 in parallel, `split` makes the
    pointwise convolution in two steps through half the channels, `shortcut` adds the input where shapes allow it.
    """

    kernel: int
    channels: int
    squeeze: bool = False
    branches: bool = False
    split: bool = False
    shortcut: bool = False

    def __post_init__(self) -> None:
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel: expected an odd side, got {self.kernel}")
        if self.channels < 1:
            raise ValueError(f"channels: expected a positive number, got {self.channels}")


Stages = tuple[tuple[Block, ...], ...]

PP_LCNET: Stages = (
    (Block(3, 32),),
    (Block(3, 64), Block(3, 64)),
    (Block(3, 128), Block(3, 128)),
    (Block(3, 256), *[Block(5, 256)] * 5),
    (Block(5, 512, squeeze=True), Block(5, 512, squeeze=True)),
)
"""The five stages of arXiv 2109.15099, Table 1; only the first block of a stage has a stride."""

SCALES = (0.25, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5)
"""The published widths of the first version."""

STRIDES_32: tuple[Stride, ...] = (1, 1, 1, 2, 2, 2)
"""For images of about 32x32: the last map keeps 4x4 pixels, where the published strides would leave one."""

STRIDES_64: tuple[Stride, ...] = (2, 1, 1, 2, 2, 2)
"""For images of about 64x64: a last map of 4x4, at the price of the smaller images plus a stem."""

STRIDES_TEXT_LINE: tuple[Stride, ...] = (2, 1, (2, 1), (2, 1), (2, 1), (2, 1))
"""For lines of text, which are wide: PaddleClas' classifiers of 80x160, which halve the width once only."""


@dataclass(frozen=True)
class Architecture:
    """All that defines a PP-LCNet. The defaults are PP-LCNet x1.0 for ImageNet.

    `strides` are those of the stem and of the five stages. `head_width` is the width of the layer before the classifier,
    which `scale` leaves alone; 0 leaves the layer out. timm gives that layer a bias (`head_bias`), the paper does not.
    Widths are multiples of `divisor`; squeeze-and-excite goes through a `reduction`th of the channels.
    Raises ValueError, which names the field, if a value makes no network.
    """

    classes: int = 1000
    scale: float = 1.0
    strides: tuple[Stride, ...] = (2, 1, 2, 2, 2, 2)
    stages: Stages = PP_LCNET
    stem: int = 16
    head_width: int = 1280
    dropout: float = 0.2
    in_channels: int = 3
    activation: Activation = "h-swish"
    gate: Gate = "hard-sigmoid"
    head_bias: bool = False
    reduction: int = 4
    divisor: int = 8

    def __post_init__(self) -> None:
        for field in ("classes", "scale", "stem", "in_channels", "reduction", "divisor"):
            if getattr(self, field) <= 0:
                raise ValueError(f"{field}: expected a positive number, got {getattr(self, field)}")
        sides = [side for stride in self.strides for side in (stride if isinstance(stride, tuple) else (stride,))]
        if len(self.strides) != 1 + len(self.stages) or min(sides) < 1:
            wanted = f"one for the stem and one for each of the {len(self.stages)} stages"
            raise ValueError(f"strides: expected {wanted}, each at least 1, got {self.strides}")
        if self.head_width < 0:
            raise ValueError(f"head_width: expected a width, or 0 for none, got {self.head_width}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: expected a rate from 0 to below 1, got {self.dropout}")
        for field, known in (("activation", get_args(Activation)), ("gate", get_args(Gate))):
            if getattr(self, field) not in known:
                raise ValueError(f"{field}: expected one of {', '.join(known)}, got {getattr(self, field)}")

    def width(self, channels: int) -> int:
        """The channels that a layer of `channels` at scale 1 has here."""
        return scale_channels(channels, self.scale, self.divisor)


def pplcnet_v2(scale: float, depth: int) -> Architecture:
    """PP-LCNetV2 of one width, with `depth` blocks in its fourth stage; the stem's own block is our first stage."""
    stages = (
        (Block(3, 64),),
        (Block(3, 128),) * 2,
        (Block(3, 256),) * 2,
        (Block(5, 512, squeeze=True, branches=True, split=True),) * depth,
        (Block(5, 1024, branches=True, shortcut=True),) * 2,
    )
    return Architecture(scale=scale, stages=stages, stem=32, activation="relu", gate="sigmoid")


PUBLISHED: Mapping[str, Architecture] = MappingProxyType(
    {f"PPLCNet_x{scale}".replace(".", "_"): Architecture(scale=scale) for scale in SCALES}
    | {
        "PPLCNetV2_small": pplcnet_v2(0.75, 4),
        "PPLCNetV2_base": pplcnet_v2(1.0, 6),
        "PPLCNetV2_large": pplcnet_v2(1.25, 8),
    }
)
"""The eleven published networks by the names of their files."""


def small_images(classes: int, scale: float = 1.0) -> Architecture:
    """An architecture for images of about 32x32: feature maps of sides 16, 8 and 4, 3x3 kernels, nine blocks."""
    stages = (
        (Block(3, 64), Block(3, 64)),
        (Block(3, 128), Block(3, 128)),
        (Block(3, 128),),
        (Block(3, 256), Block(3, 256, squeeze=True)),
        (Block(3, 256, squeeze=True),),
    )
    return Architecture(classes, scale, strides=(2, 1, 2, 1, 2, 1), stages=stages, stem=32, head_width=0, dropout=0.1)


def rewire(stages: Stages, kernels: Sequence[int] | None = None, squeeze: Sequence[bool] | None = None) -> Stages:
    """`stages` with other kernels or other places of squeeze-and-excite, one value a block: the paper's Tables 6 to 9.

    Raises ValueError if there are more or fewer values than blocks.
    """
    blocks = [block for stage in stages for block in stage]
    for field, values in (("kernels", kernels), ("squeeze", squeeze)):
        if values is not None and len(values) != len(blocks):
            raise ValueError(f"{field}: expected one value for each of the {len(blocks)} blocks, got {len(values)}")
    if kernels is not None:
        blocks = [replace(block, kernel=kernel) for block, kernel in zip(blocks, kernels, strict=True)]
    if squeeze is not None:
        blocks = [replace(block, squeeze=bool(on)) for block, on in zip(blocks, squeeze, strict=True)]
    remaining = iter(blocks)
    return tuple(tuple(next(remaining) for _ in stage) for stage in stages)


def scale_channels(channels: int, scale: float, divisor: int = 8) -> int:
    """`channels` times `scale`, as the nearest multiple of `divisor`: at least one, and never more than a tenth too small."""
    exact = channels * scale
    rounded = max(divisor, int(exact + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * exact else rounded
