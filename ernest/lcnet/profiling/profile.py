"""Profiles a network layer by layer: seconds of each layer beside the roofline bound of this core.

The bound is a roofline (`ernest.lcnet.profiling.roofline`, measured in the same run): the layer's arithmetic at the peak, or its
bytes at the bandwidth of what holds them, whichever takes longer. A layer near its bound can only get faster with fewer
operations, fewer bits or fewer bytes; `limit` says which.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn

from ernest import device
from ernest.lcnet.folding import fold
from ernest.lcnet.native import Executor, LayerTime, Precision
from ernest.lcnet.native.plan import steps_of
from ernest.lcnet.network import PPLCNet
from ernest.lcnet.profiling.roofline import Roofline, measure

ROUNDS = 5
"""The machine is measured so many times in between."""

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")


@dataclass(frozen=True)
class Layer:
    """`flops`: two for a multiply-add. `bytes`: weights and maps, each once; what passes between the layers of a block stays in
    the nearest cache and is not counted. `bound`: seconds that the roofline allows, set by `limit`.
    """

    name: str
    kind: str
    seconds: float
    flops: int
    bytes: int
    bound: float
    limit: Literal["compute", "memory"]

    @property
    def share(self) -> float:
        """Of the roofline: 1 is as fast as this core can."""
        return self.bound / self.seconds


@dataclass(frozen=True)
class Profile:
    """One image on one thread: `layers` of the fastest run, in order; `calls`, the seconds of whole calls, taken in turn.

    `parallel` are those of calls on `threads` threads (empty for one).
    """

    runtime: str
    precision: Precision
    size: tuple[int, int]
    layers: tuple[Layer, ...]
    roofline: Roofline
    calls: tuple[float, ...]
    threads: int = 1
    parallel: tuple[float, ...] = ()

    @property
    def wall(self) -> float:
        """Seconds of the fastest call, as the layers are those of the fastest run."""
        return min(self.calls)

    @property
    def seconds(self) -> float:
        """The sum of the layers."""
        return sum(layer.seconds for layer in self.layers)

    @property
    def bound(self) -> float:
        """The sum of the layers' bounds."""
        return sum(layer.bound for layer in self.layers)

    @property
    def flop_bound(self) -> float:
        """Seconds of the arithmetic alone, each layer's at its peak."""
        return sum(self.roofline.arithmetic(layer.flops, arithmetic(layer.kind, self.precision)) for layer in self.layers)

    def summary(self) -> str:
        """The runtime, the times and the roofline in a few lines of text."""
        (height, width), call = self.size, f"{1e3 * self.wall:.3f} ms on one thread"
        parts = self.seconds, self.bound, self.flop_bound
        layers, bound, arithmetic = (f"{1e3 * value:.3f} ms ({value / self.wall:.0%})" for value in parts)
        lines = [
            f"{self.runtime}, {self.precision}, {height}x{width}, one image: {call}",
            f"layers together {layers}, roofline {bound}, arithmetic alone {arithmetic}",
            f"single calls: {_quantiles(self.calls)}",
        ]
        if self.parallel:
            lines.append(f"on {self.threads} threads: {_quantiles(self.parallel)}")
        return "\n".join([*lines, str(self.roofline)])


def _quantiles(calls: Sequence[float]) -> str:
    ordered = sorted(calls)
    picked = ((name, ordered[min(len(ordered) - 1, int(share * len(ordered)))]) for name, share in QUANTILES)
    return ", ".join(f"{name} {1e3 * seconds:.3f} ms" for name, seconds in picked)


