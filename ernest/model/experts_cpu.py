"""The experts' feed-forward as a few batched products, with its gradient by hand: the training path on a CPU.

A product per expert is too small to be fast, and one batch of all experts pads each to the largest load. Between the two, experts
are sorted by load and cut into groups of similar load; every group is one batched product over blocks of equally many rows.
No token is dropped. Rows that fill a block up read token 0 with gate 0, so they reach no result and no gradient.
Without any token there is no row, and gradients of matrices are zero.

Shapes: T tokens, k choices of each, M rows of all blocks, N experts, D width, H width of an expert.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.sequence.bucketing import round_up

GROUPS = 8
GRAIN = 16
"""Blocks have a multiple of this many rows: the height of a tile in AMX, and few different shapes to prepare kernels for."""


@dataclass(frozen=True)
class Blocks:
    """The layout of choices in blocks: `row_Tk` the row of each choice, `token_M` the token and `choice_M` the choice (or -1) of
    each row.

    `order` lists the experts by rising load, `groups` the (number of experts, rows of each) of their groups.
    """

    row_Tk: Tensor
    token_M: Tensor
    choice_M: Tensor
    order: Sequence[int]
    groups: Sequence[tuple[int, int]]


def lay_out(expert_Tk: Tensor, experts: int) -> Blocks:
    """Blocks for the chosen experts of every token."""
    choice = expert_Tk.reshape(-1)
    load = torch.bincount(choice, minlength=experts)
    loads = load.tolist()
    order = sorted(range(experts), key=loads.__getitem__)
    size = -(-experts // GROUPS)
    groups, first_row, rows = [], [0] * experts, 0
    for start in range(0, experts, size):
        members = order[start : start + size]
        height = round_up(max(1, loads[members[-1]]), GRAIN, per_octave=8) if loads[order[-1]] else 0
        groups.append((len(members), height))
        for expert in members:
            first_row[expert] = rows
            rows += height
    by_expert = choice.argsort(stable=True)
    shift = torch.tensor(first_row) - (load.cumsum(0) - load)
    row = torch.arange(len(choice)) + shift.repeat_interleave(load)
    row_Tk = torch.empty_like(choice).scatter_(0, by_expert, row).view_as(expert_Tk)
    choice_M = torch.full((rows,), -1).scatter_(0, row, by_expert)
    token_M = choice_M.clamp_min(0) // expert_Tk.shape[1]
    return Blocks(row_Tk, token_M, choice_M, order, groups)


class GatherBlocks(torch.autograd.Function):
    """Inputs `[M, D]` and gates `[M]` of the rows of all blocks; a gate is 0 where a row fills a block up."""

    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, gate_Tk: Tensor, blocks: Blocks) -> tuple[Tensor, Tensor]:
        ctx.row_Tk = blocks.row_Tk
        gate_M = gate_Tk.reshape(-1)[blocks.choice_M] * (blocks.choice_M >= 0)
        return x_TD.index_select(0, blocks.token_M), gate_M

    @staticmethod
    def backward(ctx: Any, grad_MD: Tensor, grad_M: Tensor):  # type: ignore[override]
        return F.embedding_bag(ctx.row_Tk, grad_MD, mode="sum"), grad_M[ctx.row_Tk], None


class SumChoices(torch.autograd.Function):
    """The sum over the choices of each token, `[M, D] -> [T, D]`."""

    @staticmethod
    def forward(ctx: Any, y_MD: Tensor, blocks: Blocks) -> Tensor:
        ctx.token_M = blocks.token_M
        return F.embedding_bag(blocks.row_Tk, y_MD, mode="sum")

    @staticmethod
    def backward(ctx: Any, grad_TD: Tensor):  # type: ignore[override]
        return grad_TD.index_select(0, ctx.token_M), None


class BlockedExperts(torch.autograd.Function):
    """y_m = W_out,e gate_m (silu(x_m W_gate,e) * (x_m W_up,e)) for every row m and the expert e of its block.

    Gate and up lie side by side in `w_gate_up` `[N, D, 2 H]`.

    Products are taken in the type of `x_MD`; the matrices' gradients come out in their own type. The gradient of a row that fills
    a block up is that of its token, as `SumChoices` gives it: its gate of 0 keeps it out of the matrices.
    """

    @staticmethod
    def forward(ctx: Any, x_MD: Tensor, gate_M: Tensor, w_gate_up: Tensor, w_down: Tensor, blocks: Blocks) -> Tensor:
        w_gate_up, w_down = (_in_order(w, blocks.order, x_MD.dtype) for w in (w_gate_up, w_down))
        scale_M1 = gate_M[:, None].to(x_MD.dtype)
        in_M2H = _product(x_MD, w_gate_up, blocks)
        gate_MH, up_MH = in_M2H.chunk(2, dim=-1)
        silu_MH = F.silu(gate_MH)
        hidden_MH = silu_MH * up_MH
        scaled_MH = hidden_MH * scale_M1
        ctx.blocks = blocks
        ctx.save_for_backward(w_gate_up, w_down, scale_M1, x_MD, in_M2H, silu_MH, hidden_MH, scaled_MH)
        return _product(scaled_MH, w_down, blocks)

    @staticmethod
    def backward(ctx: Any, grad_MD: Tensor):  # type: ignore[override]
        blocks = ctx.blocks
        w_gate_up, w_down, scale_M1, x_MD, in_M2H, silu_MH, hidden_MH, scaled_MH = ctx.saved_tensors
        gate_MH, up_MH = in_M2H.chunk(2, dim=-1)
        grad_w_out = _weight_gradient(scaled_MH, grad_MD, blocks)
        grad_scaled = _product(grad_MD, w_down.transpose(1, 2), blocks)
        grad_scale = (grad_scaled * hidden_MH).sum(dim=-1, dtype=torch.promote_types(x_MD.dtype, torch.float32))
        grad_hidden = grad_scaled.mul_(scale_M1)
        grad_in = torch.empty_like(in_M2H)
        grad_gate, grad_up = grad_in.chunk(2, dim=-1)
        torch.mul(grad_hidden, silu_MH, out=grad_up)
        grad_gate.copy_(torch.ops.aten.silu_backward(grad_hidden.mul_(up_MH), gate_MH))
        grad_w_in = _weight_gradient(x_MD, grad_in, blocks)
        return _product(grad_in, w_gate_up.transpose(1, 2), blocks), grad_scale, grad_w_in, grad_w_out, None


def _in_order(w: Tensor, order: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Matrices of the experts by rising load; moved and converted at once, which saves a pass over the largest tensors."""
    sorted_w, parts = torch.empty_like(w, dtype=dtype), w.unbind(0)
    for position, expert in zip(sorted_w.unbind(0), order, strict=True):
        position.copy_(parts[expert])
    return sorted_w


