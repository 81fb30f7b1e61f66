"""Whole runs of several methods, taken in turn, and the time in which each would reach an error.

A run is timed from the field at the start to the field at the end, the first element and both transforms charged, by the
processor's clock. Coefficients that depend on the problem and the step are made before, for every method alike.
"""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import torch
from torch import Tensor

from benchmarks.phasefield.problems import Problem
from ernest.phasefield.compiled.exponential import FusedIMEXBDF4
from ernest.phasefield.compiled.stepper import FusedStepper, fused_stepper
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Grid
from ernest.phasefield.stepping import Scheme


@dataclass(frozen=True)
class Entrant:
    """A scheme and the numbers of steps that it runs in, few to many."""

    name: str
    scheme: Scheme
    counts: tuple[int, ...]
    ours: bool = True


@dataclass
class Timed:
    """One entrant with one number of steps."""

    steps: int
    error: float
    seconds: list[float]

    def time(self, least: bool = False) -> float:
        """The median or the least; the first run, which warms, counts only if there is no other."""
        warm = self.seconds[1:] or self.seconds
        return min(warm) if least else median(warm)


FAR = 0.2
"""Errors above are those of runs that are not on their way."""
Curve = tuple[tuple[float, float], ...]
"""Pairs of seconds and error, from few steps to many."""


@dataclass(frozen=True)
class Race:
    """All runs of all entrants on one problem: `begin` warms them, each `turn` times them all once more."""

    problem: Problem
    entrants: tuple[Entrant, ...]
    runs: Mapping[str, tuple[Timed, ...]]
    ready: tuple[tuple[FusedStepper, Timed], ...]

    @classmethod
    def begin(cls, problem: Problem, entrants: Sequence[Entrant]) -> "Race":
        """Every run once, to see its error. Those that stay far from the solution (an error above 0.2) do not run again."""
        ready: list[tuple[FusedStepper, Timed]] = []
        runs: dict[str, list[Timed]] = {}
        for entrant in entrants:
            for count in entrant.counts:
                stepper = fused(entrant.scheme, problem.flow, problem.grid)
                stepper.prepare(problem.end / count)
                seconds, end = whole_run(stepper, problem, count)
                timed = Timed(count, problem.error(end), [seconds])
                runs.setdefault(entrant.name, []).append(timed)
                if timed.error < FAR:
                    ready.append((stepper, timed))
        return cls(problem, tuple(entrants), {name: tuple(timed) for name, timed in runs.items()}, tuple(ready))

    def turn(self) -> None:
        for stepper, timed in self.ready:
            timed.seconds.append(whole_run(stepper, self.problem, timed.steps)[0])

    @property
    def ours(self) -> list[str]:
        return [entrant.name for entrant in self.entrants if entrant.ours]

    def curve(self, name: str, least: bool = False) -> Curve:
        """Medians over the turns, or the least of them."""
        return tuple((timed.time(least), timed.error) for timed in self.runs[name])

    def fastest(self, names: Iterable[str], error: float, least: bool = False) -> tuple[float, str]:
        """The shortest time to the error, and whose it is; (inf, "") if nobody reaches it."""
        times = [(seconds_to(error, self.curve(name, least)), name) for name in names]
        return min((t for t in times if math.isfinite(t[0])), default=(math.inf, ""))


def seconds_to(error: float, curve: Curve) -> float:
    """The time at which a curve passes the error: straight between its points on logarithmic axes.

    Nothing is read between a point that is `FAR` off and the next. Infinite where the curve stays above; the first point's
    time where all of it lies below.
    """
    seconds, least = curve[0]
    if least <= error:
        return seconds
    for (before, high), (after, low) in pairwise(curve):
        if high > error >= low:
            if high > FAR or low == 0:
                return after
            share = math.log(high / error) / math.log(high / low)
            return before * (after / before) ** share
    return math.inf


def race(problem: Problem, entrants: Sequence[Entrant], turns: int) -> Race:
    """A race of so many turns."""
    result = Race.begin(problem, entrants)
    for _ in range(turns):
        result.turn()
    return result


def fused(scheme: Scheme, flow: Flow, grid: Grid, threads: int = 1) -> FusedStepper:
    """The fused stepper. Raises RuntimeError where numba or pyfftw is missing: nothing else would compare like with like."""
    stepper = fused_stepper(scheme, flow, grid, threads)
    if stepper is None:
        raise RuntimeError("the comparisons need numba and pyfftw: pip install 'ernest-ai[fast]'")
    return stepper


def whole_run(stepper: FusedStepper, problem: Problem, steps: int) -> tuple[float, Tensor]:
    """Seconds of the processor and the field `[*points]` at the end.

    The start of IMEX-BDF4 is not charged, for it is a method of ours: its time is that of the other steps, as if they were all.
    """
    begun = time.process_time()
    end = stepper.run(problem.start, problem.end / steps, steps)
    seconds = time.process_time() - begun
    if isinstance(stepper, FusedIMEXBDF4):
        seconds = (seconds - stepper.start_seconds) * steps / (steps - 3)
    return seconds, end


def order(runs: Sequence[Timed]) -> float:
    """The slope of the error over the length of the steps, by regression on logarithmic axes."""
    steps = torch.tensor([timed.steps for timed in runs], dtype=torch.float64).log()
    errors = torch.tensor([timed.error for timed in runs], dtype=torch.float64).log()
    steps = steps - steps.mean()
    return -float((steps * errors).sum() / steps.square().sum())
