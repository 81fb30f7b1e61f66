"""Gradient flows u_t = -G dE/du + forcing, of energies E(u) = 1/2 (u, L u) + integral of F(u).

The mobility G >= 0 and the linear operator L are constant and diagonal in the modes of the grid, so each is given by
its symbol, a function of |k|^2 (a tensor `[*mode_shape]`). What G sends to zero is conserved. Numbers such as
kappa may be tensors `[batch]`, one value for each member of a batch of fields.

The flows below are put together from three mobilities, three linear operators and three potentials.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from ernest.phasefield.grid import Space
from ernest.phasefield.potentials import DoubleWell, FloryHuggins, Polynomial, Potential

Symbol = Callable[[Tensor], Tensor]
Forcing = Callable[[Tensor, tuple[Tensor, ...]], Tensor]
"""forcing(time, coordinates): `time` is a tensor that broadcasts against the coordinates, as does the result."""


class Flow(Protocol):
    """Interface of a flow: mobility G and linear operator L as symbols of |k|^2, potential F, and an optional forcing."""

    @property
    def mobility(self) -> Symbol: ...

    @property
    def linear(self) -> Symbol: ...

    @property
    def potential(self) -> Potential: ...

    @property
    def forcing(self) -> Forcing | None: ...


def _local(flow: Any, k2: Tensor) -> Tensor:
    """G = gamma: every point moves by itself."""
    return per_member(flow.gamma, k2) * torch.ones_like(k2)


def _local_but_the_mean(flow: Any, k2: Tensor) -> Tensor:
    """G = gamma (I - mean), diagonal where the constants are a mode: on periodic and Neumann grids."""
    return per_member(flow.gamma, k2) * (k2 > 0).to(k2.dtype)


def _diffusive(flow: Any, k2: Tensor) -> Tensor:
    """G = -gamma Laplace: mass moves by diffusion only."""
    return per_member(flow.gamma, k2) * k2


def _surface(flow: Any, k2: Tensor) -> Tensor:
    """L = -kappa Laplace, which punishes interfaces."""
    return per_member(flow.kappa, k2) * k2


def _surface_and_repulsion(flow: Any, k2: Tensor) -> Tensor:
    """L = -kappa Laplace + A (-Laplace)^{-1}; the mean has no place in the long-range energy."""
    inverse = torch.where(k2 > 0, 1 / torch.where(k2 > 0, k2, 1), 0)
    return _surface(flow, k2) + per_member(flow.A, k2) * inverse


def _pattern(flow: Any, k2: Tensor) -> Tensor:
    """L = (1 + Laplace)^2, which favours waves of length 2 pi."""
    return (1 - k2) ** 2


@property
def _double_well(flow: Any) -> Potential:
    return DoubleWell(flow.s)


@property
def _driven(flow: Any) -> Potential:
    """F = u^4/4 - r u^2/2. Stripes have the amplitude 2 sqrt(r / 3); where none grow, any reach will do."""
    return Polynomial((0.0, 0.0, -flow.r / 2, 0.0, 0.25), reach=2 * (max(flow.r, 0.01) / 3) ** 0.5)


@property
def _logarithmic(flow: Any) -> Potential:
    return FloryHuggins(flow.theta, flow.theta0)


def _check_numbers(flow: Any) -> None:
    """Raise ValueError, with the number's name, for a kappa, A, s or gamma that is not positive."""
    for name in ("kappa", "A", "s", "gamma"):
        number = getattr(flow, name, 1.0)
        if not bool((torch.as_tensor(number) > 0).all()):
            words = re.sub("(?<=[a-z])(?=[A-Z])", "-", type(flow).__name__)
            raise ValueError(f"{words}: {name} must be positive, got {name}={number}")


@dataclass(frozen=True)
class AllenCahn:
    """u_t = gamma (kappa Laplace(u) - s (u^3 - u)). Interfaces move with their curvature."""

    kappa: float | Tensor
    s: float = 1.0
    gamma: float | Tensor = 1.0
    forcing: Forcing | None = field(default=None, kw_only=True)

    __post_init__ = _check_numbers
    mobility, linear, potential = _local, _surface, _double_well


