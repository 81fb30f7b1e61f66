"""The experts' feed-forward by compiled kernels, with its gradient: the training path of a CPU that has them.

Choices are sorted by expert once; an expert takes its rows from the tokens, and adds its results to theirs, in the same pass as
its products, so that no row is copied and none is padding. Products are of float32, and under autocast of bfloat16 where the
processor has tiles (AMX) or fast vectors for them; sums are float32. Choices of gate 0 are left out: they reach no result, and
the score that such a gate comes from is 0 too, or not asked for, so that no gradient goes through it. Threads take an expert
each.

Shapes: T tokens, k choices of each, N experts, D width, H width of an expert.
"""

from typing import Any

import torch
from torch import Tensor

from ernest.config.sizes import BLOCK
from ernest.device import HOST, compute_dtype
from ernest.model import native

TILE = 32
"""Rows that a kernel may write behind the last."""


def usable(x_TD: Tensor, w_gate_up: Tensor, w_down: Tensor) -> bool:
    """Whether the kernels take these sizes and types."""
    _, hidden, width = w_down.shape
    wide = all(x.dtype == torch.float32 for x in (x_TD, w_gate_up, w_down))
    return wide and not width % BLOCK and not hidden % BLOCK and native.usable(x_TD, w_gate_up, w_down)


class ExpertsAtOnce(torch.autograd.Function):
    """y_t = sum over choices of gate W_out,e (silu(x_t W_gate,e) * (x_t W_up,e)), with gate and up side by side in `w_gate_up`
    `[N, D, 2 H]` (source/experts.h)."""

    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, gate_Tk: Tensor, expert_Tk: Tensor, w_gate_up: Tensor, w_down: Tensor) -> Tensor:
        inputs = x_TD.contiguous(), gate_Tk.contiguous(), expert_Tk.contiguous()
        (experts, hidden, width), (tokens, choices) = w_down.shape, expert_Tk.shape
        ctx.sizes = int(compute_dtype(x_TD) == torch.bfloat16), tokens, choices, experts, width, hidden
        order, first = (torch.empty(size, dtype=torch.int32, device=HOST) for size in (tokens * choices, experts + 1))
        inner, y_TD = x_TD.new_empty(tokens * choices + TILE, 2 * hidden), torch.zeros_like(inputs[0])
        native.call("experts", torch.get_num_threads(), *ctx.sizes, *inputs, w_gate_up, w_down, order, first, inner, y_TD)
        ctx.save_for_backward(*inputs[:2], w_gate_up, w_down, order, first, inner)
        return y_TD

    @staticmethod
    def backward(ctx: Any, grad_TD: Tensor):  # type: ignore[override]
        saved = ctx.saved_tensors
        x_grad, gate_grad = (torch.zeros_like(value) for value in saved[:2])
        grads = [torch.empty_like(weight) for weight in saved[2:4]]
        native.call("experts_back", torch.get_num_threads(), *ctx.sizes, *saved, grad_TD.contiguous(), x_grad, gate_grad, *grads)
        return x_grad, gate_grad, None, *grads
