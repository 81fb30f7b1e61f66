"""Two losses on the same features, of which the second pulls no harder than the first."""

from typing import Any

import torch
from torch import Tensor


def bounded(leading: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """The tensors as they are, which hang on the same features. On the way back the gradient g of `other` is scaled to

        g · min(1, |G| / |g|)

    where G is that of `leading`, and |·| the Euclidean norm over the whole batch: the adaptive weight by which VQGAN holds its
    second loss to the first (Esser et al. 2021, eq. 7), at what both share, and never above 1. What lies behind `other` learns by
    its own gradients as they are.

    Of a map `leading` `[N, C, height, width]` beside means over the grid `[N, D]`, G is the sum over the grid: as g is, the
    gradient of a shift that all cells have in common, which is all that a loss on means can ask for.
    """
    return _Bounded.apply(leading, other)


class _Bounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, leading: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        return leading.view_as(leading), other.view_as(other)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        leading, other = gradients
        shift = leading.float().sum(tuple(range(other.dim(), leading.dim()))) if leading.dim() > other.dim() else leading.float()
        scale = (shift.norm() / other.float().norm().clamp_min(torch.finfo(torch.float32).tiny)).clamp_max(1)
        return leading, other * scale.to(other.dtype)
