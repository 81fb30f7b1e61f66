"""Chooses the stabilisation and the first step lengths of a run, with short steps where the initial field is rough.

The elements damp a mode with z = tau Lambda / 2 beyond about 2 hardly at all (the linear part is the diagonal Pade approximant,
of modulus 1 at infinity). Modes that are driven there lie at their balance with N and do no harm; what a rough start puts
into them must decay, and does so in short elements or with the exponential in place of the Pade approximant.
"""

import math

import torch
from torch import Tensor

from ernest.device import HOST
from ernest.phasefield.flow_terms import forcing_modes, velocity
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.potentials import varies

STEEP = 8.0
"""A mobility that grows by more than this over the modes is that of an H^-1 flow, where N enters with derivatives."""

MOST_HALVINGS, EXPONENTIAL_HALVINGS = 32, 12
"""How often a rough first step is halved, in elements of the run's own scheme and in exponential ones."""


def is_diffusive(flow: Flow, grid: Space) -> bool:
    """Whether the mobility grows with |k|^2, as in Cahn-Hilliard."""
    k2 = grid.squared_wavenumbers(device=HOST)
    mobility = torch.where(k2 > 0, flow.mobility(k2), 0).flatten(-grid.dimensions)
    longest = torch.where(k2 > 0, k2, math.inf).argmin()
    return bool(mobility.max() > STEEP * mobility[..., longest].max())


def stabilisation_for(flow: Flow, u0: Tensor, diffusive: bool) -> float:
    """S from the range of f' over the potential's working range and the values of the initial field u0.

    A potential that differs from point to point is evaluated at u0 only. The midpoint makes N contract fastest. An H^-1
    flow needs S >= max f' / 2: N enters with as many derivatives as half of the linear part, and with less its high modes
    would grow from sweep to sweep.
    """
    if varies(flow.potential):
        return _stabilisation(flow, u0, diffusive)
    return stabilisation_between(flow, float(u0.min()), float(u0.max()), diffusive)


def stabilisation_between(flow: Flow, low: float, high: float, diffusive: bool) -> float:
    """The same where the potential is one for all points and the field's range is known."""
    return _stabilisation(flow, torch.linspace(low, high, 257, dtype=torch.float64, device=HOST), diffusive)


def _stabilisation(flow: Flow, values: Tensor, diffusive: bool) -> float:
    (low, high), slopes = flow.potential.slopes, flow.potential.df(values)
    low, high = min(low, float(slopes.min())), max(high, float(slopes.max()))
    return max(0.0, high / 2 if diffusive else (low + high) / 2)


def time_derivative(flow: Flow, grid: Space, modes: Tensor, time: float, u: Tensor | None = None) -> Tensor:
    """Modes of u_t of the fields with these modes; the fields `u` themselves spare a transform."""
    rate = velocity(modes, flow, grid, u)
    forced = forcing_modes(flow, grid, torch.tensor(time, dtype=modes.real.dtype, device=modes.device))
    return rate if forced is None else rate + forced


def turnover(size: Tensor, rate: Tensor) -> float:
    """The time in which fields would change by their own size, both the norms of u and of u_t `[...]`; of a batch the least."""
    return float((size / rate.clamp(min=1e-300)).min())


def first_step(turnover: float, span: float, share: float = 1e-2) -> float:
    """A length in which the fields change by about this share of their size, and which is at most that share of the run."""
    return share * min(turnover, span) if turnover > 0 else 1e-6 * span


def stiff_imbalance(flow: Flow, grid: Space, speed: Tensor, tau: float) -> float:
    """How far the modes that an element of length tau would not damp are from their balance: the norm of u_t / Lambda there.

    These are the modes with tau Lambda > 2, Lambda = G L; `speed` holds the modes of u_t.
    """
    k2 = grid.squared_wavenumbers(speed.real.dtype, speed.device)
    stiffness = flow.mobility(k2) * flow.linear(k2)
    return float(grid.norm(torch.where(tau * stiffness > 2, speed / stiffness.clamp(min=1e-300), 0)).max())


def is_rough(flow: Flow, grid: Space, size: Tensor, speed: Tensor, tau: float) -> bool:
    """Whether stiff modes of a first field of norm `size`, which elements of length tau would not damp, have a tenth of it to
    lose."""
    return stiff_imbalance(flow, grid, speed, tau) > 0.1 * float(size.max())


def graded_lengths(step: float, first: float, forced: bool = False) -> tuple[tuple[float, ...], bool]:
    """Lengths that double from about `first` on and together make one `step`, and whether they need exponential elements.

    These damp every mode, and so let a start that is too rough for halvings begin with longer elements; but they know no forcing.
    """
    halvings = max(math.ceil(math.log2(step / first)), 0)
    exponential = halvings > MOST_HALVINGS and not forced
    halvings = EXPONENTIAL_HALVINGS if exponential else min(halvings, MOST_HALVINGS)
    return (tuple(step / 2**k for k in (halvings, *range(halvings, 0, -1))) if halvings else ()), exponential
