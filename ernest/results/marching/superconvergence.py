"""Measures orders of convergence in time: at the ends of the elements, between them, and after how many sweeps (2406.16287).

The implicit scheme is of order 2p at the ends and p + 1 between; without a sweep the linear one is of order p + 1 everywhere.
Errors are those of the time marching alone: the reference has the same grid.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ernest.phasefield.element import Element
from ernest.phasefield.flows import AllenCahn
from ernest.phasefield.grid import Grid
from ernest.phasefield.schemes.gaussseidel import GaussSeidel
from ernest.phasefield.schemes.implicit import Implicit
from ernest.phasefield.schemes.semiimplicit import SemiImplicit
from ernest.phasefield.stepping import Scheme, march
from ernest.results.marching.extrapolation import ExtrapolatedTerm
from ernest.results.marching.forms import FIELD, IMPLICIT, TERM, rms

DEGREES = (2, 3, 4, 5)
FLOW, POINTS, END = AllenCahn(0.1), 32, 2.0
REFERENCE_STEPS = 768
BETWEEN = (-0.5, 0.0, 0.5)
"""Local times of an element at which the error between the ends is looked at."""
FLOOR = 5e-14
"""Errors below are round-off."""


def settings() -> dict[str, object]:
    """What the orders depend on, for results that are kept."""
    counts = [(name, sweeps, counts) for p in DEGREES for name, sweeps, _, counts in schemes(p)]
    return {"flow": repr(FLOW), "points": POINTS, "end": END, "reference": REFERENCE_STEPS, "between": BETWEEN, "counts": counts}


def schemes(degree: int) -> list[tuple[str, int, Scheme, tuple[int, ...]]]:
    """Name, sweeps, scheme and numbers of steps; sweeps up to one more than should be needed."""
    few = {2: (8, 16, 32, 64), 3: (4, 8, 16, 24), 4: (4, 6, 8, 12), 5: (2, 3, 4, 6)}[degree]
    many = {2: (24, 48, 96), 3: (16, 32, 64), 4: (8, 12, 16, 24), 5: (4, 6, 8, 12)}[degree]
    listed: list[tuple[str, int, Scheme, tuple[int, ...]]] = [(IMPLICIT, 0, Implicit(degree, tolerance=1e-15), few)]
    for K in range(degree + 1):
        listed.append((FIELD, K, SemiImplicit(degree, K, 1.0), many))
        listed.append((TERM, K, ExtrapolatedTerm(degree, K, 1.0), many))
    return listed


def reference_fields() -> Tensor:
    """The fields `[REFERENCE_STEPS + 1, *points]` at equal times from the start to the end."""
    grid = Grid.cube(POINTS, 2 * math.pi)
    start = long_waves(grid)
    steps = [END / REFERENCE_STEPS] * REFERENCE_STEPS
    return torch.stack([start, *(element.end for element in march(FLOW, grid, start, steps, GaussSeidel(6, 6, 3)))])


def long_waves(grid: Grid) -> Tensor:
    """Three waves of amplitudes .2 to .4."""
    x, y = grid.coordinates()
    return 0.4 * torch.sin(x) * torch.cos(y) + 0.3 * torch.cos(x + 2 * y) + 0.2 * torch.sin(2 * x - y + 1)


def errors(scheme: Scheme, counts: Sequence[int], exact: Tensor) -> list[dict[str, float]]:
    """For each number of steps the greatest error over the last half of the run: at ends, between, and between once corrected.

    The first half is left out, since the linear schemes begin with an element that is solved to the end.
    """
    grid = Grid.cube(POINTS, 2 * math.pi)
    found = []
    for count in counts:
        worst = {"steps": float(count), "ends": 0.0, "between": 0.0, "corrected": 0.0}
        stride = REFERENCE_STEPS // count
        for number, element in enumerate(march(FLOW, grid, exact[0], [END / count] * count, scheme)):
            if number < count // 2:
                continue
            worst["ends"] = max(worst["ends"], rms(element.end - exact[(number + 1) * stride]))
            for name, one in (("between", element), ("corrected", element.corrected(FLOW))):
                worst[name] = max(worst[name], *_inside(one, exact, number, stride))
        found.append(worst)
    return found


def order(steps: Sequence[float], found: Sequence[float]) -> float:
    """The slope of the error over the length of the steps, between the last two errors above round-off; NaN where there are
    fewer."""
    known = [(n, error) for n, error in zip(steps, found, strict=True) if FLOOR < error < math.inf]
    if len(known) < 2:
        return math.nan
    (n, high), (m, low) = known[-2:]
    return math.log(high / low) / math.log(m / n)


def orders(degree: int) -> dict[str, list[dict[str, object]]]:
    """Errors and orders of every scheme of a degree, as values that JSON knows."""
    exact = reference_fields()
    points, found = [], []
    for name, sweeps, scheme, counts in schemes(degree):
        rows = errors(scheme, counts, exact)
        points += [{"scheme": name, "degree": degree, "sweeps": sweeps} | row for row in rows]
        steps = [row["steps"] for row in rows]
        slopes = {kind: order(steps, [row[kind] for row in rows]) for kind in ("ends", "between", "corrected")}
        found.append({"scheme": name, "degree": degree, "sweeps": sweeps} | slopes)
    return {"errors": points, "orders": found}


def _inside(element: Element, exact: Tensor, number: int, stride: int) -> list[float]:
    places = [(number * stride) + round((xi + 1) / 2 * stride) for xi in BETWEEN]
    fields = element.at(torch.tensor(BETWEEN, dtype=exact.dtype))
    return [rms(field - exact[place]) for field, place in zip(fields, places, strict=True)]
