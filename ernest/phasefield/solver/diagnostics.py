"""Measures every step of a run: energy, mass, greatest |u|, and how well the energy law holds."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ernest.phasefield.element import Element
from ernest.phasefield.flow_terms import energy_of_ends
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.potentials import energy_density
from ernest.phasefield.solver.controller import ROUND_OFF

Value = float | list[float]
"""A number, or one for each member of a batch."""


def greatest_rise(before: Value, after: Value) -> float:
    """By how much the energy rises, the most of a batch."""
    if isinstance(before, float) and isinstance(after, float):  # for which arrays take ten times as long
        return after - before
    return float(np.subtract(after, before).max())


@dataclass(frozen=True)
class StepRecord:
    """Measurements of one accepted step; the first record of a run belongs to its initial field and has tau = 0.

    `time` is the end of the step and `tau` its length. `defect` is the residual of the energy law, E(end) - E(start) + energy
    dissipated by the element's polynomial; None where a forcing does work. `error` is the estimated error per unit time,
    `contraction` the ratio of the last two sweeps' changes, and `rejected` counts the rejected steps just before this one.
    """

    time: float
    tau: float
    energy: Value
    mass: Value
    largest: Value
    defect: Value | None = None
    iterations: int = 0
    contraction: float | None = None
    error: float = 0.0
    rejected: int = 0


class Diagnostics:
    """Measures fields and elements of one flow on one grid; the symbols of the flow are computed once."""

    def __init__(self, flow: Flow, grid: Space, like: Tensor) -> None:
        self._flow, self._grid, self._dtype, self._device = flow, grid, like.dtype, like.device
        self._axes = tuple(range(-grid.dimensions, 0))
        # Of complex modes both parts are squared, so that every weight is there twice.
        self._parts = 2 if "periodic" in grid.boundaries else 1
        self._scratch: Tensor | None = None  # new memory for every sum would cost more than the sum
        self._ends = energy_of_ends(flow, grid)
        self.dissipative = flow.forcing is None
        self.round_off = 4500 * torch.finfo(like.dtype).eps

    @property
    def _k2(self) -> Tensor:
        return self._grid.squared_wavenumbers(self._dtype, self._device)

    # Compiled loops measure most elements, and then nobody asks for these.
    @cached_property
    def _weights(self) -> Tensor:
        return self._grid.weights(self._dtype, self._device)

    @cached_property
    def _quadratic(self) -> Tensor:
        return self._doubled(self._weights * self._flow.linear(self._k2) / 2)

    @cached_property
    def _squares(self) -> Tensor:
        return self._doubled(self._weights / self._grid.volume)

    @cached_property
    def _inverse_mobility(self) -> Tensor:
        mobility = self._flow.mobility(self._k2)
        return self._doubled(torch.where(mobility > 0, self._weights / torch.where(mobility > 0, mobility, 1), 0))

    def energy(self, u: Tensor, modes: Tensor) -> Tensor:
        """E of fields `[..., *points]` with these modes: `[...]`."""
        return self._grid.integral(energy_density(self._flow.potential, u)) + self._sum(self._quadratic, modes) + self._ends

    def energy_and_noise(self, u: Tensor, modes: Tensor) -> tuple[Tensor, float]:
        """E, and the change of it that counts as round-off: a fraction of its two parts, each taken as positive.

        Where both are zero, as in a well at rest, it is what round-off of u does to them, to the second order.
        """
        density, quadratic = energy_density(self._flow.potential, u), self._sum(self._quadratic, modes)
        energy, bulk = self._grid.integral(density) + quadratic + self._ends, self._grid.integral(density.abs())
        stiffest = float(self._flow.potential.df(u).abs().max()) + float(self._flow.linear(self._k2).max())
        shaken = stiffest * self._grid.volume * (ROUND_OFF * torch.finfo(u.dtype).eps * float(u.abs().max())) ** 2
        return energy, self.round_off * float((bulk + quadratic).max()) + shaken

    def norm(self, modes: Tensor, squares: Tensor | None = None) -> float:
        """Root of the mean square of the fields with these modes, the greatest of a batch, or that with other `squares`."""
        return math.sqrt(float(self._sum(self._squares if squares is None else squares, modes).max()))

    def squares(self, factor: Tensor) -> Tensor:
        """Weights with which `norm` is that of modes which are multiplied by a `factor` `[..., *mode_shape]`."""
        return self._squares * self._doubled(factor.square())

    def mass(self, u: Tensor) -> Tensor:
        """Integral of fields, `[...]`."""
        return self._grid.integral(u)

    def largest(self, u: Tensor) -> Tensor:
        """Greatest |u| of fields, `[...]`."""
        return u.abs().amax(self._axes)

    def dissipation(self, element: Element) -> Tensor:
        """Energy that the polynomial of an element dissipates, 4 / tau sum of (G^+ c_k, c_k) / (2k - 1): `[...]`."""
        orders = torch.arange(1, 2 * element.degree, 2, dtype=self._dtype, device=self._device)
        by_row = self._sum(self._inverse_mobility, element.coefficients, 1)
        return 4 / element.tau * (by_row / orders).sum(-1)

    def defect(self, before: Value, after: Value, dissipated: Value) -> Value:
        """E(end) - E(start) + what was dissipated."""
        return (np.subtract(after, before) + dissipated).tolist()

    def _doubled(self, weights: Tensor) -> Tensor:
        """Weights of modes as weights of the numbers that modes are made of, `[..., numbers]`."""
        return weights.repeat_interleave(self._parts, -1).flatten(-self._grid.dimensions)

    def _sum(self, weights: Tensor, modes: Tensor, rows: int = 0) -> Tensor:
        """Sum of weights |modes|^2 of modes `[..., *mode_shape]`, or `[..., p, *mode_shape]` with `rows` = 1."""
        if rows:
            return torch.stack([self._sum(weights, row) for row in modes.unbind(-1 - self._grid.dimensions)], -1)
        numbers = (
            (torch.view_as_real(modes).flatten(-2) if modes.is_complex() else modes).flatten(-self._grid.dimensions).detach()
        )
        if self._scratch is None or self._scratch.shape != numbers.shape:
            self._scratch = torch.empty_like(numbers)
        return torch.mul(numbers, numbers, out=self._scratch).mul_(weights).sum(-1)
