"""The units that a tolerance is told in: the flow's own time and the amplitude of its field.

The own time is the reciprocal of a rate, the fastest at which a wave about the most unstable uniform field grows,

    rate = max over the waves of -G (L + a),   a = least f',

which is s for Allen-Cahn and s^2 / (4 kappa) for Cahn-Hilliard; where no wave grows so fast as the slowest decays, it is the
rate of that decay. The amplitude is half the range of u, of the initial field and of what the potential lets the field reach.
Both scale with the problem, so that a run is the same in whatever units its numbers are given.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ernest.device import HOST
from ernest.phasefield.evolution.flows import CoupledFlow, VariableFlow
from ernest.phasefield.flows import Flow
from ernest.phasefield.gradients import outside_inference_mode
from ernest.phasefield.grid import Space
from ernest.phasefield.potentials import DoubleWell, FloryHuggins, Polynomial, Potential, domain_of, varies

NEGLIGIBLE = 1e-9
"""Rates below this share of the greatest are those of a conserved mode."""


LEAST_GROWN = 0.03
"""The least share of its amplitude that a field is taken to have."""


@dataclass(frozen=True)
class Units:
    """A tolerance of 1e-6 lets the error grow by 1e-6 `field` in every `time` that passes. Units(1, 1) make it absolute."""

    time: float = 1.0
    field: float = 1.0

    def __post_init__(self) -> None:
        for name in ("time", "field"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"units {name}: expected a positive number, got {value}")

    @property
    def speed(self) -> float:
        """One unit of the field per unit of time."""
        return self.field / self.time


@outside_inference_mode
def own_units(flow: Flow | VariableFlow | CoupledFlow, grid: Space, u0: Tensor, span: float) -> Units:
    """The flow's own time and its amplitude from the fields `u0` `[..., *points]` on.

    Without a rate the time is the `span` of the run; without an amplitude that is 1.
    """
    if isinstance(flow, VariableFlow | CoupledFlow):
        from ernest.phasefield.evolution.run import evolution_units  # which needs Units itself

        return evolution_units(flow, grid, u0, span)
    low, high = field_range(flow.potential, u0)
    rate = _rate(flow, grid, u0, low, high)
    return Units(1 / rate if rate > 0 else span, (high - low) / 2 or float(u0.abs().max()) or 1.0)


def unstable_state(flow: Flow, grid: Space, u0: Tensor) -> Tensor:
    """The uniform field that u leaves, `[..., 1, ..]`: its mean where that is conserved, else the middle of its range."""
    k2 = grid.squared_wavenumbers(device=HOST)
    if bool(((flow.mobility(k2) == 0) & (k2 == 0)).any()):
        return u0.mean(tuple(range(-grid.dimensions, 0)), keepdim=True)
    return torch.full_like(u0.flatten()[:1], sum(field_range(flow.potential, u0)) / 2).reshape([1] * grid.dimensions)


def share_grown(u: Tensor, centre: Tensor, grid: Space, amplitude: float) -> float:
    """How far a field has come on its way from the unstable state, 1 at half of the amplitude; of a batch the least.

    What is still to grow carries errors with it, so that so long only a part of the tolerance may be used.
    """
    deviation = (u - centre).square().mean(tuple(range(-grid.dimensions, 0))).min().sqrt()
    return share_of(float(deviation), amplitude)


def share_of(deviation: float, amplitude: float) -> float:
    """The same from the root of the mean square of what a field deviates by."""
    return min(1.0, max(2 * deviation / amplitude, LEAST_GROWN))


def field_range(potential: Potential, u0: Tensor) -> tuple[float, float]:
    """The least and the greatest u of the initial fields and of the potential's wells."""
    low, high = float(u0.min()), float(u0.max())
    match potential:
        case DoubleWell():
            wells = [-1.0, 1.0]
        case FloryHuggins():
            wells = [-potential.binodal, potential.binodal]
        case Polynomial(coefficients):
            roots = np.asarray(np.polynomial.Polynomial(coefficients).deriv().roots())
            wells = roots.real[np.abs(roots.imag) <= 1e-6 * np.abs(roots)].tolist()
        case _:
            wells = [end for end in domain_of(potential) if math.isfinite(end)]
    return min([low, *wells]), max([high, *wells])


def _rate(flow: Flow, grid: Space, u0: Tensor, low: float, high: float) -> float:
    """The flow's own rate, of a batch the slowest."""
    values = u0 if varies(flow.potential) else torch.linspace(low, high, 259, dtype=torch.float64, device=HOST)[1:-1]
    slopes = torch.cat([flow.potential.df(values).flatten(), values.new_tensor(flow.potential.slopes[:1])])
    k2 = grid.squared_wavenumbers(device=HOST)
    slowing = (flow.mobility(k2) * (flow.linear(k2) + float(slopes[torch.isfinite(slopes)].min()))).flatten(-grid.dimensions)
    least = NEGLIGIBLE * slowing.abs().amax(-1, keepdim=True)
    growth = (-slowing).amax(-1)
    decay = torch.where(slowing > least, slowing, math.inf).amin(-1)
    return float(torch.maximum(growth, torch.where(decay < math.inf, decay, 0)).min())
