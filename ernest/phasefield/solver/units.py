"""The units that a tolerance is told in, a time and an amplitude, and how far a field has come on its way to that amplitude."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ernest.device import HOST
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.numeric import number
from ernest.phasefield.potentials import DoubleWell, FloryHuggins, Polynomial, Potential, domain_of

LEAST_GROWN = 0.03
"""The least share of its amplitude that a field is taken to have."""


@dataclass(frozen=True)
class Units:
    """A tolerance of 1e-6 lets the error grow by 1e-6 `field` in every `time` that passes. Units(1, 1) make it absolute."""

    time: float = 1.0
    field: float = 1.0

    def __post_init__(self) -> None:
        for name in ("time", "field"):
            value = number(f"units {name}", getattr(self, name))
            if not 0 < value < math.inf:
                raise ValueError(f"units {name}: expected a positive number, got {value}")
            object.__setattr__(self, name, value)

    @property
    def speed(self) -> float:
        """One unit of the field per unit of time."""
        return self.field / self.time


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
