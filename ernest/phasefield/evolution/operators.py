"""A coupled flow on a grid: its energy, the exact gradient of that, and the rate that follows from it.

Fields are `[..., n, q, *points]`: n of them, at q times. All follows from the discrete energy, sums over points and faces, so
that (mu, u_t) is its derivative in time but for round-off, and the energy law of the element holds for whatever coefficients.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from ernest.phasefield.evolution.faces import Data, Faces
from ernest.phasefield.evolution.flows import CoupledFlow, Function, Inflow, PerAxis, Value, Wall
from ernest.phasefield.grid import Grid
from ernest.phasefield.potentials import Potential, energy_density, slope_inside


class Operators:
    """The operators of one flow, for fields in the precision and on the device of `like`."""

    def __init__(self, flow: CoupledFlow, grid: Grid, like: Tensor) -> None:
        self.flow, self.grid, self.faces, self.d = flow, grid, Faces(grid, like), grid.dimensions
        self._like, self._axis = like, -2 - grid.dimensions
        self._k2 = [grid.squared_wavenumbers_along(axis, like.dtype, like.device) for axis in range(self.d)]
        self._total_k2 = grid.squared_wavenumbers(like.dtype, like.device)
        self.kappa = [self._per_axis(kappa) for kappa in flow.kappa]
        self._walls = flow.walls or (None,) * flow.fields
        self._mu_walls = flow.potential_walls or (None,) * flow.fields
        plain = [all(isinstance(k, float) for k in of) and not walls for of, walls in zip(self.kappa, self._walls, strict=True)]
        self._symbols = [self._symbol(of) if simple else None for of, simple in zip(self.kappa, plain, strict=True)]
        self.mobility = [[self._per_axis(one.of if isinstance(one, PerAxis) else one) for one in row] for row in flow.mobility]

    # Fields and coefficients

    def _per_axis(self, coefficient: Any) -> list[Any]:
        of = list(coefficient) if isinstance(coefficient, tuple) else [coefficient] * self.d
        if len(of) != self.d:
            raise ValueError(f"coefficient: expected one for all axes or one for each of {self.d}, got {len(of)}")
        return [self._coefficient(one) for one in of]

    def _coefficient(self, one: Any) -> Any:
        if callable(one):
            return one
        value = torch.as_tensor(one, dtype=self._like.dtype, device=self._like.device)
        if value.ndim and value.shape != self.grid.points:
            raise ValueError(
                f"coefficient: expected a number, a function (u, x, t) or an array {list(self.grid.points)}, "
                f"got {list(value.shape)}"
            )
        if not bool((torch.isfinite(value) & (value >= 0)).all()):
            raise ValueError(
                f"coefficient: expected numbers that are finite and nowhere negative, got a least of {float(value.min())}"
            )
        return value if value.ndim else float(value)

    def fields_of(self, u: Tensor) -> Any:
        """What functions of the user get: the field, or the tuple of them."""
        parts = u.unbind(self._axis)
        return parts[0] if self.flow.single else parts

    def time(self, times: Tensor) -> Tensor:
        """Times `[q]` as `[q, 1, ..]`."""
        return times.reshape(-1, *[1] * self.d)

    def _at(self, coefficient: Any, u: Any, x: Sequence[Tensor], t: Tensor, axis: int | None) -> Any:
        """A coefficient at the points, or on the faces of an axis where u and x are taken."""
        if isinstance(coefficient, float):
            return coefficient
        if isinstance(coefficient, Tensor):
            return coefficient if axis is None else self.faces.average(coefficient, axis)
        return torch.as_tensor(coefficient(u, tuple(x), t), dtype=self._like.dtype, device=self._like.device)

    def coefficient_at(self, coefficient: Any, fields: Any, t: Tensor, axis: int | None) -> Any:
        """A coefficient of the user at the points, or on the faces of an axis, where `fields` are taken."""
        x = self.faces.points if axis is None else self.faces.coordinates[axis]
        return self._at(self._coefficient(coefficient), fields, x, t, axis)

    def mobility_at(self, i: int, fields: Any, t: Tensor, axis: int | None) -> Any:
        """The mobility of field i by itself at the points, or on the faces of an axis."""
        x = self.faces.points if axis is None else self.faces.coordinates[axis]
        return self._at(self.mobility[i][i][axis or 0], fields, x, t, axis)

    def on_faces(self, u: Tensor, axis: int, t: Tensor) -> Tensor:
        """All fields on the faces of an axis."""
        rows = u.unbind(self._axis)
        return torch.stack([self.faces.middle(v, axis, self._data(i, u, axis, t)) for i, v in enumerate(rows)], self._axis)

    # Walls

    def _pair(self, walls: Any, axis: int) -> tuple[Wall, Wall] | None:
        return (walls or {}).get(axis)

    def _wall(self, wall: Wall, u: Any, x: Sequence[Tensor], t: Tensor) -> Any:
        of = wall.of
        if not callable(of):
            return of
        value = cast(Callable[..., Any], of)(tuple(x), t) if isinstance(wall, Value) else cast(Function, of)(u, tuple(x), t)
        return torch.as_tensor(value, dtype=self._like.dtype, device=self._like.device)

    def _data(self, i: int, u: Tensor, axis: int, t: Tensor) -> Data:
        """What the walls of field i hold: values, or slopes, which may depend on the fields at the wall themselves."""
        pair = self._pair(self._walls[i], axis)
        if pair is None:
            return None
        x = self.faces.wall_coordinates[axis]
        if self.grid.boundaries[axis] == "dirichlet" or not any(callable(wall.of) for wall in pair):
            return tuple(self._wall(wall, None, x[side], t) for side, wall in enumerate(pair))  # pyright: ignore
        data: Any = (0.0, 0.0)
        rows = u.unbind(self._axis)
        for _ in range(8):  # the value at the wall contains a share of the slope there, about h times it
            at = [self.faces.at_walls(v, axis, data if j == i else None) for j, v in enumerate(rows)]
            fields = [tuple(pair[side] for pair in at) for side in range(2)]
            last, data = (
                data,
                tuple(self._wall(wall, fields[s][0] if self.flow.single else fields[s], x[s], t) for s, wall in enumerate(pair)),
            )
            if all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(last, data, strict=True)):
                break
        return data

    def _wall_fields(self, u: Tensor, axis: int, t: Tensor) -> list[Any]:
        """What functions get at the two walls of a Neumann axis."""
        at = [self.faces.at_walls(v, axis, self._data(i, u, axis, t)) for i, v in enumerate(u.unbind(self._axis))]
        return [at[0][s] if self.flow.single else tuple(pair[s] for pair in at) for s in range(2)]

    def _through(self, coefficient: Any, slopes: Data, u: Tensor, axis: int, t: Tensor) -> Data:
        """The flux kappa du/dn through both walls of a Neumann axis; Dirichlet walls need none."""
        if slopes is None or self.grid.boundaries[axis] == "dirichlet":
            return None
        if isinstance(coefficient, float):
            return coefficient * slopes[0], coefficient * slopes[1]
        x, fields = self.faces.wall_coordinates[axis], self._wall_fields(u, axis, t)
        if isinstance(coefficient, Tensor):
            ends = coefficient.narrow(axis, 0, 1), coefficient.narrow(axis, self.grid.points[axis] - 1, 1)
            return ends[0] * slopes[0], ends[1] * slopes[1]
        return tuple(self._at(coefficient, fields[s], x[s], t, None) * slopes[s] for s in range(2))  # pyright: ignore

    # Energy and its gradient

    def _symbol(self, kappa: list[float]) -> Tensor:
        return sum((k * k2 for k, k2 in zip(kappa, self._k2, strict=True)), torch.zeros_like(self._total_k2))

    def density(self, u: Tensor, t: Tensor) -> Tensor:
        """F at the points, `[..., q, *points]`."""
        if isinstance(self.flow.potential, Potential):
            return energy_density(self.flow.potential, self.fields_of(u))
        value = self.flow.potential(self.fields_of(u), self.faces.points, t)
        return self._filled("potential", value, u)

    def energy(self, u: Tensor, times: Tensor) -> Tensor:
        """E `[..., q]` of fields `[..., n, q, *points]`, walls with a slope counted as doing work."""
        t, axes, cell = self.time(times), tuple(range(-self.d, 0)), self.grid.cell
        total = self.grid.integral(self.density(u, t))
        for i, v in enumerate(u.unbind(self._axis)):
            if (symbol := self._symbols[i]) is not None:
                weights = self.grid.weights(u.dtype, u.device) * symbol / 2
                total = total + (weights * self.grid.modes(v).abs() ** 2).sum(axes)
                continue
            for axis, kappa in enumerate(self.kappa[i]):
                data = self._data(i, u, axis, t)
                k = self._at(kappa, self.fields_of(self.on_faces(u, axis, t)), self.faces.coordinates[axis], t, axis)
                total = total + (k / 2 * self.faces.slope(v, axis, data) ** 2).sum(axes) * cell
                through = self._through(kappa, data, u, axis, t)
                if through is not None:
                    total = (
                        total
                        - (self.faces.divergence(torch.zeros_like(self.faces.slope(v, axis)), axis, through) * v).sum(axes) * cell
                    )
        return total

    def variation(self, u: Tensor, u_modes: Tensor, times: Tensor) -> Tensor:
        """Modes of dE/du `[..., n, q, *modes]`."""
        t = self.time(times)
        mu, linear = self._bulk(u, t), torch.zeros_like(u_modes)
        mu_rows, rows = list(mu.unbind(self._axis)), u.unbind(self._axis)
        linear_rows = list(linear.unbind(self._axis))
        for i, v in enumerate(rows):
            if (symbol := self._symbols[i]) is not None:
                linear_rows[i] = symbol * u_modes.select(self._axis, i)
                continue
            for axis, kappa in enumerate(self.kappa[i]):
                data = self._data(i, u, axis, t)
                slope = self.faces.slope(v, axis, data)
                on_faces = None if isinstance(kappa, float | Tensor) else self.on_faces(u, axis, t)
                k, extra = self._kappa_and_slopes(kappa, on_faces, slope, axis, t)
                mu_rows[i] = mu_rows[i] - self.faces.divergence(k * slope, axis, self._through(kappa, data, u, axis, t))
                for j, each in enumerate(extra):
                    if each is not None:
                        mu_rows[j] = mu_rows[j] + self.faces.spread(each, axis)
        return self.grid.modes(torch.stack(mu_rows, self._axis)) + torch.stack(linear_rows, self._axis)

    def _kappa_and_slopes(self, kappa: Any, u: Tensor | None, slope: Tensor, axis: int, t: Tensor) -> tuple[Any, Sequence[Any]]:
        """kappa on the faces, and half the square of the slope times its derivatives by each field there."""
        if u is None:
            return self._at(kappa, None, (), t, axis), ()
        with torch.enable_grad():
            parts = [each.detach().requires_grad_() for each in u.unbind(self._axis)]
            k = self._at(kappa, parts[0] if self.flow.single else tuple(parts), self.faces.coordinates[axis], t, axis)
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
        return all(isinstance(one, float) for row in self.mobility for of in row for one in of) and not any(self._mu_walls)

    def linear_rate(self, mu: Tensor) -> Tensor:
        """-G mu for modes of mu, where the mobilities are numbers."""
        rows = mu.unbind(self._axis)
        return torch.stack(
            [
                -sum((self._mode_mobility(i, j) * rows[j] for j in range(len(rows))), torch.zeros_like(rows[0]))
                for i in range(len(rows))
            ],
            self._axis,
        )

    def _mode_mobility(self, i: int, j: int) -> Any:
        return self._symbol(self.mobility[i][j]) if self.flow.conserved[i] else self.mobility[i][j][0]

    def rate(self, mu: Tensor, u: Tensor, times: Tensor) -> Tensor:
        """Modes of -G(u) mu for fields mu, `[..., n, q, *points]`."""
        t, n = self.time(times), self.flow.fields
        rows = mu.unbind(self._axis)
        fields = self.fields_of(u)
        result = [torch.zeros_like(rows[0]) for _ in range(n)]
        for i in range(n):
            if not self.flow.conserved[i]:
                for j in range(n):
                    M = self._at(self.mobility[i][j][0], fields, self.faces.points, t, None)
                    result[i] = result[i] - M * rows[j] if not (isinstance(M, float) and M == 0) else result[i]
                continue
            for axis in range(self.d):
                result[i] = result[i] + self._transport(i, axis, rows, u, t)
        return self.grid.modes(torch.stack(result, self._axis))

    def _transport(self, i: int, axis: int, rows: Sequence[Tensor], u: Tensor, t: Tensor) -> Tensor:
        """The part of div(sum of M_ij grad mu_j) that one axis has."""
        flux, on_faces = torch.zeros(()).to(u), self.fields_of(self.on_faces(u, axis, t))
        x, through = self.faces.wall_coordinates[axis], None
        for j, mu in enumerate(rows):
            coefficient, pair = self.mobility[i][j][axis], self._pair(self._mu_walls[j], axis)
            if isinstance(coefficient, float) and coefficient == 0:
                continue
            M, data = self._at(coefficient, on_faces, self.faces.coordinates[axis], t, axis), None
            if pair is not None and isinstance(pair[0], Inflow):
                if i == j:
                    at = self._wall_fields(u, axis, t)
                    through = tuple(self._wall(wall, at[s], x[s], t) for s, wall in enumerate(pair))
                    one = self._through(coefficient, (1.0, 1.0), u, axis, t)
                    data = tuple(q / m for q, m in zip(through, one or (1.0, 1.0), strict=True))
            elif pair is not None:
                data = tuple(self._wall(wall, None, x[s], t) for s, wall in enumerate(pair))
            flux = flux + M * self.faces.slope(mu, axis, data)  # pyright: ignore
        return self.faces.divergence(flux, axis, through)  # pyright: ignore

    # The constant operator of the sweeps

    def stiffness(self, u: Tensor, times: Tensor) -> Tensor:
        """G0 (L0 + S) `[n, 1, *modes]`: numbers in the middle of what the coefficients are in the fields u."""
        t, rows = self.time(times), []
        slopes = self._slopes(u, t)
        for i in range(self.flow.fields):
            kappa = [self._middle(k, u, axis, t, 0.5) for axis, k in enumerate(self.kappa[i])]
            S = max(0.0, (float(slopes[i].min()) + float(slopes[i].max())) / 2)
            if self.flow.conserved[i]:
                M = self._symbol([self._middle(k, u, axis, t, 0.75) for axis, k in enumerate(self.mobility[i][i])])
            else:
                M = self._middle(self.mobility[i][i][0], u, None, t, 0.75)
            rows.append(M * (self._symbol(kappa) + S))
        return torch.stack(rows)[:, None]

    def _middle(self, coefficient: Any, u: Tensor, axis: int | None, t: Tensor, share: float) -> float:
        if isinstance(coefficient, float):
            return coefficient
        at, x = (u, self.faces.points) if axis is None else (self.on_faces(u, axis, t), self.faces.coordinates[axis])
        values = self._at(coefficient, self.fields_of(at), x, t, axis)
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and math.isfinite(high)):
            raise ValueError(f"coefficient: expected one that is finite and nowhere negative, got values from {low} to {high}")
        return low + share * (high - low)

    def _slopes(self, u: Tensor, t: Tensor) -> list[Tensor]:
        """The second derivatives of F by each field, at the points."""
        if isinstance(self.flow.potential, Potential):
            return [self.flow.potential.df(u)]
        with torch.enable_grad():
            parts = [each.detach().requires_grad_() for each in u.unbind(self._axis)]
            density = self.flow.potential(parts[0] if self.flow.single else tuple(parts), self.faces.points, t)
            density = torch.as_tensor(density, dtype=u.dtype, device=u.device).sum()
            if not density.requires_grad:
                return [torch.zeros_like(part) for part in parts]
            first = torch.autograd.grad(density, parts, create_graph=True, allow_unused=True)
            return [
                torch.zeros_like(part)
                if g is None or not g.requires_grad
                else (torch.autograd.grad(g.sum(), part, retain_graph=True, allow_unused=True)[0])
                for g, part in zip(first, parts, strict=True)
            ]

    def dissipative(self, u: Tensor) -> bool:
        """Whether the energy can only fall: no forcing, no noise, nothing that comes in, and an energy that no time is in.

        Functions of the user are asked at two times. A slope at a wall that depends on u there does work of its own.
        """
        flow = self.flow
        if flow.forcing is not None or flow.noise is not None or any(self._mu_walls):
            return False
        pairs = [pair for walls in self._walls for pair in (walls or {}).values()]
        if any(callable(wall.of) and not isinstance(wall, Value) for pair in pairs for wall in pair):
            return False
        energies = [self.energy(u, torch.tensor([time], dtype=u.dtype, device=u.device)) for time in (0.0, math.pi / 7)]
        return bool(torch.equal(*energies))

    def growth(self, u: Tensor) -> float:
        """The fastest rate at which a wave grows about fields like u `[..., n, *points]`, or the slowest at which one decays."""
        nodes, now = u.unsqueeze(-1 - self.d), torch.zeros(1, dtype=u.dtype, device=u.device)
        t, mean = self.time(now), nodes.mean(tuple(range(-self.d, 0)), keepdim=True)
        samples = [self._slopes(mean + share * (nodes - mean), t) for share in (0.0, 0.5, 1.0)]
        rate = 0.0
        for i in range(self.flow.fields):
            least = min(float(slopes[i].min()) for slopes in samples)
            kappa = self._symbol([self._middle(k, nodes, axis, t, 0.5) for axis, k in enumerate(self.kappa[i])])
            if self.flow.conserved[i]:
                M = self._symbol([self._middle(k, nodes, axis, t, 0.5) for axis, k in enumerate(self.mobility[i][i])])
            else:
                M = self._middle(self.mobility[i][i][0], nodes, None, t, 0.5)
            slowing = M * (kappa + least)
            grows = float((-slowing).max())
            decays = slowing[slowing > 1e-9 * float(slowing.abs().max())]
            rate = max(rate, grows, float(decays.min()) if decays.numel() else 0.0)
        return rate

    def forcing(self, times: Tensor, u: Tensor) -> Tensor | None:
        """Modes of the forcing, `[..., n, q, *modes]`, which may depend on u."""
        if self.flow.forcing is None:
            return None
        value = self.flow.forcing(self.fields_of(u), self.faces.points, self.time(times))
        parts = (value,) if self.flow.single else tuple(value)
        if len(parts) != self.flow.fields:
            raise ValueError(f"forcing: expected {self.flow.fields} values, one for each field, got {len(parts)}")
        return self.grid.modes(torch.stack([self._filled("forcing", part, u) for part in parts], self._axis))

    def _filled(self, name: str, value: Any, u: Tensor) -> Tensor:
        """What a function of the user returned, on all points. Raises ValueError where it does not fit."""
        shape = u.select(self._axis, 0).shape
        try:
            return torch.as_tensor(value, dtype=u.dtype, device=u.device).expand(shape)
        except (TypeError, ValueError, RuntimeError) as error:
            got = list(value.shape) if isinstance(value, Tensor) else repr(value)
            raise ValueError(
                f"{name}: expected a function (u, x, t) whose values broadcast to {list(shape)}, got {got}"
            ) from error
