"""Experts behind an exchange of tokens are experts: outputs and gradients, with choices of gate 0, and a row for each choice."""

from functools import partial

import pytest
import torch
import torch.distributed as dist
from torch import nn

from ernest.model.experts import Experts
from ernest.training.experts import AllToAllDispatch, run_singly

TOKENS, WIDTH, EXPERTS, K = 40, 16, 6, 3


@pytest.fixture
def pool():
    torch.manual_seed(0)
    made = Experts(WIDTH, EXPERTS, 8, K).double()
    for weights in made.parameters():
        nn.init.normal_(weights, std=0.3)
    return made


def chosen() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs, gates of which a third are 0, and their experts; the last tokens choose none."""
    torch.manual_seed(1)
    gates = torch.rand(TOKENS, K, dtype=torch.float64) * (torch.rand(TOKENS, K) > 1 / 3)
    gates[-3:] = 0
    experts = torch.stack([torch.randperm(EXPERTS)[:K] for _ in range(TOKENS)])
    return torch.randn(TOKENS, WIDTH, dtype=torch.float64).requires_grad_(), gates.requires_grad_(), experts


def results(run, pool) -> list[torch.Tensor]:
    """Outputs, and gradients of inputs, gates that are not 0 and matrices."""
    x, gates, experts = chosen()
    y = run(x, gates, experts)
    y.square().sum().backward()
    assert gates.grad is not None
    found = [y, x.grad, gates.grad * (gates != 0), pool.w_gate_up.grad, pool.w_down.grad]
    pool.zero_grad()
    return found


@pytest.mark.parametrize("processes", [1, 2])
def test_an_exchange_is_the_experts_themselves(processes, pool, monkeypatch):
    """Two processes are one here that is sent all its own rows back, as it would get them from its like; which of them are those
    of the first and of the second part of the experts is told by their order."""
    monkeypatch.setattr(dist, "all_to_all_single", lambda out, rows, *_, **__: out.copy_(rows))
    dispatch = AllToAllDispatch(Mesh(processes), EXPERTS, K + 1)
    for one, other in zip(
        results(partial(dispatch, both_parts(pool, processes)), pool), results(pool.run_own, pool), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


class Mesh:
    group = None

    def __init__(self, parts: int) -> None:
        self.parts = parts


def both_parts(pool, processes):
    """Rows of the first process's experts come first, in the order of tokens; then those of the second's."""

    def run(x_RD, gate_Rk, expert_Rk):
        _, gates, experts = chosen()
        first = len(x_RD) if processes == 1 else int(((gates != 0) & (experts < EXPERTS // 2)).any(dim=1).sum())
        process_R = (torch.arange(len(x_RD)) >= first).long()
        return pool.run_own(x_RD, gate_Rk, expert_Rk + process_R[:, None] * (EXPERTS // processes) * (gate_Rk != 0))

    return run


def test_a_row_for_each_choice_gives_the_same(pool):
    for one, other in zip(results(partial(run_singly, pool.run_own), pool), results(pool.run_own, pool), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    rows = []
    run_singly(lambda x, gate, expert: rows.append(gate.shape) or x, *(value.detach() for value in chosen()))
    assert rows == [(int((chosen()[1] != 0).sum()), 1)]
