"""Sorts tokens by the experts that they chose, and sums the experts' outputs back for each token.

Shapes: T tokens, k choices of each, S rows of all experts, N experts, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ernest.model.experts_cpu import Blocks, GatherBlocks, SumChoices, lay_out


@dataclass(frozen=True)
class SortedChoices:
    """Choices sorted by expert without gaps: `row_Tk` the row of each choice, `ends_N` the last row of each expert and one."""

    row_Tk: Tensor
    ends_N: Tensor


class LocalDispatch:
    """All experts are in this process. A CPU that trains gets blocks of equal height, any other the choices sorted by expert.

    Gates travel with the rows: an expert scales by them before its last product.
    """

    def __init__(self, experts: int) -> None:
        self.experts = experts

    def __call__(self, x_TD: Tensor, gate_Tk: Tensor, expert_Tk: Tensor) -> tuple[Tensor, Tensor, Blocks | SortedChoices]:
        """Inputs `[S, D]` and gates `[S]` of the rows, expert by expert, and the layout to go back by."""
        if x_TD.is_cpu and torch.is_grad_enabled():
            blocks = lay_out(expert_Tk, self.experts)
            return *GatherBlocks.apply(x_TD, gate_Tk, blocks), blocks
        return self.sort(x_TD, gate_Tk, expert_Tk)

    def sort(self, x_TD: Tensor, gate_Tk: Tensor, expert_Tk: Tensor) -> tuple[Tensor, Tensor, SortedChoices]:
        """The same with choices sorted by expert, wherever the tokens are."""
        expert = expert_Tk.reshape(-1)
        order = expert.argsort(stable=True)
        counts_N = torch.zeros(self.experts, dtype=torch.long, device=expert.device).index_add_(
            0, expert, torch.ones_like(expert)
        )
        layout = SortedChoices(order.argsort().view_as(expert_Tk), counts_N.cumsum(0).to(torch.int32))
        return x_TD[order // expert_Tk.shape[1]], gate_Tk.reshape(-1)[order], layout

    def combine(self, y_SD: Tensor, layout: Blocks | SortedChoices) -> Tensor:
        """The sum over the choices of each token, `[T, D]`."""
        if isinstance(layout, Blocks):
            return SumChoices.apply(y_SD, layout)
        return y_SD[layout.row_Tk].sum(dim=1)
