"""Real FFTs planned for one size, between one pair of buffers, by the fastest installed of pyfftw, scipy and torch.

A plan owns `real` `[*points]` and `modes` `[*points[:-1], points[-1] // 2 + 1]`. No direction is scaled, so that the
factor 1 / (number of points) can ride along in a kernel that touches the field anyway. All engines agree to round-off.
A plan `in_place`, for large grids, has the field where its modes are, where the engine can do that: lines of the field
then have two more numbers, which mean nothing.
"""

import contextlib
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ernest.storage import write_file

Array = np.ndarray[Any, Any]


class Plan(ABC):
    """Transforms between the buffers `real` and `modes`, of one size and one number of threads."""

    real: Array
    modes: Array

    @property
    def lines(self) -> Array:
        """The memory of `real` in lines of its last axis, `[lines, numbers]`, as many or more than that has points."""
        lines = math.prod(self.real.shape[:-1])
        return self.real.reshape(lines, -1) if self.real.flags.c_contiguous else self.modes.view("float64").reshape(lines, -1)

    @abstractmethod
    def forward(self, into: Array | None = None) -> None:
        """From `real` to `modes`, or to another contiguous array of that shape. `real` may be destroyed."""

    @abstractmethod
    def inverse(self) -> None:
        """From `modes`, which is destroyed, to `real`."""


class FftwPlan(Plan):
    """FFTW with measured plans, which are kept on disk: the next process takes the same plan, and so gets the same bits."""

    def __init__(self, points: tuple[int, ...], threads: int = 1, in_place: bool = False) -> None:
        import pyfftw

        self.modes = pyfftw.zeros_aligned(_mode_shape(points), "complex128")
        self.real = self.modes.view("float64")[..., : points[-1]] if in_place else pyfftw.zeros_aligned(points, "float64")
        _recall_wisdom()
        options: dict[str, Any] = {"axes": tuple(range(len(points))), "threads": threads}
        flags = ("FFTW_MEASURE", "FFTW_DESTROY_INPUT")
        self._forward = pyfftw.FFTW(self.real, self.modes, flags=flags, **options)
        self._inverse = pyfftw.FFTW(self.modes, self.real, direction="FFTW_BACKWARD", flags=flags, **options)
        self._outward, self._target = self._forward, self.modes
        if in_place:  # elsewhere is another plan, and the array that it is made with is let go when it gets the next
            elsewhere = pyfftw.zeros_aligned(_mode_shape(points), "complex128")
            self._outward = pyfftw.FFTW(self.real, elsewhere, flags=flags, **options)
        _keep_wisdom(points, threads, in_place)

    def forward(self, into: Array | None = None) -> None:
        target = self.modes if into is None else into
        plan = self._forward if np.may_share_memory(target, self.modes) else self._outward
        if target is not self._target:
            plan.update_arrays(self.real, target)
            self._target = target
        plan.execute()

    def inverse(self) -> None:
        self._inverse.execute()


class ScipyPlan(Plan):
    """scipy.fft (pocketfft)."""

    def __init__(self, points: tuple[int, ...], threads: int = 1, in_place: bool = False) -> None:
        self.real, self.modes, self._threads = np.zeros(points), np.zeros(_mode_shape(points), complex), threads

    def forward(self, into: Array | None = None) -> None:
        import scipy.fft

        np.copyto(self.modes if into is None else into, np.asarray(scipy.fft.rfftn(self.real, workers=self._threads)))

    def inverse(self) -> None:
        import scipy.fft

        field = scipy.fft.irfftn(self.modes, s=self.real.shape, norm="forward", workers=self._threads)
        np.copyto(self.real, np.asarray(field))


class TorchPlan(Plan):
    """torch.fft, with the number of threads that torch is set to."""

    def __init__(self, points: tuple[int, ...], threads: int = 1, in_place: bool = False) -> None:
        self.real, self.modes = np.zeros(points), np.zeros(_mode_shape(points), complex)

    def forward(self, into: Array | None = None) -> None:
        import torch

        np.copyto(self.modes if into is None else into, torch.fft.rfftn(torch.from_numpy(self.real)).numpy())

    def inverse(self) -> None:
        import torch

        field = torch.fft.irfftn(torch.from_numpy(self.modes), s=self.real.shape, norm="forward")
        np.copyto(self.real, field.numpy())


ENGINES: dict[str, Callable[..., Plan]] = {"pyfftw": FftwPlan, "scipy": ScipyPlan, "torch": TorchPlan}


def installed_engines() -> list[str]:
    """Names of the FFT engines that can be imported here; torch always can."""
    return [name for name in ENGINES if find_spec(name) is not None]


def milliseconds_per_fft(engine: str, points: tuple[int, ...], threads: int = 1, repeats: int = 20) -> float:
    """Milliseconds of one real FFT: half of the fastest of `repeats` pairs of a forward and an inverse one."""
    plan = ENGINES[engine](points, threads)
    plan.real[...] = np.random.default_rng(0).standard_normal(points)
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        plan.forward()
        plan.inverse()
        times.append(time.perf_counter() - started)
        plan.real /= math.prod(points)
    # The first pair warms up.
    return 500 * min(times[1:])


@cache
def engine_times(points: tuple[int, ...], threads: int = 1) -> dict[str, float]:
    """Milliseconds per FFT of every installed engine, measured once per size and number of threads."""
    return {engine: milliseconds_per_fft(engine, points, threads) for engine in installed_engines()}


def fastest_plan(points: tuple[int, ...], threads: int = 1, in_place: bool = False) -> Plan:
    """A new plan of the engine that is fastest for this size. FFTW, where it is installed, needs no race: it always wins, and
    alone transforms in place."""
    if "pyfftw" in installed_engines():
        return FftwPlan(points, threads, in_place)
    times = engine_times(points, threads)
    return ENGINES[min(times, key=lambda engine: times[engine])](points, threads)


def describe_engines(points: tuple[int, ...], threads: int = 1) -> str:
    """One line for a log: the milliseconds per FFT of each engine, fastest first."""
    times = sorted(engine_times(points, threads).items(), key=lambda pair: pair[1])
    size = " x ".join(map(str, points))
    return f"ms per FFT of {size} on {threads} thread{'s' * (threads > 1)}: " + ", ".join(
        f"{name} {ms:.3f}" for name, ms in times
    )


def _mode_shape(points: tuple[int, ...]) -> tuple[int, ...]:
    return (*points[:-1], points[-1] // 2 + 1)


def _wisdom_path() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ernest" / "fftw-wisdom"


@cache
def _recall_wisdom() -> None:
    """Read the plans of earlier processes, once."""
    import pyfftw

    with contextlib.suppress(OSError):
        pyfftw.import_wisdom((_wisdom_path().read_bytes(), b"", b""))


@cache
def _keep_wisdom(points: tuple[int, ...], threads: int, in_place: bool) -> None:
    """Write all known plans to disk, after the first plan of a size.

    Where the cache cannot be written, plans last as long as the process.
    """
    import pyfftw

    wisdom, path = pyfftw.export_wisdom()[0], _wisdom_path()
    with contextlib.suppress(OSError):
        if path.exists() and set(path.read_bytes().splitlines()) == set(wisdom.splitlines()):  # told in any order
            return
        with write_file(path) as aside:
            aside.write_bytes(wisdom)
