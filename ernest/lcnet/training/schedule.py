"""Optimizer with parameter groups, learning-rate schedule, and exponential moving average of the weights."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from ernest.lcnet.training.recipe import Recipe


def learning_rate(step: int, steps: int, steps_per_epoch: int, peak: float, warmup: float) -> float:
    """The rate of one of `steps`: a linear rise to `peak` over `warmup` epochs, then a cosine down to zero.

    The rise takes a fifth of all steps at most, so that short runs keep the shape of the curve.
    """
    rise = min(round(warmup * steps_per_epoch), steps // 5)
    if step < rise:
        return peak * (step + 1) / rise
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))


def parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict]:
    """Groups for an optimiser: weights and biases of normalisation do not decay, stages have their own factor of the rate.

    Each group holds `params`, `names`, `weight_decay` and `factor`; a factor of 0 freezes, which the group leaves out.
    """
    normalisation = {
        f"{prefix}.{leaf}" if prefix else leaf
        for prefix, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for leaf in ("weight", "bias")
    }
    groups: dict[tuple[float, float], dict] = {}
    for name, parameter in network.named_parameters():
        factor, decay = _factor(name, recipe), 0.0 if name in normalisation else recipe.weight_decay
        if factor == 0:
            parameter.requires_grad_(False)
            continue
        group = groups.setdefault((factor, decay), {"params": [], "names": [], "weight_decay": decay, "factor": factor})
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


@dataclass(frozen=True)
class Descent:
    """SGD with momentum over `parameter_groups`, bit by bit that of torch, whose classes import its compiler when one is made:
    more than a second. `momenta` are those of the parameters that have had a gradient."""

    param_groups: list[dict]
    momentum: float
    nesterov: bool
    momenta: dict[Tensor, Tensor] = field(default_factory=dict)

    def zero_grad(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """With g' = g + decay w: v' = momentum v + g', at first g', and w' = w - rate v', or after Nesterov
        w - rate (g' + momentum v')."""
        for group in self.param_groups:
            learnt = [one for one in group["params"] if one.grad is not None]
            momenta = [self.momenta.get(one) for one in learnt]
            rule = {"lr": group["lr"], "weight_decay": group["weight_decay"], "momentum": self.momentum}
            gradients = [one.grad for one in learnt]
            sgd(learnt, gradients, momenta, fused=True, dampening=0.0, nesterov=self.nesterov, maximize=False, **rule)
            self.momenta.update((one, value) for one, value in zip(learnt, momenta, strict=True) if value is not None)


def make_optimizer(network: nn.Module, recipe: Recipe) -> Descent:
    groups = [group | {"lr": recipe.rate} for group in parameter_groups(network, recipe)]
    return Descent(groups, recipe.momentum, recipe.nesterov)


def set_rate(optimizer: Descent, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Moves the average of the weights towards the network. Early on it moves faster: (1 + step) / (10 + step) bounds the decay.

    Counters and what else is no floating-point number are copied.
    """
    decay = min(decay, (1 + step) / (10 + step))
    for mean, value in zip(_values(average), _values(network), strict=True):
        if value.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def _values(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def _factor(name: str, recipe: Recipe) -> float:
    """The factor of the stem, of one of the five stages, or 1 for the head; the same in both students of a `Pair`."""
    match name.removeprefix("first.").removeprefix("second.").split("."):
        case ["stem", *_]:
            return recipe.stage_rates[0]
        case ["stages", stage, *_]:
            return recipe.stage_rates[1 + int(stage)]
        case _:
            return 1.0
