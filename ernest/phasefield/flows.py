"""Gradient flows u_t = -G dE/du + forcing, of energies E(u) = 1/2 (u, L u) + integral of F(u).

The mobility G >= 0 and the linear operator L are constant and diagonal in the modes of the grid, so each is given by
its symbol, a function of |k|^2 (a tensor `[*mode_shape]`). What G sends to zero is conserved. A constant is a number of
Python, numpy or torch; kappa, A and gamma may also be lists, arrays or tensors `[batch]`, one value for each member of a
batch of fields.

The flows below are put together from three mobilities, three linear operators and three potentials.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from ernest.device import HOST
from ernest.phasefield.grid import Space
from ernest.phasefield.potentials import (
    DoubleWell,
    FloryHuggins,
    Polynomial,
    Potential,
    domain_of,
    energy_density,
    limit_at,
    slope_inside,
)

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


def _check_constants(flow: Any) -> None:
    """Sets the constants of a flow as floats or tensors. Raises ValueError, with the constant's name, for what is none."""
    words = re.sub("(?<=[a-z])(?=[A-Z])", "-", type(flow).__name__)
    for each in fields(flow):
        if each.name != "forcing":
            object.__setattr__(flow, each.name, _constant(f"{words}: {each.name}", getattr(flow, each.name), each.name))
    _check_forcing(flow.forcing)


def _constant(words: str, value: Any, name: str) -> float | Tensor:
    """A number as a float, but as a tensor where gradients pass; several numbers as a float64 tensor `[batch]`."""
    if isinstance(value, Tensor):
        number = value if value.is_floating_point() else value.double() if not value.is_complex() else None
    else:
        try:
            number = torch.from_numpy(np.array(value, dtype=np.float64)) if not isinstance(value, bool | str | None) else None
        except (TypeError, ValueError):
            number = None
    several = name in ("kappa", "A", "gamma")
    if number is None or number.ndim > several or not number.numel():
        expected = "a number, or one for each member of a batch" if several else "one number"
        got = f"one of shape {list(number.shape)}" if number is not None else repr(value)
        raise ValueError(f"{words}: expected {expected}, got {got}")
    signed = name in ("r", "theta", "theta0")  # the potential looks at theta
    if not bool((torch.isfinite(number) if signed else number > 0).all()):
        raise ValueError(f"{words} must be {'finite' if signed else 'positive'}, got {name}={value}")
    return number if number.ndim or number.requires_grad else float(number)


def _check_forcing(forcing: Any) -> None:
    if forcing is not None and not callable(forcing):
        raise ValueError(f"forcing: expected a function of (time, coordinates), got {forcing!r}")


@dataclass(frozen=True)
class AllenCahn:
    """u_t = gamma (kappa Laplace(u) - s (u^3 - u)). Interfaces move with their curvature."""

    kappa: float | Tensor
    s: float = 1.0
    gamma: float | Tensor = 1.0
    forcing: Forcing | None = field(default=None, kw_only=True)

    __post_init__ = _check_constants
    mobility, linear, potential = _local, _surface, _double_well


@dataclass(frozen=True)
class ConservativeAllenCahn:
    """u_t = gamma (kappa Laplace(u) - s (u^3 - u) + mean of s (u^3 - u)): Allen-Cahn with the multiplier that keeps the mass."""

    kappa: float | Tensor
    s: float = 1.0
    gamma: float | Tensor = 1.0
    forcing: Forcing | None = field(default=None, kw_only=True)

    __post_init__ = _check_constants
    mobility, linear, potential = _local_but_the_mean, _surface, _double_well


@dataclass(frozen=True)
class CahnHilliard:
    """u_t = gamma Laplace(s (u^3 - u) - kappa Laplace(u)): mass moves by diffusion only."""

    kappa: float | Tensor
    s: float = 1.0
    gamma: float | Tensor = 1.0
    forcing: Forcing | None = field(default=None, kw_only=True)

    __post_init__ = _check_constants
    mobility, linear, potential = _diffusive, _surface, _double_well


@dataclass(frozen=True)
class SwiftHohenberg:
    """u_t = gamma (r u - (1 + Laplace)^2 u - u^3): stripes of wavelength 2 pi grow where r > 0."""

    r: float
    gamma: float | Tensor = 1.0
    forcing: Forcing | None = field(default=None, kw_only=True)

    __post_init__ = _check_constants
    mobility, linear, potential = _local, _pattern, _driven


@dataclass(frozen=True)
class PhaseFieldCrystal:
    """u_t = gamma Laplace((1 + Laplace)^2 u + u^3 - r u): Swift-Hohenberg's energy at constant mass."""

    r: float
    gamma: float | Tensor = 1.0
    forcing: Forcing | None = field(default=None, kw_only=True)

    __post_init__ = _check_constants
    mobility, linear, potential = _diffusive, _pattern, _driven