@dataclass(frozen=True)
class ConservativeAllenCahn:
    """u_t = gamma (kappa Laplace(u) - s (u^3 - u) + mean of s (u^3 - u)): Allen-Cahn with the multiplier that keeps the mass."""

    kappa: float | Tensor
    s: float = 1.0
    gamma: float | Tensor = 1.0
    forcing: Forcing | None = field(default=None, kw_only=True)

    __post_init__ = _check_numbers
    mobility, linear, potential = _local_but_the_mean, _surface, _double_well


@dataclass(frozen=True)
class CahnHilliard:
    """u_t = gamma Laplace(s (u^3 - u) - kappa Laplace(u)): mass moves by diffusion only."""

    kappa: float | Tensor
    s: float = 1.0
    gamma: float | Tensor = 1.0
    forcing: Forcing | None = field(default=None, kw_only=True)

    __post_init__ = _check_numbers
    mobility, linear, potential = _diffusive, _surface, _double_well


@dataclass(frozen=True)
class SwiftHohenberg:
    """u_t = gamma (r u - (1 + Laplace)^2 u - u^3): stripes of wavelength 2 pi grow where r > 0."""

    r: float
    gamma: float | Tensor = 1.0
    forcing: Forcing | None = field(default=None, kw_only=True)

    __post_init__ = _check_numbers
    mobility, linear, potential = _local, _pattern, _driven


@dataclass(frozen=True)
class PhaseFieldCrystal:
    """u_t = gamma Laplace((1 + Laplace)^2 u + u^3 - r u): Swift-Hohenberg's energy at constant mass."""

    r: float
    gamma: float | Tensor = 1.0
    forcing: Forcing | None = field(default=None, kw_only=True)

    __post_init__ = _check_numbers
    mobility, linear, potential = _diffusive, _pattern, _driven


@dataclass(frozen=True)
class OhtaKawasaki:
    """Cahn-Hilliard with L = -kappa Laplace + A (-Laplace)^{-1}: block copolymers, where A keeps the domains small."""

    kappa: float | Tensor
    A: float | Tensor
    s: float = 1.0
    gamma: float | Tensor = 1.0
    forcing: Forcing | None = field(default=None, kw_only=True)

    __post_init__ = _check_numbers
    mobility, linear, potential = _diffusive, _surface_and_repulsion, _double_well


@dataclass(frozen=True)
class FloryHugginsAllenCahn:
    """u_t = gamma (kappa Laplace(u) - f(u)) with the logarithmic potential, on -1 < u < 1."""

    kappa: float | Tensor
    theta: float
    theta0: float
    gamma: float | Tensor = 1.0
    forcing: Forcing | None = field(default=None, kw_only=True)

    __post_init__ = _check_numbers
    mobility, linear, potential = _local, _surface, _logarithmic


@dataclass(frozen=True)
class FloryHugginsCahnHilliard:
    """u_t = gamma Laplace(f(u) - kappa Laplace(u)) with the logarithmic potential, on -1 < u < 1."""

    kappa: float | Tensor
    theta: float
    theta0: float
    gamma: float | Tensor = 1.0
    forcing: Forcing | None = field(default=None, kw_only=True)

    __post_init__ = _check_numbers
    mobility, linear, potential = _diffusive, _surface, _logarithmic


@dataclass(frozen=True)
class GradientFlow:
    """The user's own flow: two symbols, functions of |k|^2, and a potential."""

    mobility: Symbol
    linear: Symbol
    potential: Potential
    forcing: Forcing | None = field(default=None, kw_only=True)