QUANTILES = (("least", 0.0), ("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


def profile(
    network: PPLCNet,
    size: int | tuple[int, int] = 224,
    precision: Precision = "fp32",
    threads: int | None = 1,
    instructions: str | None = None,
    repeats: int = 200,
) -> Profile:
    """Times `network` on one image of noise of this size, layer by layer and whole, each `repeats` times, on one thread.

    With other `threads` (None: all processors) whole calls are timed on so many as well. Where the native executor cannot be
    compiled, torch's own operators are timed, fp32 only. Raises ValueError for a size, a number or a precision that is none.
    """
    height, width = size if isinstance(size, tuple) else (size, size)
    if min(height, width) < 1:
        raise ValueError(f"size: expected a side or (height, width), each at least 1, got {size}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision: expected one of {', '.join(PRECISIONS)}, got {precision}")
    if repeats < 1 or (threads is not None and threads < 1):
        raise ValueError(f"repeats and threads: expected at least 1, got {repeats} and {threads}")
    network = fold(network)
    images = torch.randn(1, network.architecture.in_channels, height, width, generator=torch.Generator().manual_seed(0))
    executor = Executor(network, precision, 1, instructions)
    if executor.compiled:
        precision, run = cast(Precision, executor.precision), executor
        runtime, time_layers = f"native executor, {executor.instructions}", partial(executor.layers, images)
    else:
        precision, runtime, run, time_layers = "fp32", "torch, folded", network, partial(time_layers_by_torch, network, images)
    with device.threads(1), torch.inference_mode():
        timed, calls, roofline = _interleaved(
            time_layers, lambda: run(images), partial(measure, executor.instructions if executor.compiled else None, 2), repeats
        )
    several = device.count_processors() if threads is None else threads
    wide = Executor(network, precision, several, instructions) if several > 1 and executor.compiled else None
    return Profile(
        runtime,
        precision,
        (height, width),
        tuple(with_bound(step, precision, roofline) for step in timed),
        roofline,
        tuple(calls),
        several,
        tuple(_burst(lambda: wide(images), repeats)) if wide else (),
    )


def arithmetic(kind: str, precision: Precision) -> str:
    """The fastest arithmetic that the executor may use for a kind of layer: no product of matrices for depthwise ones."""
    return "fp16" if kind == "depthwise" and precision != "fp32" else precision


def with_bound(step: LayerTime, precision: Precision, roofline: Roofline) -> Layer:
    """A layer beside its bound."""
    flops = 2 * step.multiply_adds
    compute, memory = roofline.arithmetic(flops, arithmetic(step.kind, precision)), roofline.reading(step.bytes)
    limit = "compute" if compute >= memory else "memory"
    return Layer(step.name, step.kind, step.seconds, flops, step.bytes, max(compute, memory), limit)


def _interleaved(
    time_layers: Callable[[int], list[LayerTime]],
    run: Callable[[], object],
    see_machine: Callable[[], Roofline],
    repeats: int,
) -> tuple[list[LayerTime], list[float], Roofline]:
    """The layers of the fastest run, every call's seconds and the best of the machine.

    A run layer by layer and a whole call take turns one by one: processors change their clock within seconds.
    """
    layers, calls, roofline = time_layers(1), [], see_machine()
    for turn in range(repeats):
        layers = min(layers, time_layers(1), key=lambda run: sum(step.seconds for step in run))
        calls += _burst(run, 1)
        if turn % -(-repeats // ROUNDS) == 0:
            roofline = roofline.best_of(see_machine())
    return layers, calls, roofline


def _burst(run: Callable[[], object], calls: int) -> list[float]:
    run()
    seconds = []
    for _ in range(calls):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return seconds


def time_layers_by_torch(network: PPLCNet, images: Tensor, repeats: int) -> list[LayerTime]:
    """The layers of the best of so many runs of a folded network by torch's operators, by hooks before and after each."""
    # Pooling and shortcuts are no modules of their own here.
    steps = [
        step for _, step in steps_of(network, 1, images.shape[2], images.shape[3], 4, 4) if step.kind not in ("pool", "shortcut")
    ]
    blocks = [part for stage in network.stages.children() for block in stage.children() for part in block.children()]
    head = [part for part in (network.head.wide, network.head.classifier) if not isinstance(part, nn.Identity)]
    started, seconds, handles = 0.0, [0.0] * len(steps), []

    def begin(*_: object) -> None:
        nonlocal started
        started = time.perf_counter()

    def end(index: int, *_: object) -> None:
        seconds[index] = time.perf_counter() - started

    for index, (module, _) in enumerate(zip([network.stem, *blocks, *head], steps, strict=True)):
        handles += [module.register_forward_pre_hook(begin), module.register_forward_hook(partial(end, index))]
    runs = []
    try:
        for _ in range(repeats):
            network(images)
            runs.append(list(seconds))
    finally:
        for handle in handles:
            handle.remove()
    return [replace(step, seconds=taken) for step, taken in zip(steps, min(runs, key=sum), strict=True)]
