"""Cuts the matrices of attention and of experts over processes that take the same rows (tensor parallelism, 1909.08053).

What makes queries, keys, values, gates and ups is cut by columns, into whole heads and equal parts of each expert's hidden width;
what reads those is cut by rows, so that a process makes a part of the sum  y = y_1 + ... + y_P.  That sum, and the one of its
gradient, is all they exchange, twice each way in a block. All else is computed in each of them.

The objective is the sum of what all processes add to it, each of the P its share of the loss of their rows. So the gradient of
y_p is the sum of what each has for y, and parameters that all hold have the sum of their gradients, as with other rows.
"""

from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ernest.device import at_least_float32
from ernest.model.backbone import Block
from ernest.model.experts import Choices, Exchange
from ernest.model.network import Ernest
from ernest.training.cuts import Cut, held_parameters, hold, run
from ernest.training.mesh import Holders, Mesh


def cut_matrices(model: Ernest, mesh: Mesh) -> None:
    """Keeps of each block's heads and hidden columns the part of this process, of the module of the token after next too."""
    for block in model.modules():
        if isinstance(block, Block):
            _cut_attention(block, mesh)
            _cut_experts(block, mesh)


def same_rows(model: nn.Module) -> int:
    """How many processes take the same rows, this one among them."""
    return next((held.holders.parts for held in held_parameters(model).values() if held.axes == ("tensor",)), 1)


def _cut_attention(block: Block, mesh: Mesh) -> None:
    attention, holders = block.attention, mesh.holders("tensor")
    own = partial(run, holders.number, holders.parts)
    queries, keys = attention.heads * attention.head_dim, attention.kv_heads * attention.head_dim
    heads = own(queries), own(keys, queries), own(keys, queries + keys)
    hold(attention.qkv, "weight", mesh, "tensor", Cut(0, queries + 2 * keys, heads))
    hold(attention.out, "weight", mesh, "tensor", Cut(1, queries, heads[:1]))
    attention.heads, attention.kv_heads = attention.heads // holders.parts, attention.kv_heads // holders.parts
    attention.register_forward_hook(lambda _, inputs, part: _Sum.apply(part, holders.group))


def _cut_experts(block: Block, mesh: Mesh) -> None:
    pool, holders, width = block.moe, mesh.holders("tensor"), block.moe.w_down.shape[1]
    own = partial(run, holders.number, holders.parts, width)
    hold(pool, "w_gate_up", mesh, "tensor", Cut(2, 2 * width, (own(), own(width))))
    hold(pool, "w_down", mesh, "tensor", Cut(1, width, (own(),)))
    pool.exchange = _SumOfExperts(holders, pool.exchange)


class _SumOfExperts:
    """Of what the parts of experts give; `exchange` sends tokens to those of other processes."""

    def __init__(self, holders: Holders, exchange: Exchange | None) -> None:
        self.holders, self.exchange = holders, exchange

    def __call__(self, run_own: Choices, x_TD: Tensor, gate_Tk: Tensor, expert_Tk: Tensor) -> Tensor:
        choices = run_own if self.exchange is None else partial(self.exchange, run_own)
        return _Sum.apply(choices(x_TD, gate_Tk, expert_Tk), self.holders.group)


class _Sum(torch.autograd.Function):
    """The sum over processes, in each of them, taken wide; so is that of its gradient."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group, ctx.dtype = group, part.dtype
        return _add_up(part, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor):  # type: ignore[override]
        return _add_up(gradient, ctx.group).to(ctx.dtype), None


def _add_up(part: Tensor, group: dist.ProcessGroup) -> Tensor:
    total = at_least_float32(part).clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total, group=group)
    return total