def energy_of(u: Tensor, flow: Flow, grid: Space) -> Tensor:
    """Energy E of fields `[..., *points]`: `[...]`.

    The quadratic part is exact for the interpolant (Parseval), the rest is the sum over the grid; the ends that a
    Dirichlet grid leaves out count with u = 0.
    """
    axes = tuple(range(-grid.dimensions, 0))
    k2 = grid.squared_wavenumbers(u.dtype, u.device)
    quadratic = (grid.weights(u.dtype, u.device) * flow.linear(k2) * grid.modes(u).abs() ** 2).sum(axes) / 2
    ends = (grid.volume - grid.integral(torch.ones_like(u))) * flow.potential.F(torch.zeros_like(u[..., :1])).flatten()[0]
    return quadratic + grid.integral(flow.potential.F(u)) + ends


def velocity(modes: Tensor, flow: Flow, grid: Space) -> Tensor:
    """Modes of -G dE/du of the fields with modes `[..., *mode_shape]`; the forcing is not in it."""
    k2 = grid.squared_wavenumbers(modes.real.dtype, modes.device)
    return -flow.mobility(k2) * (flow.linear(k2) * modes + grid.modes(flow.potential.f(grid.field(modes))))


def forcing_modes(flow: Flow, grid: Space, times: Tensor) -> Tensor | None:
    """Modes `[..., *mode_shape]` of the flow's forcing at `times` `[...]`, in their precision; None if it has none."""
    if flow.forcing is None:
        return None
    spread = times.reshape(*times.shape, *[1] * grid.dimensions)
    fields = flow.forcing(spread, grid.coordinates(times.dtype, times.device))
    return grid.modes(fields.expand(*times.shape, *grid.points))


def mass_of(u: Tensor, grid: Space) -> Tensor:
    """Integral of fields `[..., *points]` over the box, `[...]`."""
    return grid.integral(u)


def check_flow(flow: Flow, grid: Space, u0: Tensor) -> None:
    """Raise ValueError unless the flow's operators fit the grid and the initial fields `u0` fit both."""
    grid.check_field(u0, "u0")
    if not u0.numel():
        raise ValueError(f"u0: expected one field or more, got none: {list(u0.shape)}")
    if isinstance(flow, ConservativeAllenCahn) and "dirichlet" in grid.boundaries:
        raise ValueError("conservative Allen-Cahn: its mean is no mode of a Dirichlet grid; expected a periodic or Neumann grid")
    k2 = grid.squared_wavenumbers(u0.dtype, u0.device)
    for name, symbol in (("mobility", flow.mobility(k2)), ("linear", flow.linear(k2))):
        if symbol.shape[symbol.ndim - k2.ndim :] != k2.shape or symbol.ndim < k2.ndim or symbol.is_complex():
            raise ValueError(f"{name}: expected a real symbol {list(k2.shape)} of |k|^2 on this grid, got {list(symbol.shape)}")
        batch = u0.shape[: u0.ndim - grid.dimensions]
        if symbol.shape[: symbol.ndim - k2.ndim] not in ((), batch):
            raise ValueError(f"{name}: expected one value for each of the members {list(batch)}, got {list(symbol.shape)}")
        if not bool((torch.isfinite(symbol) & (symbol >= 0)).all()):
            raise ValueError(f"{name}: expected a symbol that is finite and nowhere negative, got a least of {symbol.min()}")
    low, high = flow.potential.domain
    if not bool(((u0 > low) & (u0 < high)).all()):
        span = f"{u0.min()} to {u0.max()}"
        raise ValueError(f"u0: expected values inside the potential's domain {low} < u < {high}, got {span}")


def varies_in_space(flow: Flow, u0: Tensor, dimensions: int) -> bool:
    """Whether the potential differs from point to point, as a potential with coefficients `[*points]` does."""
    one = u0.flatten()[:1].reshape([1] * dimensions)
    return flow.potential.df(one).numel() > 1 or flow.potential.f(one).numel() > 1


def per_member(value: float | Tensor, k2: Tensor) -> float | Tensor:
    """A number as it is, and a tensor `[batch]` with an axis of size 1 for each axis of the modes."""
    if not isinstance(value, Tensor):
        return value
    return value.to(k2).reshape(*value.shape, *[1] * k2.ndim)
