"""Convolutions of 3 x 3 by compiled kernels, with their gradients: for training on small images where a CPU has tiles (AMX).

PyTorch's own spend as long around their products as in them. Here what a position sees is laid out a few images at a time, the
activation before and the sum behind belong to the same pass, and what lies between layers stays float32 with channels innermost.
"""

from typing import Any

import torch
from torch import Tensor

from ernest.device import compute_dtype
from ernest.model import native

TILE = 32
"""Outputs are a multiple of it; inputs of half of it."""


def convolve(x: Tensor, weight: Tensor, bias: Tensor, silu: bool, residual: Tensor | None) -> Tensor | None:
    """`conv2d(x, weight, bias, padding=1)`, of `silu(x)` with `silu`, plus `residual`: images `[N, I, H, W]` to `[N, O, H, W]`,
    float32, channels innermost in memory. None where the kernels do not take them, and where no gradients are taken."""
    outputs, inputs, *sides = weight.shape
    if sides != [3, 3] or outputs % TILE or inputs % native.BLOCK or not native.usable(x, weight, bias):
        return None
    if compute_dtype(x) != torch.bfloat16 or not native.has_tiles():
        return None
    return _Convolve.apply(x, weight, bias, residual, silu)


class _Convolve(torch.autograd.Function):
    """dx = W^T dy f'(x), dW = sum of dy f(x)^T, db = sum of dy, and dy for the residual (source/convolution.h)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, silu: bool) -> Tensor:  # type: ignore[override]
        rows, matrix = _innermost(x), _innermost(weight)
        ctx.sizes = *rows.shape, len(weight), int(silu)
        acted = rows.new_empty(*rows.shape[:3], -(-rows.shape[3] // TILE) * TILE, dtype=torch.bfloat16)
        y = rows.new_empty(*rows.shape[:3], len(weight))
        around = None if residual is None else _innermost(residual)
        native.call("convolve", torch.get_num_threads(), *ctx.sizes, rows, matrix, bias, around, acted, y)
        ctx.save_for_backward(rows, acted, matrix)
        ctx.types = x.dtype, None if residual is None else residual.dtype
        return y.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor):  # type: ignore[override]
        rows, acted, matrix = ctx.saved_tensors
        x_grad = torch.empty_like(rows) if ctx.needs_input_grad[0] else None
        weight_grad, bias_grad = torch.empty_like(matrix), matrix.new_empty(len(matrix))
        grads = x_grad, weight_grad, bias_grad
        native.call("convolve_back", torch.get_num_threads(), *ctx.sizes, rows, acted, matrix, _innermost(grad), *grads)
        of_x, of_residual = ctx.types
        outer = None if x_grad is None else x_grad.permute(0, 3, 1, 2).to(of_x)
        return outer, weight_grad.permute(0, 3, 1, 2), bias_grad, None if of_residual is None else grad.to(of_residual), None


def _innermost(images: Tensor) -> Tensor:
    """`[N, C, H, W]` as float32 `[N, H, W, C]` without gaps; a view where it lies so."""
    return images.permute(0, 2, 3, 1).float().contiguous()
