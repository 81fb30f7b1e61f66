"""The solution of one time step as a polynomial in time, which can be evaluated at any time of the step."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ernest.phasefield.flow_terms import forcing_modes, velocity
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.timeelement import basis, combine, gauss, legendre

Time = float | Tensor
"""A time or the length of an element: a number, or a tensor `[batch]` with one for each member."""


@dataclass(frozen=True)
class Element:
    """The solution from `time` to `time + tau`: start + sum of c_k psi_k(xi), xi = -1 .. 1.

    `start_modes` and `end_modes` are `[..., *mode_shape]`. The modes of c_1 .. c_p, `[..., p, *mode_shape]`, come from
    `solve` when they are first asked for, since most elements of a run are only passed through.
    """

    time: Time
    tau: Time
    start_modes: Tensor
    end_modes: Tensor
    grid: Space
    solve: Callable[[], Tensor]

    @cached_property
    def coefficients(self) -> Tensor:
        """Modes of c_1 .. c_p, `[..., p, *mode_shape]`."""
        return self.solve()

    @property
    def degree(self) -> int:
        return self.coefficients.shape[-1 - self.grid.dimensions]

    @cached_property
    def start(self) -> Tensor:
        """The fields at the start, `[..., *points]`."""
        return self.grid.field(self.start_modes)

    @cached_property
    def end(self) -> Tensor:
        """The fields at the end, `[..., *points]`."""
        return self.grid.field(self.end_modes)

    def at(self, xi: float | Tensor) -> Tensor:
        """The fields at local times: `[..., *points]` for one xi, `[..., q, *points]` for `[q]` or `[..., q]`.

        Between the ends the order is p + 1 (p + 2 at the interior Lobatto points). Beyond xi = 1 it extrapolates.
        """
        local = self._tensor(xi)
        fields = self.grid.field(self.modes_at(local if local.ndim else local[None]))
        return fields if local.ndim else fields.squeeze(-1 - self.grid.dimensions)

    def at_time(self, time: Time) -> Tensor:
        """The fields `[..., *points]` at one time, which may differ between the members where their steps do."""
        xi = 2 * (self._tensor(time) - self._tensor(self.time)) / self._tensor(self.tau) - 1
        return self.at(xi[..., None]).squeeze(-1 - self.grid.dimensions)

    def modes_at(self, xi: Tensor) -> Tensor:
        """Modes `[..., q, *mode_shape]` at local times `[q]` or `[..., q]`."""
        change = combine(basis(self.degree, xi), self.coefficients, self.grid.dimensions)
        return self.start_modes.unsqueeze(-1 - self.grid.dimensions) + change

    def derivative(self, xi: float) -> Tensor:
        """u_t at a local time, `[..., *points]`: order p, and p + 1 at the Gauss points."""
        tau = self._tensor(self.tau)[..., None, None]
        row = legendre(self.degree - 1, self._tensor(xi)[None]) * 2 / tau
        return self.grid.field(combine(row, self.coefficients, self.grid.dimensions)).squeeze(-1 - self.grid.dimensions)

    def corrected(self, flow: Flow) -> "Element":
        """This element with a further coefficient, c_{p+1} = tau/2 (2p + 1)/2 integral of u_t L_p, u_t from the flow at u.

        It raises the order between the ends by one, to p + 2 everywhere; the ends stay, since psi_{p+1} is 0 there.
        """
        p, d = self.degree, self.grid.dimensions
        points, to_moments = gauss(p + 1, p * (flow.potential.degree or 6) // 2 + 1)
        xi, tau = points.to(self._tensor(0)), self._tensor(self.tau)[..., None]
        slopes = torch.stack([velocity(modes, flow, self.grid) for modes in self.modes_at(xi).unbind(-1 - d)], -1 - d)
        forcing = forcing_modes(flow, self.grid, self._tensor(self.time)[..., None] + tau * (xi + 1) / 2)
        if forcing is not None:
            slopes = slopes + forcing
        extra = combine(tau[..., None] / 2 * to_moments[-1:].to(xi), slopes, d)
        return replace(self, solve=lambda: torch.cat([self.coefficients, extra], -1 - d))

    def _tensor(self, value: Time) -> Tensor:
        """A number in the precision and on the device of the fields."""
        return torch.as_tensor(value, dtype=self.start_modes.real.dtype, device=self.start_modes.device)


def dissipation(element: Element, flow: Flow) -> Tensor:
    """Integral of (G^+ u_t, u_t) over the element: `[...]`, by 4/tau sum of (G^+ c_k, c_k) / (2k - 1).

    Where the quadrature is exact and the iteration converged, the energy falls by just this much (arXiv 2406.16287).
    """
    grid, c = element.grid, element.coefficients
    k2 = grid.squared_wavenumbers(c.real.dtype, c.device)
    mobility = flow.mobility(k2)
    inverse = torch.where(mobility > 0, 1 / torch.where(mobility > 0, mobility, 1), 0)
    squares = (grid.weights(k2.dtype, k2.device) * inverse).unsqueeze(-1 - grid.dimensions) * c.abs() ** 2
    by_row = squares.sum(tuple(range(-grid.dimensions, 0)))
    orders = torch.arange(1, 2 * element.degree, 2, dtype=by_row.dtype, device=by_row.device)
    return 4 / element.tau * (by_row / orders).sum(-1)
