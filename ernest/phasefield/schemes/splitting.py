"""Splits a flow into a stiff linear part and the rest: u_t = -Lambda u - G N(u) + forcing, Lambda = G (L + S), N = f(u) - S u.

All schemes share it. Lambda is diagonal in the modes and taken implicitly. The stabilisation S moves a part of f over to it.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ernest.phasefield.element import Time
from ernest.phasefield.flow_terms import forcing_modes
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.potentials import slope_inside
from ernest.phasefield.stepping import State
from ernest.phasefield.timeelement import Factors, combine, factorise, solve


@dataclass(frozen=True)
class Splitting:
    """Symbols `mobility` G and `stiffness` Lambda, `[*mode_shape]` or `[batch, *mode_shape]`, and the explicit part N.

    The symbols have the dtype of the modes: a product of mixed types would convert them every time. `weights` are
    the grid's Parseval weights. All three are made when they are first asked for, which compiled steppers never do.
    """

    flow: Flow
    grid: Space
    stabilisation: float
    dtype: torch.dtype
    device: torch.device

    @cached_property
    @torch.inference_mode(False)  # whoever asks first, somebody may ask for gradients next
    def mobility(self) -> Tensor:
        return self.flow.mobility(self._k2).to(self._modes_dtype)

    @cached_property
    @torch.inference_mode(False)  # whoever asks first, somebody may ask for gradients next
    def stiffness(self) -> Tensor:
        return self.real_stiffness().to(self._modes_dtype)

    @cached_property
    @torch.inference_mode(False)  # whoever asks first, somebody may ask for gradients next
    def weights(self) -> Tensor:
        return self.grid.weights(self.dtype, self.device)

    @property
    def _k2(self) -> Tensor:
        return self.grid.squared_wavenumbers(self.dtype, self.device)

    @property
    def _modes_dtype(self) -> torch.dtype:
        return self.dtype.to_complex() if "periodic" in self.grid.boundaries else self.dtype

    def real_stiffness(self) -> Tensor:
        """Lambda, in the dtype of the fields."""
        return self.flow.mobility(self._k2) * (self.flow.linear(self._k2) + self.stabilisation)

    def init(self, u0: Tensor, time: Time = 0.0) -> State:
        """The state of fields `[..., *points]`, without a past."""
        return State(time, self.grid.modes(u0))

    def explicit(self, modes: Tensor) -> Tensor:
        """Modes of N(u) of the fields with modes `[..., *mode_shape]`; two FFTs each."""
        return self.grid.modes(self.remainder(self.grid.field(modes)))

    def explicit_moments(self, nodes: Tensor, to_moments: Tensor) -> Tensor:
        """Modes `[..., p, *mode_shape]` of the moments of N, from those of the fields at nodes, `[..., q, *mode_shape]`."""
        return self.grid.modes(combine(to_moments, self.remainder(self.grid.field(nodes)), self.grid.dimensions))

    def remainder(self, u: Tensor) -> Tensor:
        """N(u) = f(u) - S u of fields."""
        return torch.sub(slope_inside(self.flow.potential, u), u, alpha=self.stabilisation)

    def forcing(self, time: Time, tau: Time, xi: Tensor, to_moments: Tensor) -> Tensor | None:
        """Modes `[..., p, *mode_shape]` of the forcing's Legendre moments, from local times `xi` `[q]`; None without one."""
        start, length = (torch.as_tensor(value, dtype=xi.dtype, device=xi.device)[..., None] for value in (time, tau))
        values = forcing_modes(self.flow, self.grid, start + length * (xi + 1) / 2)
        return None if values is None else combine(to_moments, values, self.grid.dimensions)

    def factors(self, tau: Time, degree: int) -> Factors:
        """Factors of I + tau/2 Lambda A."""
        return factorise(per_field(tau, self.grid.dimensions) / 2 * self.stiffness, degree)

    def size(self, modes: Tensor) -> float:
        """Root of the mean square over the box of the field with these modes, the greatest of a batch."""
        squares = torch.view_as_real(modes).square().sum(-1) if modes.is_complex() else modes.square()
        means = (squares * self.weights).sum(tuple(range(-self.grid.dimensions, 0))) / self.grid.volume
        return means.max().sqrt().item()

    def coefficients(self, factors: Factors, tau: Time, start: Tensor, explicit: Tensor, forcing: Tensor | None) -> Tensor:
        """Modes c `[..., p, *mode_shape]` with (I + z A) c = -(z start e_1 + tau/2 (G explicit - forcing)).

        `start` `[..., *mode_shape]` are modes of u; `explicit` and `forcing` are modes of the Legendre moments of N and
        of the forcing, `[..., p, *mode_shape]`.
        """
        axis = -1 - self.grid.dimensions
        right = -(per_field(tau, self.grid.dimensions) / 2 * self.mobility).unsqueeze(axis) * explicit
        if forcing is not None:
            right = right + per_field(tau, self.grid.dimensions + 1) / 2 * forcing
        first, *others = right.unbind(axis)
        return solve(factors, torch.stack([first - factors.z * start, *others], axis), axis)


