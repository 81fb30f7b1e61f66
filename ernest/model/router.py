"""Chooses the experts of every token: softmax scores, balanced by a bias that only chooses (ERNIE 5.0 §2.1).

Shapes: T tokens, D width, N experts, k experts per token.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ernest.device import HOST, at_least_float32, autocast
from ernest.model import native

ROUNDING = 1e-5
"""Share of an expected load by which rounding may move it, in float32 and with many tokens."""


class Router(nn.Module):
    """Gates and choice of experts from the hidden state alone.

    score = softmax(x W_r);  expert = top-k(score + bias);  gate = score[expert] / sum

    Where it `takes_turns`, experts are chosen in turn instead, whatever their scores: for measuring speed apart from balance.
    """

    selection_bias: Tensor

    def __init__(self, width: int, experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.takes_turns = False
        self.weight = nn.Parameter(torch.empty(experts, width))
        self.register_buffer("selection_bias", torch.zeros(experts))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        self.selection_bias.zero_()

    def forward(
        self,
        x_TD: Tensor,
        allowed_TN: Tensor | None = None,
        top_k_T: Tensor | None = None,
        k: int | None = None,
        replay_Tk: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Gates and chosen experts `[T, k]`.

        `allowed_TN` restricts the choice, and `top_k_T`, at most `k`, the number of experts, token by token: a token with fewer
        has zero gates at the end of its row. `replay_Tk` are experts chosen before, taken instead of choosing anew; a token whose
        first one is -1 chooses.
        """
        with autocast(x_TD.device, enabled=False):
            logits_TN = F.linear(at_least_float32(x_TD), at_least_float32(self.weight))
            if allowed_TN is not None:
                logits_TN = logits_TN.masked_fill(~allowed_TN, -torch.inf)
            score_TN = logits_TN.softmax(dim=-1)
        k = k or self.top_k
        expert_Tk = self._choose(score_TN.detach(), allowed_TN, k) if replay_Tk is None or _lacks(replay_Tk) else replay_Tk
        if replay_Tk is not None and expert_Tk is not replay_Tk:
            expert_Tk = torch.where(replay_Tk[:, :1] < 0, expert_Tk, replay_Tk.clamp_min(0))
        gate_Tk = score_TN.gather(1, expert_Tk)
        if top_k_T is not None:
            gate_Tk = gate_Tk * (torch.arange(k, device=x_TD.device) < top_k_T[:, None])
        return gate_Tk / gate_Tk.sum(dim=-1, keepdim=True).clamp_min(1e-12), expert_Tk

    def _choose(self, score_TN: Tensor, allowed_TN: Tensor | None, k: int) -> Tensor:
        if self.takes_turns:
            return _in_turn(score_TN, allowed_TN, k)
        select_TN = score_TN + self.selection_bias
        if allowed_TN is not None:
            select_TN = select_TN.masked_fill(~allowed_TN, -torch.inf)
        return largest(select_TN, k)

    @torch.no_grad()
    def balance(self, load: Tensor, expected_load: Tensor, speed: float) -> None:
        """Moves the bias after an optimiser step: bias += speed * sign(expected_load - load) (Wang et al. 2024).

        Expected loads are sums of fractions, which other processes round otherwise: a load that meets them stays a tie.
        """
        gap = expected_load - load
        self.selection_bias += speed * torch.sign(gap) * (gap.abs() > ROUNDING * expected_load)


def route_in_turn(network: nn.Module) -> None:
    """Every router of a network lets its experts take turns."""
    for module in network.modules():
        if isinstance(module, Router):
            module.takes_turns = True


def _in_turn(score_TN: Tensor, allowed_TN: Tensor | None, k: int) -> Tensor:
    """Choice j of token t, `[T, k]`: of the n experts that it may choose the one numbered t + j floor(n / k), modulo n."""
    tokens, experts = score_TN.shape
    t_T1 = torch.arange(tokens, device=score_TN.device)[:, None]
    j_k = torch.arange(k, device=score_TN.device)
    if allowed_TN is None:
        return (t_T1 + j_k * (experts // k)) % experts
    n_T1 = allowed_TN.sum(dim=1, keepdim=True)
    its_own_TN = allowed_TN.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    return its_own_TN.gather(1, (t_T1 + j_k * (n_T1 // k)) % n_T1)


def _lacks(replay_Tk: Tensor) -> bool:
    """Whether an entry is missing; those of tokens that run fewer experts than others are, too."""
    return bool((replay_Tk < 0).any())


@torch.no_grad()
def count_load(gate_Tk: Tensor, expert_Tk: Tensor, valid_T: Tensor, experts: int, allowed_TN: Tensor | None = None) -> Tensor:
    """`[2, N]`: how often the tokens of `valid_T` chose each expert, and how often they would have, had every token spread its
    choices evenly over the experts that it could choose from."""
    used_Tk = (gate_Tk > 0) & valid_T[:, None]
    load_N = gate_Tk.new_zeros(experts).index_add_(0, expert_Tk.reshape(-1), used_Tk.reshape(-1).to(gate_Tk.dtype))
    if allowed_TN is None:
        return torch.stack([load_N, (used_Tk.sum() / experts).expand(experts)])
    share_T1 = used_Tk.sum(dim=-1, keepdim=True) / allowed_TN.sum(dim=-1, keepdim=True)
    return torch.stack([load_N, (share_T1 * allowed_TN).sum(dim=0)])


def largest(score_TN: Tensor, k: int) -> Tensor:
    """Indices `[T, k]` of the k largest scores of every row, the largest first: for a small k, k maxima are faster than a
    sort."""
    if native.usable(score_TN) and score_TN.dtype == torch.float32:
        index_Tk = torch.empty(len(score_TN), k, dtype=torch.long, device=HOST)
        native.call("largest", *score_TN.shape, k, score_TN.contiguous(), index_Tk)
        return index_Tk
    columns = []
    for _ in range(k):
        columns.append(score_TN.max(dim=-1, keepdim=True).indices)
        score_TN = score_TN.scatter(1, columns[-1], -torch.inf)
    return torch.cat(columns, dim=1)