@dataclass(frozen=True)
class OhtaKawasaki:
    """Cahn-Hilliard with L = -kappa Laplace + A (-Laplace)^{-1}: block copolymers, where A keeps the domains small."""

    kappa: float | Tensor
    A: float | Tensor
    s: float = 1.0
    gamma: float | Tensor = 1.0
    forcing: Forcing | None = field(default=None, kw_only=True)

    __post_init__ = _check_constants
    mobility, linear, potential = _diffusive, _surface_and_repulsion, _double_well


@dataclass(frozen=True)
class FloryHugginsAllenCahn:
    """u_t = gamma (kappa Laplace(u) - f(u)) with the logarithmic potential, on -1 < u < 1."""

    kappa: float | Tensor
    theta: float
    theta0: float
    gamma: float | Tensor = 1.0
    forcing: Forcing | None = field(default=None, kw_only=True)

    __post_init__ = _check_constants
    mobility, linear, potential = _local, _surface, _logarithmic


@dataclass(frozen=True)
class FloryHugginsCahnHilliard:
    """u_t = gamma Laplace(f(u) - kappa Laplace(u)) with the logarithmic potential, on -1 < u < 1."""

    kappa: float | Tensor
    theta: float
    theta0: float
    gamma: float | Tensor = 1.0
    forcing: Forcing | None = field(default=None, kw_only=True)

    __post_init__ = _check_constants
    mobility, linear, potential = _diffusive, _surface, _logarithmic


@dataclass(frozen=True)
class NumberSymbol:
    """The symbol that is one number for all modes, or a function of |k|^2 that may return one."""

    of: Symbol | float

    def __call__(self, k2: Tensor) -> Tensor:
        value = self.of(k2) if callable(self.of) else self.of
        return (
            value
            if isinstance(value, Tensor) and value.ndim
            else torch.as_tensor(value, dtype=k2.dtype, device=k2.device) * torch.ones_like(k2)
        )


@dataclass(frozen=True)
class GradientFlow:
    """The user's own flow: two symbols, each a number or a function of |k|^2, and a potential."""

    mobility: Symbol
    linear: Symbol
    potential: Potential
    forcing: Forcing | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("mobility", "linear"):
            symbol = getattr(self, name)
            if isinstance(symbol, int | float | np.number) and not isinstance(symbol, bool):
                object.__setattr__(self, name, NumberSymbol(float(symbol)))
            elif not callable(symbol):
                raise ValueError(f"{name}: expected a function of |k|^2 or a number, got {symbol!r}")
            elif not isinstance(symbol, NumberSymbol):
                object.__setattr__(self, name, NumberSymbol(cast(Symbol, symbol)))
        _check_forcing(self.forcing)


def energy_of(u: Tensor, flow: Flow, grid: Space) -> Tensor:
    """Energy E of fields `[..., *points]`: `[...]`.

    The quadratic part is exact for the interpolant (Parseval), the rest is the sum over the grid; the ends that a
    Dirichlet grid leaves out count with u = 0.
    """
    axes = tuple(range(-grid.dimensions, 0))
    k2 = grid.squared_wavenumbers(u.dtype, u.device)
    quadratic = (grid.weights(u.dtype, u.device) * flow.linear(k2) * grid.modes(u).abs() ** 2).sum(axes) / 2
    return quadratic + grid.integral(energy_density(flow.potential, u)) + energy_of_ends(flow, grid)


def energy_of_ends(flow: Flow, grid: Space) -> float:
    """Bulk energy of the ends that a Dirichlet grid leaves out, where u = 0; other grids have none."""
    if "dirichlet" not in grid.boundaries:
        return 0.0
    left_out = grid.volume - float(grid.integral(torch.ones(grid.points, dtype=torch.float64, device=HOST)))
    return left_out * limit_at(flow.potential, 0.0)


def velocity(modes: Tensor, flow: Flow, grid: Space) -> Tensor:
    """Modes of -G dE/du of the fields with modes `[..., *mode_shape]`; the forcing is not in it."""
    k2 = grid.squared_wavenumbers(modes.real.dtype, modes.device)
    return -flow.mobility(k2) * (flow.linear(k2) * modes + grid.modes(slope_inside(flow.potential, grid.field(modes))))


def forcing_modes(flow: Flow, grid: Space, times: Tensor) -> Tensor | None:
    """Modes `[..., *mode_shape]` of the flow's forcing at `times` `[...]`, in their precision; None if it has none."""
    return None if flow.forcing is None else grid.modes(forcing_fields(flow, grid, times))


def forcing_fields(flow: Flow, grid: Space, times: Tensor) -> Tensor:
    """The forcing of a flow that has one, at `times` `[...]`: `[..., *points]` in their precision."""
    assert flow.forcing is not None
    spread = times.reshape(*times.shape, *[1] * grid.dimensions)
    values = forcing_values(flow.forcing, spread, grid.coordinates(times.dtype, times.device), grid.dimensions)
    shape = (*times.shape, *grid.points)
    if any(n not in (1, m) for n, m in zip(values.shape[::-1], shape[::-1], strict=False)) or values.ndim > len(shape):
        raise ValueError(f"forcing: expected values that broadcast to {list(shape)}, got {list(values.shape)}")
    return values.expand(shape)


