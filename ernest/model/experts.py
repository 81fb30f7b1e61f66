"""Ultra-sparse experts shared by all modalities: routed, dispatched, computed and summed; no token is dropped (ERNIE 5.0 §2.1).

Shapes: T tokens, D width, S rows of all experts, N experts, k experts per token, H width of an expert.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ernest.device import compute_dtype
from ernest.model import experts_native
from ernest.model.dispatch import LocalDispatch, SortedChoices
from ernest.model.experts_cpu import BlockedExperts, Blocks
from ernest.model.router import Router, count_load


@dataclass(frozen=True)
class RouterOutput:
    """What routers did: `expert_ids` `[..., k]` of every token and `load` `[..., 2, N]`, counted and expected (`count_load`), or
    None where no token was to be counted."""

    expert_ids: Tensor
    load: Tensor | None


Choices = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Inputs `[T, D]` through the experts that they chose: gates and experts `[T, k]` in, outputs `[T, D]` out."""
Operand = Callable[[Tensor, int], Tensor]
"""An operand of a product that sums over that dimension, rounded (`ernest.model.fp8`)."""
Exchange = Callable[[Choices, Tensor, Tensor, Tensor], Tensor]
"""The same for inputs of which some chose experts of other processes, by what each process does for its own experts."""


class Experts(nn.Module):
    """Fine-grained SwiGLU experts behind one router.

    y = sum_e gate_e W_out,e (silu(x W_gate,e) * (x W_up,e))

    Where other processes hold some of the experts, `exchange` sends inputs there (`ernest.training.experts`); the router chooses
    among all. With an `operand`, products are taken on what it makes of inputs and weights.
    """

    def __init__(self, width: int, experts: int, expert_width: int, top_k: int) -> None:
        super().__init__()
        self.router = Router(width, experts, top_k)
        self.dispatch = LocalDispatch(experts)
        self.exchange: Exchange | None = None
        self.operand: Operand | None = None
        self.w_gate_up = nn.Parameter(torch.empty(experts, width, 2 * expert_width))
        self.w_down = nn.Parameter(torch.empty(experts, expert_width, width))

    def forward(
        self,
        x_TD: Tensor,
        valid_T: Tensor | None = None,
        allowed_TN: Tensor | None = None,
        top_k_T: Tensor | None = None,
        k: int | None = None,
        replay_Tk: Tensor | None = None,
    ) -> tuple[Tensor, RouterOutput]:
        """`[T, D] -> [T, D]`, in autocast's type where it is on, or in float32. Counts the tokens of `valid_T`; the rest is the
        router's."""
        gate_Tk, expert_Tk = self.router(x_TD, allowed_TN, top_k_T, k, replay_Tk)
        if self.exchange is None:
            y_TD = self.run_own(x_TD, gate_Tk, expert_Tk)
        else:
            y_TD = self.exchange(self.run_own, x_TD, gate_Tk, expert_Tk)
        experts = len(self.router.selection_bias)
        load = None if valid_T is None else count_load(gate_Tk, expert_Tk, valid_T, experts, allowed_TN)
        return y_TD, RouterOutput(expert_Tk, load)

    def run_own(self, x_TD: Tensor, gate_Tk: Tensor, expert_Tk: Tensor) -> Tensor:
        """Inputs through those of this process's experts that they chose."""
        if self.operand is not None:
            x_SD, gate_S, layout = self.dispatch.sort(x_TD.to(compute_dtype(x_TD)), gate_Tk, expert_Tk)
            w_gate_up, w_down = (self.operand(w.to(x_SD.dtype), 1) for w in (self.w_gate_up, self.w_down))
            return self.dispatch.combine(grouped_experts(x_SD, gate_S, w_gate_up, w_down, layout.ends_N, self.operand), layout)
        if experts_native.usable(x_TD, self.w_gate_up, self.w_down):
            return experts_native.ExpertsAtOnce.apply(x_TD, gate_Tk, expert_Tk, self.w_gate_up, self.w_down)
        x_SD, gate_S, layout = self.dispatch(x_TD.to(compute_dtype(x_TD)), gate_Tk, expert_Tk)
        return self.dispatch.combine(self.compute(x_SD, gate_S, layout), layout)

    def compute(self, x_SD: Tensor, gate_S: Tensor, layout: Blocks | SortedChoices) -> Tensor:
        """Every row through its expert, times its gate."""
        if isinstance(layout, Blocks):
            return BlockedExperts.apply(x_SD, gate_S, self.w_gate_up, self.w_down, layout)
        return grouped_experts(x_SD, gate_S, self.w_gate_up.to(x_SD.dtype), self.w_down.to(x_SD.dtype), layout.ends_N)


def grouped_experts(
    x_SD: Tensor, gate_S: Tensor, w_gate_up: Tensor, w_down: Tensor, ends_N: Tensor, operand: Operand = lambda x, dim: x
) -> Tensor:
    """One grouped product per matrix over rows sorted by expert: fast on a GPU, and on a CPU with few tokens. `operand` is what
    inputs become; weights come as they are multiplied."""
    gate, up = F.grouped_mm(operand(x_SD, -1), w_gate_up, offs=ends_N).chunk(2, dim=-1)
    hidden = F.silu(gate) * up * gate_S[:, None].to(x_SD.dtype)
    return F.grouped_mm(operand(hidden, -1), w_down, offs=ends_N)
