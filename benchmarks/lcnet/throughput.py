"""Images a second in training, beside an eager network as timm has it.

The same x0.5 at 224x224, the same batch, in turn: timm's own network where it is installed, or else the same layers used as
timm uses them (channels first, SGD as torch makes it by default), and a step of `ernest.lcnet.training`.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.findings import Findings
from benchmarks.lcnet import networks
from benchmarks.tables import Figure, Table
from ernest.device import supports_bf16
from ernest.lcnet import PUBLISHED, PPLCNet
from ernest.lcnet.training import Recipe, supervised
from ernest.lcnet.training.loop import update
from ernest.lcnet.training.schedule import make_optimizer, set_rate

BATCH, SIDE, RATE = 32, 224, 0.01

Step = Callable[[], None]


def training_throughput(rounds: int = 7, threads: int = 1) -> Findings:
    """Images a second of ours (float32, and bfloat16 where the processor has it) and of the eager one; the bar is their ratio."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        name, eager = theirs()
        steps = {name: eager, "ours, fp32": ours(bf16=False)} | ({"ours, bf16": ours(bf16=True)} if supports_bf16() else {})
        speeds = {name: BATCH / seconds for name, seconds in _race(steps, rounds).items()}
    finally:
        torch.set_num_threads(before)
    # The recipe's precision "auto" measures, too, and takes the faster of both.
    best = max(speed for step, speed in speeds.items() if step != name)
    figures = [Figure("training: images per second, ours ÷ eager in timm's manner", best / speeds[name], 1.2, False, threads)]
    figures += [Figure(f"training: images per second, {step}", speed, None, False, threads) for step, speed in speeds.items()]
    lines = tuple((step, f"{speed:.1f}", f"{speed / speeds[name]:.2f}") for step, speed in speeds.items())
    title = f"Training x0.5 at 224x224, {BATCH} pictures a step, {threads} thread{'s' if threads > 1 else ''}"
    return Findings(tuple(figures), (Table(title, ("step", "images/s", "÷ eager"), lines),))


def ours(bf16: bool) -> Step:
    torch.manual_seed(0)
    network, objective = PPLCNet(PUBLISHED["PPLCNet_x0_5"]).train(), supervised(0.1)
    optimizer = make_optimizer(network, Recipe())
    set_rate(optimizer, RATE)
    images, targets = _batch()
    images = images.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        update(network, objective, optimizer, images, targets, bf16)

    return step


def theirs() -> tuple[str, Step]:
    """A name and a step in float32: the forward pass eager, the optimiser with torch's own settings."""
    name, network = _eager()
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), RATE, momentum=0.9, weight_decay=3e-5)
    images, targets = _batch()

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(images), targets, label_smoothing=0.1).backward()
        optimizer.step()

    return name, step


def _eager() -> tuple[str, nn.Module]:
    torch.manual_seed(0)
    sys.path.append(str(networks.HOME))
    try:
        return "timm, eager", networks.untrained("lcnet_050")
    except ImportError:
        plain = PPLCNet(PUBLISHED["PPLCNet_x0_5"])
        return "timm's manner, eager", nn.Sequential(plain.stem, plain.stages, plain.head)  # nothing puts channels last
    finally:
        sys.path.remove(str(networks.HOME))


def _batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(BATCH, 3, SIDE, SIDE, generator=generator), torch.randint(0, 1000, (BATCH,), generator=generator)


def _race(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Seconds of a step, the lower quartile of as many as `rounds`, taken in turn after one that does not count."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(rounds):
        for name, step in steps.items():
            begun = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - begun)
    return {name: float(np.quantile(values, 0.25)) for name, values in times.items()}
