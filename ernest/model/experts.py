"""Ultra-sparse experts shared by all modalities: dropless, balanced by a bias that only chooses (ERNIE 5.0 §2.1).

Shapes: T tokens, D width, N experts, k experts per token, H width of an expert.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ernest.model.experts_cpu import PaddedExperts, lay_out
from ernest.sequence.bucketing import compute_dtype


class Experts(nn.Module):
    """Fine-grained SwiGLU experts behind one router that sees the hidden state and nothing else.

        score = softmax(x W_r);  chosen = top-k(score + bias);  gate = score[chosen] / sum
        y = sum_e gate_e W_out,e (silu(x W_gate,e) * (x W_up,e))

    `load` counts how often each expert was chosen since the last `balance`, `expected_load` how often it would have been
    chosen had every token spread its k choices evenly over the experts that it could choose from.
    """

    bias: Tensor
    load: Tensor
    expected_load: Tensor

    def __init__(self, width: int, experts: int, expert_width: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.router = nn.Linear(width, experts, bias=False)
        self.w_gate_up = nn.Parameter(torch.empty(experts, width, 2 * expert_width))
        self.w_down = nn.Parameter(torch.empty(experts, expert_width, width))
        self.register_buffer("bias", torch.zeros(experts))
        self.register_buffer("load", torch.zeros(experts), persistent=False)
        self.register_buffer("expected_load", torch.zeros(experts), persistent=False)

    def forward(
        self,
        x_TD: Tensor,
        valid_T: Tensor | None = None,
        allowed_TN: Tensor | None = None,
        top_k_T: Tensor | None = None,
        expert_ids: list[Tensor] | None = None,
    ) -> Tensor:
        """`[T, D] -> [T, D]`.

        `allowed_TN` restricts the choice and `top_k_T` the number of experts, token by token. Load is counted in training, on
        the tokens of `valid_T`. `expert_ids` collects the chosen experts `[T, k]` for analysis.
        """
        gate_Tk, chosen_Tk = self.route(x_TD, allowed_TN, top_k_T)
        if expert_ids is not None:
            expert_ids.append(torch.where(gate_Tk > 0, chosen_Tk, -1))
        if self.training:
            self._count(gate_Tk, chosen_Tk, valid_T, allowed_TN)
        return self.combine(x_TD, gate_Tk, chosen_Tk)

    def route(self, x_TD: Tensor, allowed_TN: Tensor | None, top_k_T: Tensor | None) -> tuple[Tensor, Tensor]:
        """Gates and chosen experts `[T, k]`; a token with a smaller k has zero gates at the end of its row."""
        with torch.autocast(x_TD.device.type, enabled=False):
            logits_TN = F.linear(x_TD.float(), self.router.weight.float())
            if allowed_TN is not None:
                logits_TN = logits_TN.masked_fill(~allowed_TN, -torch.inf)
            score_TN = logits_TN.softmax(dim=-1)
        select_TN = score_TN.detach() + self.bias
        if allowed_TN is not None:
            select_TN = select_TN.masked_fill(~allowed_TN, -torch.inf)
        k = self.top_k if top_k_T is None else int(top_k_T.max())
        chosen_Tk = largest(select_TN, k)
        gate_Tk = score_TN.gather(1, chosen_Tk)
        if top_k_T is not None:
            gate_Tk = gate_Tk * (torch.arange(k, device=x_TD.device) < top_k_T[:, None])
        return gate_Tk / gate_Tk.sum(dim=-1, keepdim=True).clamp_min(1e-12), chosen_Tk

    def combine(self, x_TD: Tensor, gate_Tk: Tensor, chosen_Tk: Tensor) -> Tensor:
        """`sum_e gate_e expert_e(x)` over the chosen experts of each token, in autocast's type where it is on."""
        dtype = compute_dtype(x_TD)
        if x_TD.device.type == "cpu" and torch.is_grad_enabled():
            blocks = lay_out(chosen_Tk, len(self.w_gate_up))
            return PaddedExperts.apply(x_TD.to(dtype), gate_Tk, self.w_gate_up, self.w_down, blocks)
        return grouped_experts(x_TD.to(dtype), gate_Tk, chosen_Tk, self.w_gate_up.to(dtype), self.w_down.to(dtype))

    @torch.no_grad()
    def _count(self, gate_Tk: Tensor, chosen_Tk: Tensor, valid_T: Tensor | None, allowed_TN: Tensor | None) -> None:
        used_Tk = gate_Tk > 0
        if valid_T is not None:
            used_Tk = used_Tk & valid_T[:, None]
        self.load += torch.bincount(chosen_Tk[used_Tk], minlength=len(self.load)).float()
        if allowed_TN is None:
            self.expected_load += used_Tk.sum() / len(self.load)
        else:
            share_T1 = used_Tk.sum(dim=-1, keepdim=True) / allowed_TN.sum(dim=-1, keepdim=True)
            self.expected_load += (share_T1 * allowed_TN).sum(dim=0)

    @torch.no_grad()
    def balance(self, speed: float) -> None:
        """After an optimiser step: bias += speed * sign(expected_load - load) (Wang et al. 2024), then the counts start anew."""
        self.bias += speed * torch.sign(self.expected_load - self.load)
        self.load.zero_()
        self.expected_load.zero_()


def largest(score_TN: Tensor, k: int) -> Tensor:
    """Where the k largest of every row stand, the largest first, `[T, k]`: for a few of them, k maxima are faster than a sort."""
    places = []
    for _ in range(k):
        places.append(score_TN.max(dim=-1, keepdim=True).indices)
        score_TN = score_TN.scatter(1, places[-1], -torch.inf)
    return torch.cat(places, dim=1)


def grouped_experts(x_TD: Tensor, gate_Tk: Tensor, chosen_Tk: Tensor, w_gate_up: Tensor, w_down: Tensor) -> Tensor:
    """The choices sorted by expert and one grouped product per matrix: fast on a GPU, and on a CPU with few tokens."""
    tokens, k = chosen_Tk.shape
    order = chosen_Tk.reshape(-1).argsort(stable=True)
    ends = torch.bincount(chosen_Tk.reshape(-1), minlength=len(w_gate_up)).cumsum(0).to(torch.int32)
    gate, up = F.grouped_mm(x_TD[order // k], w_gate_up, offs=ends).chunk(2, dim=-1)
    hidden = F.silu(gate) * up * gate_Tk.reshape(-1)[order, None].to(x_TD.dtype)
    out = F.grouped_mm(hidden, w_down, offs=ends)
    return out[order.argsort()].view(tokens, k, -1).sum(dim=1)