def forcing_values(forcing: Forcing, times: Tensor, coordinates: tuple[Tensor, ...], dimensions: int) -> Tensor:
    """The forcing at `times` `[..., 1, ..]`: of all times at once, or one by one if it was written for a single number.

    Raises ValueError for a forcing that is neither.
    """
    try:
        return torch.as_tensor(forcing(times, coordinates), dtype=times.dtype, device=times.device)
    except (TypeError, RuntimeError, ValueError):
        single = times.reshape(-1, *[1] * dimensions)
    try:
        values = [torch.as_tensor(forcing(time, coordinates), dtype=times.dtype, device=times.device) for time in single]
        shape = torch.broadcast_shapes(*(value.shape for value in values), single.shape[1:])
    except (TypeError, RuntimeError, ValueError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"forcing: expected a function of (time, coordinates), a number or values of the grid's shape: {said}"
        ) from error
    return torch.stack([value.expand(shape) for value in values]).reshape(*times.shape[: times.ndim - dimensions], *shape)


def mass_of(u: Tensor, grid: Space) -> Tensor:
    """Integral of fields `[..., *points]` over the box, `[...]`."""
    return grid.integral(u)


def check_flow(flow: Any, grid: Space, u0: Tensor) -> None:
    """Raise ValueError unless the flow's operators fit the grid and the initial fields `u0` fit both."""
    if hasattr(flow, "check_on") and not isinstance(flow, type):
        flow.check_on(grid, u0)
        return
    grid.check_field(u0, "u0")
    if not u0.numel():
        raise ValueError(f"u0: expected one field or more, got none: {list(u0.shape)}")
    if isinstance(flow, type) or not hasattr(flow, "potential"):
        raise ValueError(f"flow: expected a flow such as AllenCahn(kappa=0.01), got {flow!r}")
    if not isinstance(flow.potential, Potential):
        raise ValueError(f"potential: expected a potential such as DoubleWell(), got {flow.potential!r}")
    if isinstance(flow, ConservativeAllenCahn) and "dirichlet" in grid.boundaries:
        raise ValueError("conservative Allen-Cahn: its mean is no mode of a Dirichlet grid; expected a periodic or Neumann grid")
    k2 = grid.squared_wavenumbers(u0.dtype, u0.device)
    for name, symbol in (("mobility", flow.mobility(k2)), ("linear", flow.linear(k2))):
        if not isinstance(symbol, Tensor):
            raise ValueError(f"{name}: expected a real symbol {list(k2.shape)} of |k|^2 on this grid, got {symbol!r}")
        if symbol.shape[symbol.ndim - k2.ndim :] != k2.shape or symbol.ndim < k2.ndim or symbol.is_complex():
            raise ValueError(f"{name}: expected a real symbol {list(k2.shape)} of |k|^2 on this grid, got {list(symbol.shape)}")
        batch = u0.shape[: u0.ndim - grid.dimensions]
        if symbol.shape[: symbol.ndim - k2.ndim] not in ((), batch):
            raise ValueError(f"{name}: expected one value for each of the members {list(batch)}, got {list(symbol.shape)}")
        if not bool((torch.isfinite(symbol) & (symbol >= 0)).all()):
            raise ValueError(f"{name}: expected a symbol that is finite and nowhere negative, got a least of {symbol.min()}")
    _check_domain(flow.potential, grid, u0)


def _check_domain(potential: Potential, grid: Space, u0: Tensor) -> None:
    """Raise ValueError unless the potential is defined on all of u0 and, on a Dirichlet grid, at its walls."""
    low, high = domain_of(potential)
    if not low < high:
        raise ValueError(f"potential: expected a domain (low, high) with low < high, got {potential.domain}")
    if not bool(((u0 > low) & (u0 < high)).all()):
        span = f"{u0.min()} to {u0.max()}"
        raise ValueError(f"u0: expected values inside the potential's domain {low} < u < {high}, got {span}")
    if not bool(torch.isfinite(potential.f(u0)).all()):
        raise ValueError(f"potential: expected f(u) to be finite on all of u0, {u0.min()} to {u0.max()}; state its domain")
    if "dirichlet" in grid.boundaries and not math.isfinite(limit_at(potential, 0.0)):
        raise ValueError(
            f"grid: Dirichlet walls hold u = 0, where this potential is not defined: its domain is {low} < u < {high}"
        )


def per_member(value: float | Tensor, k2: Tensor) -> float | Tensor:
    """A number as it is, and a tensor `[batch]` with an axis of size 1 for each axis of the modes."""
    if not isinstance(value, Tensor):
        return value
    return value.to(k2).reshape(*value.shape, *[1] * k2.ndim)
