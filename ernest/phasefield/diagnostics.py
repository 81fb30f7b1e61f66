"""What is measured of every element of a run: energy, mass, the greatest |u|, and how well the energy law holds."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ernest.phasefield.element import Element
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space

Value = float | list[float]
"""A number, or one for each member of a batch."""


@dataclass(frozen=True)
class Row:
    """One line of the diagnostics table; the first line of a run, at its start, has tau = 0.

    `defect` is what is left of the energy law, E(end) - E(start) + energy dissipated by the element's polynomial; None
    where a forcing does work. `error` is the estimated error per unit time, `contraction` the ratio of the last two sweeps'
    changes, and `rejected` counts the elements that were tried before this one.
    """

    time: float
    tau: float
    energy: Value
    mass: Value
    largest: Value
    defect: Value | None
    iterations: int
    contraction: float | None
    error: float
    rejected: int


class Gauge:
    """Measures fields and elements of one flow on one grid, with the symbols it needs at hand."""

    def __init__(self, flow: Flow, grid: Space, like: Tensor) -> None:
        k2 = grid.squared_wavenumbers(like.dtype, like.device)
        weights, mobility = grid.weights(like.dtype, like.device), flow.mobility(k2)
        self._flow, self._grid = flow, grid
        self._axes = tuple(range(-grid.dimensions, 0))
        self._squares = weights / grid.volume
        self._quadratic = weights * flow.linear(k2) / 2
        self._inverse_mobility = torch.where(mobility > 0, weights / torch.where(mobility > 0, mobility, 1), 0)
        # A Dirichlet grid leaves out its ends, where u = 0.
        left_out = grid.volume - grid.integral(torch.ones(grid.points, dtype=like.dtype, device=like.device))
        self._ends = left_out * flow.potential.F(torch.zeros((), dtype=like.dtype, device=like.device))
        self.falls = flow.forcing is None
        self.round_off = 4500 * torch.finfo(like.dtype).eps

    def energy(self, u: Tensor, modes: Tensor) -> Tensor:
        """E of fields `[..., *points]` with these modes: `[...]`."""
        return self._grid.integral(self._flow.potential.F(u)) + (self._quadratic * _squared(modes)).sum(self._axes) + self._ends

    def noise(self, u: Tensor, modes: Tensor) -> float:
        """How large a change of the energy may be round-off: a share of its two parts, each taken as positive."""
        bulk = self._grid.integral(self._flow.potential.F(u).abs())
        return self.round_off * float((bulk + (self._quadratic * _squared(modes)).sum(self._axes)).max())

    def norm(self, modes: Tensor) -> float:
        """Root of the mean square of the fields with these modes, the greatest of a batch."""
        return math.sqrt(float((self._squares * _squared(modes)).sum(self._axes).max()))

    def mass(self, u: Tensor) -> Tensor:
        """Integral of fields, `[...]`."""
        return self._grid.integral(u)

    def largest(self, u: Tensor) -> Tensor:
        """Greatest |u| of fields, `[...]`."""
        return u.abs().amax(self._axes)

    def dissipation(self, element: Element) -> Tensor:
        """Energy that the polynomial of an element dissipates, 4 / tau sum of (G^+ c_k, c_k) / (2k - 1): `[...]`."""
        orders = torch.arange(1, 2 * element.degree, 2, dtype=self._quadratic.dtype, device=self._quadratic.device)
        squares = _squared(element.coefficients) / orders.reshape(-1, *[1] * self._grid.dimensions)
        return 4 / element.tau * (self._inverse_mobility * squares.sum(-1 - self._grid.dimensions)).sum(self._axes)

    def defect(self, element: Element, before: Value, after: Tensor) -> Value | None:
        """E(end) - E(start) + dissipation; None for a flow with a forcing."""
        if not self.falls:
            return None
        return (after - torch.as_tensor(before, dtype=after.dtype, device=after.device) + self.dissipation(element)).tolist()


def _squared(modes: Tensor) -> Tensor:
    return modes.real.square() + modes.imag.square() if modes.is_complex() else modes.square()
