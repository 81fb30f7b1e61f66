"""Measures the orders, in space and in time, of flows between walls that hold something, by solutions that are made up.

The exact u and mu are given everywhere, so that a forcing inside and the data at both ends follow from them, for every kind of
ends, at rest or moving, for fields that are conserved or not.
"""

import math
import time as clock
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.findings import Findings
from benchmarks.tables import Figure, Table
from ernest.phasefield import EnergeticElements, Grid, Inflow, Slope, Value, VariableFlow, march
from ernest.phasefield.grid import Boundary, ends_of
from tests.phasefield.evolution.manufactured import derivatives, error, forced, potential_of, with_leaves

LENGTH, TIME = 2.0, 0.5
SIZES, COUNTS, CONSERVED_COUNTS = (8, 16, 32), (4, 8), (16, 32)
"""Points, and steps: those of conserved fields are short enough for waves that are 100 times as stiff."""
KINDS: tuple[Boundary, ...] = ("neumann", "dirichlet", "dirichlet-neumann")  # "neumann-dirichlet" is the mirror image of the last


@dataclass(frozen=True)
class Case:
    """A kind of ends, at rest or moving, and what moves between them."""

    boundary: Boundary
    moving: bool
    conserved: bool

    def exact(self, x: Any, t: Tensor) -> Tensor:
        """Values and slopes at the ends move, or only the middle does."""
        shift = t / 2 if self.moving else 0 * t
        inside = 0 if self.moving else 0.4 * torch.sin(2 * t) * (x[0] * (LENGTH - x[0])) ** 2
        return 0.5 * torch.sin(1.1 * x[0] + 0.3 + shift) + inside

    def flow(self) -> VariableFlow:
        walls = {0: tuple(self._wall(end, sign) for end, sign in zip(ends_of(self.boundary), (-1, 1), strict=True))}
        of_mu = {0: tuple(self._mu_wall(end, sign) for end, sign in zip(ends_of(self.boundary), (-1, 1), strict=True))}
        forcing = _kept(forced(self.exact, _well, [_kappa], _mobility, self.conserved))
        more = {"potential_walls": of_mu} if self.conserved else {}
        return VariableFlow(_well, _kappa, _mobility, self.conserved, 4, forcing=forcing, walls=walls, **more)  # pyright: ignore[reportArgumentType]

    def _wall(self, end: str, sign: int) -> Value | Slope:
        def slope(u: Any, x: Any, t: Tensor) -> Tensor:
            return sign * with_leaves(lambda x, t: derivatives(self.exact(x, t), x)[0], x, t)

        return Value(self.exact) if end == "dirichlet" else Slope(_kept(slope))

    def _mu_wall(self, end: str, sign: int) -> Value | Inflow:
        def mu(x: Any, t: Tensor) -> Tensor:
            return potential_of(self.exact, _well, [_kappa], x, t)

        def inflow(u: Any, x: Any, t: Tensor) -> Tensor:
            return sign * with_leaves(lambda x, t: _mobility(self.exact(x, t), x, t) * derivatives(mu(x, t), x)[0], x, t)

        value = _kept(lambda u, x, t: with_leaves(mu, x, t))
        return Value(lambda x, t: value(None, x, t)) if end == "dirichlet" else Inflow(_kept(inflow))


def _well(u: Tensor, x: Any, t: Tensor) -> Tensor:
    return (u * u - 1) ** 2 / 4


def _kappa(u: Any, x: Any, t: Tensor) -> Tensor:
    return 0.1 + 0.03 * torch.sin(math.pi * x[0])


def _mobility(u: Tensor, x: Any, t: Tensor) -> Tensor:
    return 1 + u * u / 2


def _kept(of: Callable[[Any, Any, Tensor], Tensor]) -> Callable[[Any, Any, Tensor], Tensor]:
    """What does not depend on u, kept: the sweeps of an element ask for the same times again and again."""
    known: dict[tuple[Any, ...], Tensor] = {}

    def value(u: Any, x: Any, t: Tensor) -> Tensor:
        key = tuple(t.flatten().tolist()), tuple(x[0].shape), float(x[0].flatten()[0])
        if key not in known:
            if len(known) > 100:
                known.clear()
            known[key] = of(u, x, t)
        return known[key]

    return value


def measure(quick: bool) -> Findings:
    """The orders of every kind of ends."""
    rows, in_space, in_time = [], {}, {}
    for boundary in KINDS[1:] if quick else KINDS:
        for conserved in (False,) if quick else (False, True):
            for moving in (False, True):
                begun, case = clock.process_time(), Case(boundary, moving, conserved)
                errors, space, when = _orders(case, SIZES[:2] if quick else SIZES, CONSERVED_COUNTS if conserved else COUNTS)
                held = in_space.setdefault("a value" if "dirichlet" in boundary else "slopes", [])
                held.append(space)
                in_time.setdefault(moving, []).append(when)
                words = "conserved" if conserved else "local", "moving" if moving else "at rest"
                shown = [f"{one:.1e}" for one in errors] + [""] * (len(SIZES) - len(errors))
                rows.append((boundary, *words, *shown, f"{space:.2f}", f"{when:.2f}", f"{clock.process_time() - begun:.0f}"))
    bar = None if quick else 3.0
    figures = [Figure(f"walls: least order in space, {name}", min(orders), bar) for name, orders in in_space.items()]
    figures.append(Figure("walls: least order in time of degree 2, walls at rest", min(in_time[False]), None if quick else 3.85))
    figures.append(Figure("walls: least order in time of degree 2, walls that move", min(in_time[True])))
    header = ("ends", "field", "walls", *(f"{n} points" for n in SIZES), "order in space", "order in time", "seconds")
    return Findings(tuple(figures), (Table("Walls: errors over the points, and orders in space and time", header, tuple(rows)),))


def _orders(case: Case, sizes: tuple[int, ...], counts: tuple[int, ...]) -> tuple[list[float], float, float]:
    """Errors and order over the points, and the order in time on few points, against the same points in short steps."""
    flow = case.flow()

    def grid(n: int) -> Grid:
        return Grid((n,), (LENGTH,), case.boundary)

    errors = [error(flow, grid(n), case.exact, TIME, 4, EnergeticElements(3)) for n in sizes]
    few = grid(6)
    start = case.exact(few.coordinates(), torch.zeros((), dtype=torch.float64))
    ends = [_end(flow, few, start, n, EnergeticElements(2)) for n in counts]
    finest = _end(flow, few, start, 2 * counts[-1], EnergeticElements(4))
    in_time = [float((end - finest).square().mean().sqrt()) for end in ends]
    return errors, _order(sizes, errors), _order(counts, in_time)


def _end(flow: VariableFlow, grid: Grid, start: Tensor, steps: int, scheme: EnergeticElements) -> Tensor:
    *_, last = march(flow, grid, start, [TIME / steps] * steps, scheme)  # pyright: ignore[reportArgumentType]
    return last.end


def _order(numbers: tuple[int, ...], errors: list[float]) -> float:
    """That of the finest two."""
    return math.log(errors[-2] / errors[-1]) / math.log(numbers[-1] / numbers[-2])