class FactorCache:
    """The factors of I + tau/2 Lambda A for the last step length; computed again only when the length changes."""

    def __init__(self, splitting: Splitting, degree: int) -> None:
        self.splitting, self.degree = splitting, degree
        self._last: tuple[Time, Factors] | None = None

    def at(self, tau: Time) -> Factors:
        if self._last is None or not same_length(self._last[0], tau):
            self._last = tau, self.splitting.factors(tau, self.degree)
        return self._last[1]


def split(flow: Flow, grid: Space, stabilisation: float | None, like: Tensor) -> Splitting:
    """The splitting for fields like `like`; without a stabilisation, the midpoint of the potential's slopes, if positive."""
    if hasattr(flow, "check_on"):
        raise ValueError(f"scheme: a {type(flow).__name__} is solved by EnergeticElements")
    S = default_stabilisation(flow) if stabilisation is None else stabilisation
    splitting = Splitting(flow, grid, S, like.dtype, like.device)
    stiffness = splitting.real_stiffness()
    if not bool((stiffness >= 0).all()):
        raise ValueError(f"scheme stabilisation: expected S with L + S >= 0 on every mode, got {stabilisation}")
    if stiffness.requires_grad:
        _ = splitting.mobility, splitting.stiffness  # where they are first asked for gradients may be off
    return splitting


def default_stabilisation(flow: Flow) -> float:
    """The midpoint of the range of f', with which fixed-point iterations contract fastest; never below zero."""
    return max(0.0, sum(flow.potential.slopes) / 2)


def check_degree(degree: int) -> None:
    """Raise ValueError unless the degree is 1 to 8."""
    if not 1 <= degree <= 8:
        raise ValueError(f"scheme degree: expected 1 to 8, got {degree}")


def check_at_least(name: str, value: int, least: int) -> None:
    """Raise ValueError for a parameter of a scheme that is too small."""
    if value < least:
        raise ValueError(f"scheme {name}: expected {least} or more, got {value}")


def check_window(window: int, degree: int) -> None:
    """Raise ValueError for a window with which the sweeps are unstable."""
    check_at_least("window", window, 1)
    if window > degree + 1:
        raise ValueError(f"scheme window: expected at most degree + 1 = {degree + 1}, beyond which it is unstable, got {window}")


def element_length(tau: Time, modes: Tensor, grid: Space) -> Time:
    """The length of an element: a number, or a tensor `[batch]` in the precision of the modes. Raises ValueError for others."""
    if not isinstance(tau, Tensor) or tau.ndim == 0:
        if not 0 < float(tau) < float("inf"):
            raise ValueError(f"steps: expected positive lengths, got {tau}")
        return float(tau)
    batch = modes.shape[: modes.ndim - grid.dimensions]
    if tau.shape != batch or not bool((tau > 0).all()):
        raise ValueError(f"steps: expected positive lengths, one or {batch.numel()} of them, got {tau}")
    return tau.to(modes.real)


def one_length(tau: Time, modes: Tensor, grid: Space) -> float:
    """The length of an element as one number for all members of a batch. Raises ValueError for a tensor of lengths."""
    tau = element_length(tau, modes, grid)
    if isinstance(tau, Tensor):
        raise ValueError("steps: this scheme takes one length for all members of a batch, got a tensor of them")
    return tau


def check_unforced(flow: Flow) -> None:
    """Raise ValueError for a flow with a forcing, which some schemes do not support."""
    if flow.forcing is not None:
        raise ValueError("flow: this scheme knows no forcing; use GaussSeidel, SemiImplicit or Implicit")


def same_length(one: Time, other: Time) -> bool:
    """Whether two lengths agree, so that tables made for one serve the other."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return not isinstance(one, Tensor) and not isinstance(other, Tensor) and one == other


def per_field(tau: Time, dimensions: int) -> Time:
    """A step length as a factor of modes: a tensor `[batch]` gets one axis of size 1 for each axis of the modes."""
    return tau.reshape(*tau.shape, *[1] * dimensions) if isinstance(tau, Tensor) else tau
