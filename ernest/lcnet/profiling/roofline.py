"""What one core of this machine can do at most, measured: arithmetic by precision, reading by how many bytes there are.

S. Williams, A. Waterman, D. Patterson, "Roofline", CACM 52 (2009): a layer takes no less time than its arithmetic at the
peak, and no less than its bytes at the bandwidth of the memory that holds them. Nothing is looked up.
"""

import ctypes
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch

from ernest import device
from ernest.lcnet.native import build

KIBIBYTE = 1024
FOOTPRINTS = tuple(size * KIBIBYTE for size in (16, 256, 1024, 4096, 16384, 131072))
"""From what the nearest cache holds to what only memory holds."""
BURST = 0.004
"""Seconds of one measurement: long against the clock, short against whatever else may want the core."""


@dataclass(frozen=True)
class Roofline:
    """Of one core. `peaks`: operations a second by precision, two a multiply-add. `bandwidths`: bytes a second by footprint."""

    instructions: str
    peaks: Mapping[str, float]
    bandwidths: tuple[tuple[int, float], ...]

    def bandwidth(self, footprint: float) -> float:
        """How fast so many bytes are read again and again: that of the smallest measured footprint that holds them."""
        return next((rate for size, rate in self.bandwidths if size >= footprint), self.bandwidths[-1][1])

    def arithmetic(self, flops: float, precision: str) -> float:
        """Seconds at the peak."""
        return flops / self.peaks[precision]

    def reading(self, size: float) -> float:
        """Seconds that so many bytes take out of the nearest memory that holds them."""
        return size / self.bandwidth(size)

    def best_of(self, other: "Roofline") -> "Roofline":
        """The best of two measurements of the same core."""
        peaks = {name: max(rate, other.peaks[name]) for name, rate in self.peaks.items()}
        rates = tuple(
            (size, max(rate, there)) for (size, rate), (_, there) in zip(self.bandwidths, other.bandwidths, strict=True)
        )
        return Roofline(self.instructions, MappingProxyType(peaks), rates)

    def __str__(self) -> str:
        peaks = ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in self.peaks.items())
        rates = ", ".join(f"{size // KIBIBYTE:,} KiB {rate / 1e9:.0f}" for size, rate in self.bandwidths)
        return f"one core, {self.instructions}: GFLOP/s {peaks}; GB/s out of {rates}"


def measure(instructions: str | None = None, repeats: int = 9) -> Roofline:
    """The roofline of the core that this thread runs on, the best of `repeats` bursts each, in about half a second.

    The arithmetic is that of the named instruction set of `ernest.lcnet.native`, None for the best there is. Without a
    compiler torch's products of matrices and sums stand in for it, which reach a little less.
    """
    chosen = instructions or build.available()[0]
    try:
        library = build.library(chosen, "peak.cpp")
    except build.BuildError:
        return _by_torch(repeats)
    peaks = {}
    for precision in ("fp32", "fp16", "bf16", "int8"):
        function = _declared(library, f"peak_{precision}", 1)
        if function(1):
            peaks[precision] = _best_rate(function, repeats)
    # Where narrow arithmetic is missing, or slow, wide arithmetic does its work.
    for narrow, wide in (("fp16", "fp32"), ("bf16", "fp32"), ("int8", "bf16")):
        peaks[narrow] = max(peaks.get(narrow, 0.0), peaks[wide])
    block, read = torch.ones(FOOTPRINTS[-1] // 4 + 16), _declared(library, "read_block", 3)
    start = block.data_ptr() + -block.data_ptr() % 64
    rates = ((size, _best_rate(lambda loops, size=size: read(start, size, loops), repeats)) for size in FOOTPRINTS)
    return Roofline(chosen, MappingProxyType(peaks), tuple(rates))


def _declared(library: ctypes.CDLL, name: str, arguments: int) -> Callable[..., int]:
    """A function of 64-bit integers, addresses among them."""
    function = library[name]
    function.restype, function.argtypes = ctypes.c_int64, [ctypes.c_int64] * arguments
    return function


def _best_rate(work: Callable[[int], int], repeats: int) -> float:
    """Units a second of `work(loops)`, which says how many units that was; `loops` grows until a burst is long enough."""
    loops, seconds = 1, 0.0
    while seconds < BURST:
        loops = max(2 * loops, int(loops * 1.2 * BURST / seconds) if seconds > BURST / 100 else 0)
        seconds, _ = _timed(work, loops)
    return max(units / seconds for seconds, units in (_timed(work, loops) for _ in range(repeats)))


def _timed(work: Callable[[int], int], loops: int) -> tuple[float, int]:
    started = time.perf_counter()
    units = work(loops)
    return time.perf_counter() - started, units


def _by_torch(repeats: int) -> Roofline:
    """The same by torch's own kernels, on one thread."""
    with device.threads(1):
        side = 768
        matrix = torch.rand(side, side)

        def multiply(loops: int) -> int:
            for _ in range(loops):
                torch.mm(matrix, matrix)
            return loops * 2 * side**3

        def read(row: torch.Tensor) -> Callable[[int], int]:
            def work(loops: int) -> int:
                row.expand(loops, -1).sum(1)
                return loops * row.numel() * 4

            return work

        peak = _best_rate(multiply, repeats)
        rates = tuple((size, _best_rate(read(torch.ones(size // 4)), repeats)) for size in FOOTPRINTS)
    return Roofline("torch", MappingProxyType(dict.fromkeys(("fp32", "fp16", "bf16", "int8"), peak)), rates)
