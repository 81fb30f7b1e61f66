"""A flow's own units, which a tolerance is told in: its own time and the amplitude of its field.

The own time is the reciprocal of a rate, the fastest at which a wave about the most unstable uniform field grows,

    rate = max over the waves of -G (L + a),   a = least f',

which is s for Allen-Cahn and s^2 / (4 kappa) for Cahn-Hilliard; where no wave grows so fast as the slowest decays, it is the
rate of that decay. The amplitude is half the range of u, of the initial field and of what the potential lets the field reach.
Both scale with the problem, so that a run is the same in whatever units its numbers are given.
"""

import math

import torch
from torch import Tensor

from ernest.device import HOST
from ernest.phasefield.evolution.flows import CoupledFlow, VariableFlow
from ernest.phasefield.evolution.run import evolution_units
from ernest.phasefield.flow_terms import check_flow
from ernest.phasefield.flows import Flow
from ernest.phasefield.gradients import outside_inference_mode
from ernest.phasefield.grid import Space
from ernest.phasefield.numeric import number
from ernest.phasefield.potentials import varies
from ernest.phasefield.solver.units import Units, field_range

NEGLIGIBLE = 1e-9
"""Rates below this share of the greatest are those of a conserved mode."""


@outside_inference_mode
def own_units(flow: Flow | VariableFlow | CoupledFlow, grid: Space, u0: Tensor, span: float) -> Units:
    """The flow's own time and its amplitude from the fields `u0` `[..., *points]` on.

    Without a rate the time is the `span` of the run; without an amplitude that is 1. Raises ValueError for fields that do not fit
    the grid and the flow, and for a span that is not positive.
    """
    check_flow(flow, grid, u0)
    span = number("span", span)
    if not 0 < span < math.inf:
        raise ValueError(f"span: expected the length of a run, more than 0, got {span}")
    return units_of(flow, grid, u0, span)


def units_of(flow: Flow | VariableFlow | CoupledFlow, grid: Space, u0: Tensor, span: float) -> Units:
    """`own_units`, of what has been checked."""
    if isinstance(flow, VariableFlow | CoupledFlow):
        return evolution_units(flow, grid, u0, span)
    low, high = field_range(flow.potential, u0)
    rate = _rate(flow, grid, u0, low, high)
    return Units(1 / rate if rate > 0 else span, (high - low) / 2 or float(u0.abs().max()) or 1.0)


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
