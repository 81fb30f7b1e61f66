"""Deals the experts out over processes: a token goes where the experts are that it chose, and their outputs come back.

No token is dropped: processes send and receive as many rows as their tokens ask for, none too. A process holds N / E experts of
each layer, and computes them for the tokens of all E processes of its group; so their gradients are sums over the tokens of all
processes that hold the same experts, and no divisor is left to forget: losses are divided by the counts of all processes.

Shapes: T tokens, D width, k choices of each, S rows sent, R rows received, C choices, N experts, E processes of a group.
"""

from functools import partial
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from ernest.device import compute_dtype
from ernest.model.backbone import Block
from ernest.model.dispatch import LocalDispatch
from ernest.model.experts import Choices
from ernest.model.network import Ernest
from ernest.training.cuts import Cut, hold, run
from ernest.training.mesh import Holders, Mesh

WEIGHTS = ("w_gate_up", "w_down")


class AllToAllDispatch:
    """Sends every token once to each process that holds experts of its choice, and sums what comes back.

    y_t = sum over processes of (sum over choices there of gate E_expert(x_t));  gates travel with the tokens
    """

    def __init__(self, holders: Holders, experts: int, top_k: int) -> None:
        self.holders, self.experts, self.top_k = holders, experts, top_k

    def __call__(self, run_own: Choices, x_TD: Tensor, gate_Tk: Tensor, expert_Tk: Tensor) -> Tensor:
        """`run_own` computes this process's experts, numbered from 0. Choices of gate 0 reach no result and stay at home."""
        parts, own = self.holders.parts, self.experts // self.holders.parts
        process_Tk = (expert_Tk // own).masked_fill(gate_Tk == 0, parts)
        needed_ET = (process_Tk == torch.arange(parts, device=x_TD.device)[:, None, None]).any(dim=-1)
        process_S, token_S = needed_ET.nonzero(as_tuple=True)
        there_Sk = process_Tk.index_select(0, token_S) == process_S[:, None]  # the choices for which a token goes there
        gate_Sk = gate_Tk.index_select(0, token_S) * there_Sk
        expert_Sk = (expert_Tk.index_select(0, token_S) - own * process_S[:, None]) * there_Sk
        sent, received = self._count(needed_ET.sum(dim=1))
        group, missing = self.holders.group, (0, self.top_k - expert_Tk.shape[1])
        # As many choices on all processes, some of which may have sub-models alone that choose fewer.
        gate_Rk = _Send.apply(F.pad(gate_Sk, missing), sent, received, group)
        expert_Rk = _send(F.pad(expert_Sk, missing), sent, received, group)
        narrow = compute_dtype(x_TD)
        x_RD = _Send.apply(_Copy.apply(x_TD, token_S, narrow), sent, received, group)
        run = run_own if x_TD.is_cpu else partial(run_singly, run_own)
        y_SD = _Send.apply(run(x_RD.to(x_TD.dtype), gate_Rk, expert_Rk).to(narrow), received, sent, group)
        return _Sum.apply(y_SD, token_S, len(x_TD), gate_Tk.dtype)

    def _count(self, sent_E: Tensor) -> tuple[list[int], list[int]]:
        """Rows that go to every process, and that come from it."""
        received_E = torch.empty_like(sent_E)
        dist.all_to_all_single(received_E, sent_E, group=self.holders.group)
        return sent_E.tolist(), received_E.tolist()


def run_singly(run_own: Choices, x_RD: Tensor, gate_Rk: Tensor, expert_Rk: Tensor) -> Tensor:
    """`run_own` on a row of its own for each choice whose gate is not 0: for where the others would be computed all the same."""
    row_C, choice_C = gate_Rk.nonzero(as_tuple=True)
    chosen = gate_Rk[row_C, choice_C, None], expert_Rk[row_C, choice_C, None]
    y_CD = run_own(x_RD.index_select(0, row_C), *chosen)
    return y_CD.new_zeros(x_RD.shape).index_add(0, row_C, y_CD)


class _Copy(torch.autograd.Function):
    """Tokens `[T, D]` to rows `[S, D]`, narrow; gradients of a token's rows add up wide."""

    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, token_S: Tensor, narrow: torch.dtype) -> Tensor:
        ctx.way = token_S, len(x_TD), x_TD.dtype
        return x_TD.to(narrow).index_select(0, token_S)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor):  # type: ignore[override]
        return _add_rows(gradient, *ctx.way), None, None


class _Sum(torch.autograd.Function):
    """Rows `[S, D]` to the sums of each token `[T, D]`, wide."""

    @staticmethod
    def forward(ctx: Any, y_SD: Tensor, token_S: Tensor, tokens: int, wide: torch.dtype) -> Tensor:
        ctx.way = token_S, y_SD.dtype
        return _add_rows(y_SD, token_S, tokens, wide)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor):  # type: ignore[override]
        token_S, narrow = ctx.way
        return gradient.to(narrow).index_select(0, token_S), None, None, None


def _add_rows(rows_SD: Tensor, token_S: Tensor, tokens: int, wide: torch.dtype) -> Tensor:
    return rows_SD.new_zeros(tokens, rows_SD.shape[1], dtype=wide).index_add_(0, token_S, rows_SD.to(wide))


class _Send(torch.autograd.Function):
    """Rows `[S, D]`, so many for each process, to `[R, D]`, so many from each; gradients go the other way."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sent: list[int], received: list[int], group: dist.ProcessGroup) -> Tensor:
        ctx.way = received, sent, group
        return _send(rows, sent, received, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor):  # type: ignore[override]
        return _send(gradient, *ctx.way), None, None, None


def _send(rows: Tensor, sent: list[int], received: list[int], group: dist.ProcessGroup) -> Tensor:
    arrived = rows.new_empty(sum(received), rows.shape[1])
    dist.all_to_all_single(arrived, rows.contiguous(), received, sent, group=group)
    return arrived


def deal_out_experts(model: Ernest, mesh: Mesh) -> None:
    """Keeps of each layer's experts the part of this process. The module of the token after next has one expert, which stays."""
    holders, experts = mesh.holders("expert"), model.config.experts
    own = Cut(0, experts, (run(holders.number, holders.parts, experts),))
    for block in model.backbone.blocks:
        assert isinstance(block, Block)
        pool = block.moe
        pool.exchange = AllToAllDispatch(holders, experts, model.config.top_k)
        pool.dispatch = LocalDispatch(experts // holders.parts)
        for name in WEIGHTS:
            hold(pool, name, mesh, "expert", own)
