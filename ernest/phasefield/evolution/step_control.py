"""Chooses the lengths of elements: the first one, the next one, and how far the element of one degree less lies off."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ernest.phasefield.element import Element
from ernest.phasefield.evolution.elements import EnergeticStepper
from ernest.phasefield.solver.units import Units
from ernest.phasefield.stepping import DivergenceError, State

SAFETY, LEAST_FACTOR, MOST_FACTOR = 0.9, 0.2, 2.0
"""The share that is taken of the length which the error would allow, and the least and the most by which it changes at once."""
MARGIN = 5.0
"""Times the distance of the ends of two degrees that counts as the error: where a flow takes its waves apart, as at the beginning
of a spinodal decomposition, what an element errs by grows on. 2 is not enough: one of 40 random flows then erred by 1.9 times
what is allowed (`python -m benchmarks.phasefield --part varying`)."""
MOST_APART = 0.1
"""Share of the amplitude that both ends may lie apart in any one point: a mean square does not see a point that a step carries
over the edge of its well, from where it may never come back."""


def first_length(stepper: EnergeticStepper, u0: Tensor, rate: float, units: Units, t1: float) -> float:
    """A length in which the fields change by a small share, to begin with; what is wrong with it is found by the estimate."""
    _, element, _ = tried(stepper, stepper.init(u0), min(1e-6 * units.time, t1))
    speed = float(stepper.grid.norm(element.end_modes - element.start_modes).max()) / float(element.tau)
    share = min((rate / units.speed) ** (1 / (2 * stepper.scheme.degree - 1)), 0.1)
    return max(share * units.field / speed if speed > 0 else t1, 1e-9 * min(units.time, t1))


def tried(stepper: EnergeticStepper, state: State, tau: float) -> tuple[State, Element, Any]:
    """A step, shorter where sweeps diverge; DivergenceError where none works."""
    for _ in range(40):
        try:
            return stepper.step(state, tau)
        except DivergenceError:
            tau /= 4
    return stepper.step(state, tau)


def left_until_stop(time: float, stops: Sequence[float], t1: float) -> float:
    """From `time` to the next of the stops, or to the end of the run."""
    return min((stop for stop in (*stops, t1) if stop > time * (1 + 1e-12)), default=t1) - time


def next_length(tau: float, left: float, prescribed: bool) -> float:
    """The length of the next element where so much is `left` to a time that one has to end at."""
    if prescribed:
        return left if left < tau * (1 - 1e-9) else tau
    return left if left < 1.0001 * tau else left / 2 if left < 1.8 * tau else tau


def factor_for(error: float, rate: float, order: int, most: float = MOST_FACTOR) -> float:
    """By how much the next element is longer, after one whose end errs by `error` per unit of time, where `rate` is allowed."""
    return most if error == 0 else min(max(SAFETY * (rate / error) ** (1 / order), LEAST_FACTOR), most)


def distance(stepper: EnergeticStepper, element: Element, rate: float, amplitude: float) -> float:
    """How far the end of the element of one degree less lies, per unit of time; 0 where that is round-off, and infinite where
    it is no approximation in some point.
    """
    d, grid, tau = stepper.grid.dimensions, stepper.grid, float(element.tau)
    p, dissipated = element.degree, stepper.dissipated
    start, c = element.start_modes, element.coefficients
    if stepper.single:
        start, c = start.unsqueeze(-1 - d), c.unsqueeze(-2 - d)
    size = max(float(grid.norm(start).max()), 1e-300)
    enough = max(0.02 * rate * tau / size, stepper.scheme.tolerance)
    lower, _ = stepper.solve(start, c.narrow(-1 - d, 0, p - 1), float(element.time), tau, p - 1, enough=enough)
    stepper.dissipated = dissipated
    apart = lower.select(-1 - d, 0) - c.select(-1 - d, 0)
    distance = MARGIN * float(grid.norm(apart).max())
    if distance < 100 * torch.finfo(start.real.dtype).eps * size:
        return 0.0
    return distance / tau if 2 * float(grid.field(apart).abs().max()) < MOST_APART * amplitude else math.inf
