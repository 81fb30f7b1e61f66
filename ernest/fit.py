"""Trains a small network: AdamW over a number of steps, with a schedule, clipped gradients and an average of the weights.

All tokenizers, judges and refiners learn by this loop; the model and the classifiers, whose runs are long and resume, have their
own.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ernest.device import autocast, supports_bf16
from ernest.storage import load_tensors, read_header, save_tensors

Network = TypeVar("Network", bound=nn.Module)

Progress = Callable[[int, int, Mapping[str, float]], None]
"""Called after every step with the steps done, the steps in all, and measures of the step by name."""

Loss = Callable[[int], tuple[Tensor, Mapping[str, float]]]
"""From the number of a step, counted from 0, to the loss of its batch (a scalar) and measures to report."""


def no_progress(step: int, steps: int, metrics: Mapping[str, float]) -> None:
    """Reports nothing."""


@dataclass(frozen=True)
class FitConfig:
    """The settings of a training; `schedule` makes a scheduler for an optimizer, and is stepped after every step."""

    steps: int
    schedule: Callable[[Optimizer], LRScheduler]
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01
    clip: float | None = None
    """The largest norm of all gradients together."""
    average: float | None = None
    """What is kept is a running mean of the weights, with this much of the past in each step; the last weights without it."""


@dataclass(frozen=True)
class Keep:
    """The file in which a training keeps its state, so that one that was cut goes on bit for bit.

    `tensors` are what it changes beside the network, and `generators` what it draws from beside torch's own. What it draws must
    follow from those and the step, where that is a multiple of `every`.
    """

    file: Path
    every: int
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    generators: tuple[torch.Generator, ...] = ()


def rate_by_step(rate: Callable[[int], float]) -> Callable[[Optimizer], LRScheduler]:
    """A schedule from a function of the step, counted from 0, to the learning rate."""

    def schedule(optimizer: Optimizer) -> LRScheduler:
        for group in optimizer.param_groups:
            group["lr"] = 1.0  # which LambdaLR multiplies
        return LambdaLR(optimizer, rate)

    return schedule


def warm_up_and_cosine(rate: float, steps: int) -> Callable[[Optimizer], LRScheduler]:
    """A schedule that rises to `rate` over 50 steps and falls by a cosine, to a fiftieth at the last of `steps`."""

    def at(step: int) -> float:
        return rate * (min(1.0, (step + 1) / 50) * (0.5 * (1 + math.cos(math.pi * step / steps)) + 0.02))

    return rate_by_step(at)


def fit(network: Network, loss: Loss, config: FitConfig, progress: Progress = no_progress, keep: Keep | None = None) -> Network:
    """Trains `network` and returns it, or the average of its weights: in evaluation mode, on the device on which it came.

    `loss` draws its own batches, and puts them on that device. With `keep`, it goes on from the state that is there.
    """
    optimizer = AdamW(network.parameters(), betas=config.betas, weight_decay=config.weight_decay, fused=True)
    schedule = config.schedule(optimizer)
    average = None
    if config.average is not None:
        average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.average), use_buffers=False)
    network.train()
    state = None if keep is None else _State(keep, network, optimizer, schedule, average)
    for step in range(0 if state is None else state.restore(), config.steps):
        value, metrics = loss(step)
        optimizer.zero_grad()
        value.backward()
        if config.clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), config.clip)
        optimizer.step()
        schedule.step()
        if average is not None:
            average.update_parameters(network)
        if keep is not None and state is not None and ((step + 1) % keep.every == 0 or step + 1 == config.steps):
            state.save(step + 1)
        progress(step + 1, config.steps, metrics)
    return cast(Network, average.module if average is not None else network).eval()


@dataclass(frozen=True)
class _State:
    """All that a training changes, and the file that holds it."""

    keep: Keep
    network: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    average: AveragedModel | None

    def save(self, step: int) -> None:
        tensors = {f"network/{name}": value for name, value in self._changed().items()}
        for number, parameter in enumerate(self.network.parameters()):
            tensors |= {f"optimizer/{number}/{name}": value for name, value in self.optimizer.state[parameter].items()}
        tensors |= {f"random/{number}": generator.get_state() for number, generator in enumerate(self._generators())}
        metadata = {"step": str(step), "schedule": json.dumps(self.schedule.state_dict())}
        save_tensors(self.keep.file, tensors, metadata)

    def restore(self) -> int:
        """The steps that were done; 0 where there is no file."""
        if not self.keep.file.is_file():
            return 0
        tensors, metadata = load_tensors(self.keep.file), read_header(self.keep.file).metadata
        with torch.no_grad():
            for name, value in self._changed().items():
                value.copy_(tensors[f"network/{name}"])
        for number, parameter in enumerate(self.network.parameters()):
            for name in [name for name in tensors if name.startswith(f"optimizer/{number}/")]:
                moment = tensors[name]
                like = torch.empty_like(parameter) if moment.shape == parameter.shape else moment.to(parameter.device)
                self.optimizer.state[parameter][name.rpartition("/")[2]] = like.copy_(moment)
        for number, generator in enumerate(self._generators()):
            generator.set_state(tensors[f"random/{number}"])
        self.schedule.load_state_dict(json.loads(metadata["schedule"]))
        for group, rate in zip(self.optimizer.param_groups, self.schedule.get_last_lr(), strict=True):
            group["lr"] = rate
        return int(metadata["step"])

    def _changed(self) -> dict[str, Tensor]:
        average = {} if self.average is None else {f"average/{name}": value for name, value in self.average.state_dict().items()}
        return self.network.state_dict() | average | {f"beside/{name}": value for name, value in self.keep.tensors.items()}

    def _generators(self) -> tuple[torch.Generator, ...]:
        return torch.default_generator, *self.keep.generators


def mixed_precision(device: torch.device) -> torch.autocast:
    """Products in bfloat16 where the device has them in hardware, and in float32 elsewhere."""
    return autocast(device, supports_bf16(device))
