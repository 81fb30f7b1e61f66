"""Groups of parameters, the curve of the rate, the average of weights."""

import math
from itertools import pairwise

import pytest
import torch

from ernest.lcnet import Architecture, PPLCNet
from ernest.lcnet.training.losses import Pair
from ernest.lcnet.training.recipe import Recipe
from ernest.lcnet.training.schedule import learning_rate, make_optimizer, parameter_groups, set_rate, update_average


def small() -> PPLCNet:
    return PPLCNet(Architecture(classes=3, scale=0.25))


def groups_by_name(network: torch.nn.Module, recipe: Recipe) -> dict[str, tuple[float, float]]:
    """The rate and the decay of every parameter that learns, after the rate has been set to 1."""
    optimizer = make_optimizer(network, recipe)
    set_rate(optimizer, 1.0)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {names[id(p)]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}


def test_only_normalisation_does_not_decay() -> None:
    network = small()
    found = groups_by_name(network, Recipe())
    assert set(found) == {name for name, _ in network.named_parameters()}
    free = {name for name, (_, decay) in found.items() if decay == 0}
    norms = {place for place, module in network.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    assert free == {f"{place}.{leaf}" for place in norms for leaf in ("weight", "bias")}
    assert {decay for _, decay in found.values()} == {0.0, 3e-5}
    assert {rate for rate, _ in found.values()} == {1.0}


@pytest.mark.parametrize("pair", [False, True])
def test_stages_have_their_own_rate_and_zero_freezes(pair: bool) -> None:
    network = Pair(small(), small()) if pair else small()
    found = groups_by_name(network, Recipe(stage_rates=(0.0, 0.4, 0.5, 0.6, 0.7, 0.8)))
    start = "second." if pair else ""
    assert not any(name.startswith(f"{start}stem") for name in found)
    assert all(found[name][0] == 0.4 for name in found if name.startswith(f"{start}stages.0"))
    assert all(found[name][0] == 0.8 for name in found if name.startswith(f"{start}stages.4"))
    assert all(found[name][0] == 1.0 for name in found if name.startswith(f"{start}head"))
    stem = network.second.stem if isinstance(network, Pair) else network.stem
    assert not any(parameter.requires_grad for parameter in stem.parameters())


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, False), (0.9, True), (0.0, False)])
def test_descent_is_that_of_torch_bit_by_bit(momentum: float, nesterov: bool) -> None:
    recipe = Recipe(momentum=momentum, nesterov=nesterov, stage_rates=(0.0, 0.5, 1.0, 1.0, 1.0, 1.0))

    def learnt(by_torch: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        network = small()
        settings = {"lr": 1.0, "momentum": momentum, "nesterov": nesterov, "fused": True}
        groups = parameter_groups(network, recipe)
        optimizer = torch.optim.SGD(groups, **settings) if by_torch else make_optimizer(network, recipe)
        for step in range(3):
            optimizer.zero_grad()
            for number, parameter in enumerate(network.parameters()):
                if parameter.requires_grad:
                    parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number + step))
            for group in optimizer.param_groups:
                group["lr"] = group["factor"] * 0.1 * (step + 1)
            optimizer.step()
        return list(network.parameters())

    assert all(map(torch.equal, learnt(True), learnt(False)))


def test_the_rate_rises_for_five_epochs_and_falls_as_a_cosine() -> None:
    """The published run: 360 epochs, here of 100 steps."""
    rates = [learning_rate(step, 36000, 100, 0.8, 5.0) for step in range(36000)]
    assert rates[0] == pytest.approx(0.8 / 500)
    assert rates[249] == pytest.approx(0.4)
    assert rates[499] == rates[500] == 0.8
    assert rates[500 + 35500 // 2] == pytest.approx(0.4)
    assert rates[500 + 35500 // 4] == pytest.approx(0.8 * (1 + math.cos(math.pi / 4)) / 2)
    assert 0 < rates[-1] < 1e-7
    assert all(a < b for a, b in pairwise(rates[:500]))
    assert all(a > b for a, b in pairwise(rates[500:]))


def test_short_runs_rise_for_a_fifth_at_most() -> None:
    rates = [learning_rate(step, 50, 10, 1.0, 5.0) for step in range(50)]
    assert rates.index(max(rates)) == 9
    assert learning_rate(0, 3, 3, 1.0, 0.0) == 1.0


def test_the_average_follows_as_the_decay_says() -> None:
    network, average = small(), small()
    before = {name: value.clone() for name, value in average.state_dict().items()}
    update_average(average, network, 0.9, step=1000)
    for name, value in network.state_dict().items():
        wanted = 0.9 * before[name] + 0.1 * value if value.is_floating_point() else value
        assert torch.allclose(average.state_dict()[name], wanted, atol=1e-6)
    update_average(average, network, 0.9999, step=0)  # a tenth of the old one is left
    name = "head.classifier.weight"
    wanted = 0.1 * (0.9 * before[name] + 0.1 * network.state_dict()[name]) + 0.9 * network.state_dict()[name]
    assert torch.allclose(average.state_dict()[name], wanted, atol=1e-6)
