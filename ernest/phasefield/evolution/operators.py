"""A coupled flow on a grid: its energy, the exact gradient of that, and the rate that follows from it.

Fields are `[..., n, q, *points]`: n of them, at q times. All follows from the discrete energy, sums over points and faces, so
that (mu, u_t) is its derivative in time but for round-off, and the energy law of the element holds for whatever coefficients.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ernest.phasefield.evolution.coefficients import Coefficients
from ernest.phasefield.evolution.flows import CoupledFlow, PerAxis
from ernest.phasefield.evolution.tensors import cross_energy, cross_variation, crosses, diagonal_of
from ernest.phasefield.evolution.walls import Slope, Value
from ernest.phasefield.grid import Grid
from ernest.phasefield.potentials import Potential, energy_density, slope_inside


class Operators:
    """The operators of one flow, for fields in the precision and on the device of `like`."""

    def __init__(self, flow: CoupledFlow, grid: Grid, like: Tensor) -> None:
        self.at = Coefficients(flow, grid, like)
        self.flow, self.grid, self.faces, self.d = flow, grid, self.at.faces, grid.dimensions
        self._k2 = [grid.squared_wavenumbers_along(axis, like.dtype, like.device) for axis in range(self.d)]
        self._total_k2 = grid.squared_wavenumbers(like.dtype, like.device)
        self._crosses = crosses(flow.kappa, self.at)
        self.kappa = [self.at.per_axis("kappa", diagonal_of(kappa)) for kappa in flow.kappa]
        self._walls = flow.walls or (None,) * flow.fields
        self._mu_walls = flow.potential_walls or (None,) * flow.fields
        plain = [all(isinstance(k, float) for k in of) and not self.faces.held for of in self.kappa]
        self._symbols = [self.symbol(of) if simple else None for of, simple in zip(self.kappa, plain, strict=True)]
        self.mobility = [
            [self.at.per_axis("mobility", one.of if isinstance(one, PerAxis) else one) for one in row] for row in flow.mobility
        ]

    def mobility_at(self, i: int, fields: Any, t: Tensor, axis: int | None) -> Any:
        """The mobility of field i by itself at the points, or on the faces of an axis."""
        x = self.faces.points if axis is None else self.faces.coordinates[axis]
        return self.at.at(self.mobility[i][i][axis or 0], fields, x, t, axis)

    def symbol(self, kappa: list[float]) -> Tensor:
        """kappa k^2 summed over the axes, `[*modes]`."""
        return sum((k * k2 for k, k2 in zip(kappa, self._k2, strict=True)), torch.zeros_like(self._total_k2))

    # Energy and its gradient

    def density(self, u: Tensor, t: Tensor) -> Tensor:
        """F at the points, `[..., q, *points]`."""
        return self._density_at(u, self.faces.points, t)

    def _density_at(self, u: Tensor, x: tuple[Tensor, ...], t: Tensor) -> Tensor:
        """F at places x, where the fields u `[..., n, q, *places]` are."""
        if isinstance(self.flow.potential, Potential):
            return energy_density(self.flow.potential, self.at.fields_of(u))
        return self.at.filled("potential", self.flow.potential(self.at.fields_of(u), x, t), u)

    def energy(self, u: Tensor, times: Tensor) -> Tensor:
        """E `[..., q]` of fields `[..., n, q, *points]`, walls with a slope counted as doing work."""
        t, axes = self.at.time(times), tuple(range(-self.d, 0))
        total = self.faces.integral(self.density(u, t)) + self._energy_of_ends(t)
        for i, v in enumerate(u.unbind(self.at.axis)):
            if (symbol := self._symbols[i]) is not None:
                weights = self.grid.weights(u.dtype, u.device) * symbol / 2
                total = total + (weights * self.grid.modes(v).abs() ** 2).sum(axes)
                continue
            for axis in range(self.d):
                total = total + self._gradient_energy(i, axis, u, t)
        return total + cross_energy(self._crosses, self.at, u, t) if self._crosses else total

    def _energy_of_ends(self, t: Tensor) -> Tensor | float:
        """What F adds at the ends that Dirichlet axes leave out, where fields are 0: the rest of the trapezoidal rule, `[q]`."""
        lines, weights = self.faces.with_ends
        if weights.shape == self.grid.points:
            return 0.0
        x = torch.meshgrid(*lines, indexing="ij")
        u = torch.zeros(self.flow.fields, len(t), *weights.shape, dtype=weights.dtype, device=weights.device)
        return (weights * self._density_at(u, x, t)).sum(tuple(range(-self.d, 0))) * self.grid.cell

    def _gradient_energy(self, i: int, axis: int, u: Tensor, t: Tensor) -> Tensor:
        """What the slopes of field i along an axis are worth, less what its walls have done, `[..., q]`."""
        data, kappa = self.at.data(i, u, axis, t), self.kappa[i][axis]
        k = self.at.at(kappa, self.at.fields_of(self.at.on_faces(u, axis, t)), self.faces.coordinates[axis], t, axis)
        slope = self.faces.slope(u.select(self.at.axis, i), axis, data)
        return self.faces.on_faces(k / 2 * slope**2, axis) - self.at.work(i, kappa, data, u, axis, t)

    def _gradient_of(self, i: int, axis: int, u: Tensor, t: Tensor) -> Tensor:
        """Its exact gradient, where slopes at walls depend on the fields there."""
        with torch.enable_grad():
            variable = u.detach().requires_grad_()
            gradient = torch.autograd.grad(self._gradient_energy(i, axis, variable, t).sum(), variable)[0]
        return gradient / (self.grid.cell * self.faces.weights)

    def variation(self, u: Tensor, u_modes: Tensor, times: Tensor) -> Tensor:
        """Modes of dE/du `[..., n, q, *modes]`."""
        t = self.at.time(times)
        mu, linear = self._bulk(u, t), torch.zeros_like(u_modes)
        mu_rows, rows = list(mu.unbind(self.at.axis)), u.unbind(self.at.axis)
        linear_rows = list(linear.unbind(self.at.axis))
        for i, v in enumerate(rows):
            if (symbol := self._symbols[i]) is not None:
                linear_rows[i] = symbol * u_modes.select(self.at.axis, i)
                continue
            for axis, kappa in enumerate(self.kappa[i]):
                if self.flow.single and self.at.slopes_know(i, axis, u, t):
                    mu_rows[i] = mu_rows[i] + self._gradient_of(i, axis, u, t).select(self.at.axis, i)
                    continue
                data = self.at.data(i, u, axis, t)
                slope = self.faces.slope(v, axis, data)
                on_faces = None if isinstance(kappa, float | Tensor) else self.at.on_faces(u, axis, t)
                k, extra = self._kappa_and_slopes(kappa, on_faces, slope, axis, t)
                mu_rows[i] = mu_rows[i] - self.faces.divergence(k * slope, axis, self.at.through(kappa, data, u, axis, t))
                for j, each in enumerate(extra):
                    if each is not None:
                        mu_rows[j] = mu_rows[j] + self.faces.spread(each, axis)
        mu = torch.stack(mu_rows, self.at.axis)
        if self._crosses:
            mu = mu + cross_variation(self._crosses, self.at, u, t)
        return self.grid.modes(mu) + torch.stack(linear_rows, self.at.axis)

    def _kappa_and_slopes(self, kappa: Any, u: Tensor | None, slope: Tensor, axis: int, t: Tensor) -> tuple[Any, Sequence[Any]]:
        """kappa on the faces, and half the square of the slope times its derivatives by each field there."""
        if u is None:
            return self.at.at(kappa, None, (), t, axis), ()
        with torch.enable_grad():
            parts = [each.detach().requires_grad_() for each in u.unbind(self.at.axis)]
            k = self.at.at(kappa, parts[0] if self.flow.single else tuple(parts), self.faces.coordinates[axis], t, axis)
            if not k.requires_grad:
                return k, ()
            gradients = torch.autograd.grad((k * slope.square().detach()).sum() / 2, parts, allow_unused=True)
        return k.detach(), gradients

    def _bulk(self, u: Tensor, t: Tensor) -> Tensor:
        """dF/du at the points."""
        if isinstance(self.flow.potential, Potential):
            return slope_inside(self.flow.potential, u)
        with torch.enable_grad():
            variable = u.detach().requires_grad_()
            total = self.density(variable, t).sum()
            return torch.autograd.grad(total, variable)[0] if total.requires_grad else torch.zeros_like(u)

    # Rates

    @property
    def constant_mobility(self) -> bool:
        """Whether the rate is the same linear map of mu at all times."""
        of_modes = not (self.faces.held and any(self.flow.conserved))
        return of_modes and all(isinstance(one, float) for row in self.mobility for of in row for one in of)

    def linear_rate(self, mu: Tensor) -> Tensor:
        """-G mu for modes of mu, where the mobilities are numbers."""
        rows = mu.unbind(self.at.axis)
        return torch.stack(
            [
                -sum((self._mode_mobility(i, j) * rows[j] for j in range(len(rows))), torch.zeros_like(rows[0]))
                for i in range(len(rows))
            ],
            self.at.axis,
        )

    def _mode_mobility(self, i: int, j: int) -> Any:
        return self.symbol(self.mobility[i][j]) if self.flow.conserved[i] else self.mobility[i][j][0]

    def rate(self, mu: Tensor, u: Tensor, times: Tensor) -> Tensor:
        """Modes of -G(u) mu for fields mu, `[..., n, q, *points]`."""
        t, n = self.at.time(times), self.flow.fields
        rows = mu.unbind(self.at.axis)
        fields = self.at.fields_of(u)
        result = [torch.zeros_like(rows[0]) for _ in range(n)]
        for i in range(n):
            if not self.flow.conserved[i]:
                for j in range(n):
                    M = self.at.at(self.mobility[i][j][0], fields, self.faces.points, t, None)
                    result[i] = result[i] - M * rows[j] if not (isinstance(M, float) and M == 0) else result[i]
                continue
            for axis in range(self.d):
                result[i] = result[i] + self._transport(i, axis, rows, u, t)
        return self.grid.modes(torch.stack(result, self.at.axis))

    def _transport(self, i: int, axis: int, rows: Sequence[Tensor], u: Tensor, t: Tensor) -> Tensor:
        """The part of div(sum of M_ij grad mu_j) that one axis has."""
        flux, on_faces = torch.zeros(()).to(u), self.at.fields_of(self.at.on_faces(u, axis, t))
        x, through = self.faces.wall_coordinates[axis], None
        for j, mu in enumerate(rows):
            coefficient, pair = self.mobility[i][j][axis], self.at.pair(self._mu_walls[j], axis)
            if isinstance(coefficient, float) and coefficient == 0:
                continue
            M, data = self.at.at(coefficient, on_faces, self.faces.coordinates[axis], t, axis), None
            if pair is not None:
                at = self.at.wall_fields(u, axis, t)
                held = [self.at.wall(wall, at[s], x[s], t) for s, wall in enumerate(pair)]
                one = self.at.through(coefficient, (1.0, 1.0), u, axis, t) or (1.0, 1.0)
                # What comes into field i goes through the wall, and tells the slope of its own mu there.
                through = tuple(held) if i == j else through
                slopes = [q / m if i == j else 0.0 for q, m in zip(held, one, strict=True)]
                data = tuple(h if isinstance(wall, Value) else s for wall, h, s in zip(pair, held, slopes, strict=True))
            flux = flux + M * self.faces.slope(mu, axis, data)  # pyright: ignore[reportArgumentType]
        return self.faces.divergence(flux, axis, through)

    def dissipative(self, u: Tensor) -> bool:
        """Whether the energy can only fall: no forcing, no noise, nothing that comes in, and an energy that no time is in.

        Functions of the user are asked at two times.
        """
        flow = self.flow
        if flow.forcing is not None or flow.noise is not None or any(self._mu_walls):
            return False
        pairs = [(i, axis, pair) for i, walls in enumerate(self._walls) for axis, pair in (walls or {}).items()]
        if not flow.single and any(isinstance(wall, Slope) for *_, pair in pairs for wall in pair):
            t = self.at.time(torch.zeros(1, dtype=u.dtype, device=u.device))
            if any(self.at.slopes_know(i, axis, u, t) for i, axis, _ in pairs) or self._kappa_knows(u, t):
                return False  # what a wall has done then depends on which field was moved first
        energies = [self.energy(u, torch.tensor([time], dtype=u.dtype, device=u.device)) for time in (0.0, math.pi / 7)]
        return bool(torch.equal(*energies))

    def _kappa_knows(self, u: Tensor, t: Tensor) -> bool:
        """Whether a gradient energy depends on the fields."""
        called = [(axis, kappa) for of in self.kappa for axis, kappa in enumerate(of) if callable(kappa)]
        slopes = [self.faces.slope(u.select(self.at.axis, 0), axis) for axis in range(self.d)]
        return any(
            bool(self._kappa_and_slopes(kappa, self.at.on_faces(u, axis, t), slopes[axis], axis, t)[1]) for axis, kappa in called
        )

    def forcing(self, times: Tensor, u: Tensor) -> Tensor | None:
        """Modes of the forcing, `[..., n, q, *modes]`, which may depend on u."""
        if self.flow.forcing is None:
            return None
        value = self.flow.forcing(self.at.fields_of(u), self.faces.points, self.at.time(times))
        parts = (value,) if self.flow.single else tuple(value)
        if len(parts) != self.flow.fields:
            raise ValueError(f"forcing: expected {self.flow.fields} values, one for each field, got {len(parts)}")
        return self.grid.modes(torch.stack([self.at.filled("forcing", part, u) for part in parts], self.at.axis))
