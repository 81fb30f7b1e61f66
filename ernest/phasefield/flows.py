"""Gradient flows u_t = -G dE/du + forcing, of energies E(u) = 1/2 (u, L u) + integral of F(u).

The mobility G >= 0 and the linear operator L are constant and diagonal in the modes of the grid, so each is given by
its symbol, a function of |k|^2 (a tensor `[*mode_shape]`). What G sends to zero is conserved. A constant is a number of
Python, numpy or torch; kappa, A and gamma may also be lists, arrays or tensors `[batch]`, one value for each member of a
batch of fields.

The flows below are put together from three mobilities, three linear operators and three potentials.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

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
    # A copy, since a flow is a value: what becomes of the tensor later is no concern of its.
    return number.clone() if number.ndim or number.requires_grad else float(number)


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
        # A copy, since many a function sets the entry of k = 0 in place before it divides by k2, which the grid keeps.
        value = self.of(k2.clone()) if callable(self.of) else self.of
        if isinstance(value, Tensor) and value.ndim:
            return value
        return torch.as_tensor(value, dtype=k2.dtype, device=k2.device) * torch.ones_like(k2)


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


def per_member(value: float | Tensor, k2: Tensor) -> float | Tensor:
    """A number as it is, and a tensor `[batch]` with an axis of size 1 for each axis of the modes."""
    if not isinstance(value, Tensor):
        return value
    return value.to(k2).reshape(*value.shape, *[1] * k2.ndim)
