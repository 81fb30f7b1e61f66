"""Products of the trunk with both operands rounded to 8-bit floats (E4M3) in blocks, imitated on any device.

A block is 32 numbers along the dimension that a product sums over; its scale is the least power of two with which its largest
number fits, as in MXFP8 of the OCP. Sums stay in the type of the numbers, and so do embeddings, heads, the router,
norms and attention's scores. Gradients pass the rounding as if it weren't there, and are not rounded themselves (ERNIE 5.0 §5.1).

Shapes: T tokens, k choices of each, S rows of all experts, N experts, D width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ernest.model.backbone import Backbone, Block

BLOCK = 32
"""Numbers that share a scale."""
LARGEST, LEAST = 448.0, -120
"""The largest number of E4M3, and the least exponent of a scale: what lies far below it float32 does not hold either."""


def round_blocks(x: Tensor, dim: int = -1) -> Tensor:
    """Every number as the nearest that E4M3 holds at the scale of its block along `dim`; a last block may be shorter."""
    wide = x.float().movedim(dim, -1)
    blocks = F.pad(wide, (0, -wide.shape[-1] % BLOCK)).unflatten(-1, (-1, BLOCK))
    largest, exponent = torch.frexp(blocks.abs().amax(dim=-1, keepdim=True))
    exponent = (exponent - 9 + (largest > LARGEST / 512).int()).clamp_min(LEAST)
    scale = torch.ldexp(torch.ones_like(largest), exponent)
    rounded = (blocks / scale).to(torch.float8_e4m3fn).float() * scale
    return rounded.flatten(-2)[..., : wide.shape[-1]].movedim(-1, dim).to(x.dtype)


class _Round(torch.autograd.Function):
    """`round_blocks`, whose gradient is taken as 1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        return round_blocks(x, dim)

    @staticmethod
    def backward(ctx: Any, grad: Tensor):  # type: ignore[override]
        return grad, None


def rounded(x: Tensor, dim: int = -1) -> Tensor:
    """An operand of a product that sums over `dim`."""
    return _Round.apply(x, dim)


class RoundedLinear(nn.Linear):
    """A linear layer without bias over rounded inputs and weights."""

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(rounded(input), rounded(self.weight))


def round_products(backbone: Backbone) -> None:
    """Has all blocks of a network multiply rounded operands by rounded weights; its parameters and their names stay."""
    for block in backbone.blocks:
        assert isinstance(block, Block)
        block.attention.qkv, block.attention.out = map(_rounded_layer, (block.attention.qkv, block.attention.out))
        block.moe.operand = rounded


def _rounded_layer(layer: nn.Linear) -> RoundedLinear:
    with torch.device("meta"):
        made = RoundedLinear(layer.in_features, layer.out_features, bias=False)
    made.weight = layer.weight
    return made
