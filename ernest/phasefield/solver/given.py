"""Checks what `solve` is given, before any work: what does not fit is told in one line that names it."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ernest.phasefield.evolution.flows import CoupledFlow, VariableFlow
from ernest.phasefield.flow_terms import check_flow
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.numeric import number
from ernest.phasefield.solver.events import Event, check_events
from ernest.phasefield.solver.units import Units

MOST_STEPS = 1e12
"""A run of so many steps takes years, whatever a step costs."""
SHORTEST = 1e-100
"""The shortest run: powers of what is much shorter are zero to a computer."""


def check_input(
    flow: Flow | VariableFlow | CoupledFlow,
    grid: Space,
    u0: Tensor,
    t1: float,
    step: float | None,
    events: tuple[Event, ...],
    steady: float | None,
) -> None:
    """Raise ValueError, before any work, for input that would fail later or give nonsense."""
    check_flow(flow, grid, u0)
    if not isinstance(flow, VariableFlow | CoupledFlow):
        k2 = grid.squared_wavenumbers(u0.dtype, u0.device)
        for name, symbol in (("mobility", flow.mobility(k2)), ("linear", flow.linear(k2))):
            if symbol.requires_grad:
                raise ValueError(f"{name}: solve passes no gradients on to the constants of a flow; march does, or detach them")
    check_events(events, grid, u0)
    if not 0 < t1 < math.inf:
        raise ValueError(f"t1: expected a time after 0, got {t1}")
    if t1 < SHORTEST:
        raise ValueError(f"t1: expected {SHORTEST:g} or more, in whatever units, got {t1}")
    if step is not None and not 0 < step <= t1:
        raise ValueError(f"step: expected a length between 0 and t1 = {t1}, got {step}")
    if steady is not None and not steady > 0:
        raise ValueError(f"steady: expected a positive bound of the speed, got {steady}")


def check_times(
    t1: float, step: float | None, max_step: float, stops: Sequence[float], may_end: bool = False
) -> tuple[float, ...]:
    """The stops as numbers in the order of time. Raises ValueError for times and lengths that are none, and for steps with which
    a run would never end, unless it `may_end` before t1."""
    if isinstance(stops, str) or not hasattr(stops, "__iter__") or getattr(stops, "ndim", 1) != 1:
        raise ValueError(f"stops: expected times, such as [0.5, 1.0], got {stops!r}")
    if not max_step > 0:
        raise ValueError(f"max_step: expected a positive length, got {max_step}")
    if step is not None and step > max_step:
        raise ValueError(f"step: expected a length of at most max_step = {max_step}, got {step}")
    longest = max_step if step is None else step
    if 0 < longest < t1 / MOST_STEPS < math.inf and not may_end:
        name = "max_step" if step is None else "step"
        raise ValueError(f"{name}: expected {t1 / MOST_STEPS:.1e} or more, for a run to t1 = {t1} would never end, got {longest}")
    times = tuple(sorted(number("stops", stop) for stop in stops))
    if not all(map(math.isfinite, times)):
        raise ValueError(f"stops: expected times from 0 to t1 = {t1}, got {list(times)}")
    return times


def check_units(units: Units | None) -> None:
    """Raise ValueError for what is no units."""
    if units is not None and not isinstance(units, Units):
        raise ValueError(f"units: expected Units(time, field), got {units!r}")


def relative_tolerance(tolerance: float, absolute: float | None, units: Units, u0: Tensor) -> float:
    """The tolerance in the problem's units. Raises ValueError for one that is beyond the precision of u0."""
    least = 100 * torch.finfo(u0.dtype).eps
    if absolute is None and not least <= tolerance < 1:
        raise ValueError(f"tolerance: expected {least:.1e} (the round-off of {u0.dtype}) to 1, got {tolerance}")
    if absolute is not None and not least <= absolute / units.speed < 1:
        span = f"{least * units.speed:.1e} (the round-off of {u0.dtype}) to {units.speed:.1e}"
        raise ValueError(f"absolute_tolerance: expected {span}, got {absolute}")
    return tolerance if absolute is None else absolute / units.speed
