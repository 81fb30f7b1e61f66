"""The loop under tokenizers and judges: what it reports, clips, averages and leaves behind."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from ernest.fit import FitConfig, fit, rate_by_step


def regression(network: nn.Module, seen: list[dict[str, Tensor]] | None = None):
    """The loss of `network` on a batch of its own at each step; `seen` gets the weights that it finds, and their gradients."""

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        if seen is not None:
            found = {name: p.detach().clone() for name, p in network.named_parameters()}
            seen.append(
                found | {f"{name} gradient": p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
            )
        x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
        error = network(x)[:, 0] - (x @ torch.tensor([1.0, -2.0, 0.5]) + 3)
        return error.square().mean(), {"number": step}

    return loss


def test_it_finds_what_there_is_to_find_and_reports_every_step() -> None:
    network = nn.Linear(3, 1)
    told: list[tuple[int, int, Mapping[str, float]]] = []
    steps = 300
    config = FitConfig(steps, rate_by_step(lambda step: 0.1 * (1 - step / steps)), weight_decay=0.0)
    assert fit(network, regression(network), config, lambda *args: told.append(args)) is network
    assert not network.training
    torch.testing.assert_close(network.weight.detach(), torch.tensor([[1.0, -2.0, 0.5]]), atol=0.01, rtol=0)
    assert abs(network.bias.item() - 3) < 0.01
    assert told == [(step + 1, steps, {"number": step}) for step in range(steps)]


def test_it_does_what_the_loop_written_out_does() -> None:
    """With each thing that can be set, so that none is passed over or done in another order."""
    torch.manual_seed(1)
    ours, theirs = (nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    config = FitConfig(20, lambda optimizer: OneCycleLR(optimizer, 0.02, 20), (0.8, 0.95), weight_decay=0.3, clip=0.5)
    fit(ours, regression(ours), config)
    optimizer = torch.optim.AdamW(theirs.parameters(), betas=(0.8, 0.95), weight_decay=0.3, fused=True)
    schedule, loss = OneCycleLR(optimizer, 0.02, 20), regression(theirs)
    for step in range(20):
        optimizer.zero_grad()
        loss(step)[0].backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        optimizer.step()
        schedule.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_the_rate_is_that_of_the_step() -> None:
    """AdamW's first step moves each weight by its rate; where the rate is zero none moves."""
    network = nn.Linear(3, 1)
    seen: list[dict[str, Tensor]] = []
    fit(
        network,
        regression(network, seen),
        FitConfig(4, rate_by_step(lambda step: (0.25, 0.0, 0.0, 0.1)[min(step, 3)]), weight_decay=0.0),
    )
    torch.testing.assert_close((seen[1]["weight"] - seen[0]["weight"]).abs(), torch.full((1, 3), 0.25), atol=1e-4, rtol=0)
    assert torch.equal(seen[1]["weight"], seen[3]["weight"])
    assert not torch.equal(seen[3]["weight"], network.weight)


def test_gradients_are_clipped_together() -> None:
    norms = {}
    for clip in (None, 0.1):
        network, seen = nn.Linear(3, 1), []
        fit(network, regression(network, seen), FitConfig(2, rate_by_step(lambda step: 1e-3), clip=clip))
        norms[clip] = math.hypot(*(float(seen[1][f"{name} gradient"].norm()) for name in ("weight", "bias")))
    assert norms[None] > 1
    assert math.isclose(norms[0.1], 0.1, rel_tol=1e-4)


def test_an_average_is_the_running_mean_of_the_weights_with_the_last_buffers() -> None:
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1))
    seen: list[dict[str, Tensor]] = []
    kept = fit(network, regression(network, seen), FitConfig(6, rate_by_step(lambda step: 0.1), average=0.7))
    after = [*seen[1:], dict(network.named_parameters())]
    mean = after[0]["1.weight"]
    for weights in after[1:]:
        mean = 0.7 * mean + 0.3 * weights["1.weight"]
    torch.testing.assert_close(kept[1].weight, mean)
    assert torch.equal(kept[0].running_mean, network[0].running_mean)
    assert not kept.training
