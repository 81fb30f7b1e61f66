"""Trains a small network: AdamW over a number of steps, with a schedule, clipped gradients and an average of the weights.

All tokenizers and judges learn by this loop; the model and the classifiers, whose runs are long and resume, have their own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ernest.device import autocast, supports_bf16

Network = TypeVar("Network", bound=nn.Module)

Progress = Callable[[int, int, Mapping[str, float]], None]
"""Called after every step with the steps done, the steps in all, and measures of the step by name."""

Loss = Callable[[int], tuple[Tensor, Mapping[str, float]]]
"""From the number of a step, counted from 0, to the loss of its batch (a scalar) and measures to report."""


def no_progress(step: int, steps: int, metrics: Mapping[str, float]) -> None:
    """Reports nothing."""


@dataclass(frozen=True)
class Fitting:
    """How a network is trained; `schedule` makes a scheduler for an optimizer, and is stepped after every step."""

    steps: int
    schedule: Callable[[Optimizer], LRScheduler]
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01
    clip: float | None = None
    """The largest norm of all gradients together."""
    average: float | None = None
    """What is kept is a running mean of the weights, with this much of the past in each step; the last weights without it."""


def rate_by_step(rate: Callable[[int], float]) -> Callable[[Optimizer], LRScheduler]:
    """A schedule from a function of the step, counted from 0, to the learning rate."""

    def schedule(optimizer: Optimizer) -> LRScheduler:
        for group in optimizer.param_groups:
            group["lr"] = 1.0  # which LambdaLR multiplies
        return LambdaLR(optimizer, rate)

    return schedule


def fit(network: Network, loss: Loss, fitting: Fitting, progress: Progress = no_progress) -> Network:
    """Trains `network` and returns it, or the average of its weights: in evaluation mode, on the device on which it came.

    `loss` draws its own batches, and puts them on that device.
    """
    optimizer = AdamW(network.parameters(), betas=fitting.betas, weight_decay=fitting.weight_decay, fused=True)
    schedule = fitting.schedule(optimizer)
    average = None
    if fitting.average is not None:
        average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(fitting.average), use_buffers=False)
    network.train()
    for step in range(fitting.steps):
        value, metrics = loss(step)
        optimizer.zero_grad()
        value.backward()
        if fitting.clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), fitting.clip)
        optimizer.step()
        schedule.step()
        if average is not None:
            average.update_parameters(network)
        progress(step + 1, fitting.steps, metrics)
    return cast(Network, average.module if average is not None else network).eval()


def mixed_precision(device: torch.device) -> torch.autocast:
    """Products in bfloat16 where the device has them in hardware, and in float32 elsewhere."""
    return autocast(device, supports_bf16(device))