def _product(a: Tensor, w: Tensor, blocks: Blocks) -> Tensor:
    """Every row times the matrix of its expert: `[M, I]` and `[N, I, J]` to `[M, J]`."""
    out, shape = a.new_empty(len(a), w.shape[2]), (a.shape[1], w.shape[2])
    row = expert = 0
    for members, height in blocks.groups:
        rows, experts = slice(row, row + members * height), slice(expert, expert + members)
        torch.bmm(a[rows].view(members, height, shape[0]), w[experts], out=out[rows].view(members, height, shape[1]))
        row, expert = rows.stop, experts.stop
    return out


def _weight_gradient(a: Tensor, b: Tensor, blocks: Blocks) -> Tensor:
    """The sum over the rows of each expert of outer products, `[M, I]` and `[M, J]` to float `[N, I, J]`, experts as numbered."""
    out = torch.empty(len(blocks.order), a.shape[1], b.shape[1], dtype=torch.promote_types(a.dtype, torch.float32))
    gradients, row, expert = out.unbind(0), 0, 0
    for members, height in blocks.groups:
        rows = slice(row, row + members * height)
        blocks_a, blocks_b = (side[rows].view(members, height, side.shape[1]) for side in (a, b))
        part = torch.bmm(blocks_a.transpose(1, 2), blocks_b)
        for gradient, number in zip(part.unbind(0), blocks.order[expert : expert + members], strict=True):
            gradients[number].copy_(gradient)
        row, expert = rows.stop, expert + members
    return out
