"""Coefficients of a coupled flow on a grid, and what its walls hold, taken where they are needed: at points, on faces, at walls.

Fields are `[..., n, q, *points]`: n of them, at q times.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ernest.phasefield.evolution.faces import Data, Faces
from ernest.phasefield.evolution.flows import CoupledFlow
from ernest.phasefield.evolution.given import Function
from ernest.phasefield.evolution.walls import Value, Wall, laid_along
from ernest.phasefield.grid import Grid, ends_of


class Coefficients:
    """The coefficients of one flow, for fields in the precision and on the device of `like`."""

    def __init__(self, flow: CoupledFlow, grid: Grid, like: Tensor) -> None:
        held = {axis for walls in (*flow.walls, *flow.potential_walls) for axis in walls or {}}
        self.flow, self.grid, self.faces, self.d = flow, grid, Faces(grid, like, held), grid.dimensions
        self._like, self.axis = like, -2 - grid.dimensions
        self._walls = flow.walls or (None,) * flow.fields
        self._known: dict[tuple[int, int], bool] = {}

    def per_axis(self, name: str, coefficient: Any) -> list[Any]:
        """A coefficient for each axis, of numbers, arrays and functions."""
        of = list(coefficient) if isinstance(coefficient, tuple) else [coefficient] * self.d
        if len(of) != self.d:
            raise ValueError(f"{name}: expected one for all axes or one for each of {self.d}, got {len(of)}")
        return [self.coefficient(name, one) for one in of]

    def coefficient(self, name: str, one: Any) -> Any:
        """A number, an array or a function. Raises ValueError for others, and where one is negative."""
        if callable(one):
            return one
        wanted = f"{name}: expected a number, a function (u, x, t) or an array {list(self.grid.points)}"
        try:
            value = torch.as_tensor(one, dtype=self._like.dtype, device=self._like.device)
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(f"{wanted}, got {one!r}") from None
        if value.ndim and value.shape != self.grid.points:
            raise ValueError(f"{wanted}, got {list(value.shape)}")
        if not bool((torch.isfinite(value) & (value >= 0)).all()):
            raise ValueError(
                f"{name}: expected numbers that are finite and nowhere negative, got a least of {float(value.min())}"
            )
        return value if value.ndim else float(value)

    def fields_of(self, u: Tensor) -> Any:
        """What functions of the user get: the field, or the tuple of them."""
        parts = u.unbind(self.axis)
        return parts[0] if self.flow.single else parts

    def time(self, times: Tensor) -> Tensor:
        """Times `[q]` as `[q, 1, ..]`."""
        return times.reshape(-1, *[1] * self.d)

    def at(self, coefficient: Any, u: Any, x: Sequence[Tensor], t: Tensor, axis: int | None) -> Any:
        """A coefficient at the points, or on the faces of an axis where u and x are taken."""
        if isinstance(coefficient, float):
            return coefficient
        if isinstance(coefficient, Tensor):
            return coefficient if axis is None else self.faces.average(coefficient, axis)
        return torch.as_tensor(coefficient(u, tuple(x), t), dtype=self._like.dtype, device=self._like.device)

    def coefficient_at(self, name: str, coefficient: Any, fields: Any, t: Tensor, axis: int | None) -> Any:
        """A coefficient of the user at the points, or on the faces of an axis, where `fields` are taken."""
        x = self.faces.points if axis is None else self.faces.coordinates[axis]
        return self.at(self.coefficient(name, coefficient), fields, x, t, axis)

    def on_faces(self, u: Tensor, axis: int, t: Tensor) -> Tensor:
        """All fields on the faces of an axis."""
        rows = u.unbind(self.axis)
        return torch.stack([self.faces.middle(v, axis, self.data(i, u, axis, t)) for i, v in enumerate(rows)], self.axis)

    # Walls

    def pair(self, walls: Any, axis: int) -> tuple[Wall, Wall] | None:
        """What the two walls of an axis hold."""
        pair = (walls or {}).get(axis)
        return None if pair is None else tuple(laid_along(wall, axis, self.grid) for wall in pair)

    def wall(self, wall: Wall, u: Any, x: Sequence[Tensor], t: Tensor) -> Any:
        """The datum of one wall."""
        of = wall.of
        if isinstance(of, float):
            return of
        if isinstance(of, Tensor):
            return of.to(self._like)
        value = cast(Callable[..., Any], of)(tuple(x), t) if isinstance(wall, Value) else cast(Function, of)(u, tuple(x), t)
        return torch.as_tensor(value, dtype=self._like.dtype, device=self._like.device)

    def data(self, i: int, u: Tensor, axis: int, t: Tensor) -> Data:
        """What the walls of field i hold: values, or slopes, which may depend on the fields at the wall themselves."""
        pair = self.pair(self._walls[i], axis)
        if pair is None:
            return None
        x = self.faces.wall_coordinates[axis]
        if not any(callable(wall.of) and not isinstance(wall, Value) for wall in pair):
            return tuple(self.wall(wall, None, x[side], t) for side, wall in enumerate(pair))
        data: Any = (0.0, 0.0)
        rows = u.unbind(self.axis)
        for _ in range(8):  # the value at the wall contains a share of the slope there, about h times it
            at = [self.faces.at_walls(v, axis, data if j == i else None) for j, v in enumerate(rows)]
            fields = [tuple(pair[side] for pair in at) for side in range(2)]
            last, data = (
                data,
                tuple(self.wall(wall, fields[s][0] if self.flow.single else fields[s], x[s], t) for s, wall in enumerate(pair)),
            )
            if all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(last, data, strict=True)):
                break
        return data

    def wall_fields(self, u: Tensor, axis: int, t: Tensor) -> list[Any]:
        """What functions get at the two walls of a Neumann axis."""
        at = self._at_walls(u, axis, t)
        return [at[0][s] if self.flow.single else tuple(pair[s] for pair in at) for s in range(2)]

    def slopes_know(self, i: int, axis: int, u: Tensor, t: Tensor) -> bool:
        """Whether what the walls of field i hold depends on the fields there."""
        if (i, axis) not in self._known:
            pair = self.pair(self._walls[i], axis) or ()
            called = [(side, wall) for side, wall in enumerate(pair) if callable(wall.of) and not isinstance(wall, Value)]
            with torch.enable_grad():
                at = [[end.detach().requires_grad_() for end in self.faces.at_walls(v, axis)] for v in u.unbind(self.axis)]
                fields = [at[0][side] if self.flow.single else tuple(pair[side] for pair in at) for side in range(2)]
                x = self.faces.wall_coordinates[axis]
                self._known[i, axis] = any(self.wall(wall, fields[side], x[side], t).requires_grad for side, wall in called)
        return self._known[i, axis]

    def _at_walls(self, u: Tensor, axis: int, t: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The values of every field at both walls."""
        return [self.faces.at_walls(v, axis, self.data(i, u, axis, t)) for i, v in enumerate(u.unbind(self.axis))]

    def through(self, coefficient: Any, slopes: Data, u: Tensor, axis: int, t: Tensor) -> Data:
        """The flux kappa du/dn through both walls of a Neumann axis; Dirichlet walls need none."""
        if slopes is None or self.grid.boundaries[axis] == "dirichlet":
            return None
        if isinstance(coefficient, float):
            return coefficient * slopes[0], coefficient * slopes[1]
        x, fields = self.faces.wall_coordinates[axis], self.wall_fields(u, axis, t)
        if isinstance(coefficient, Tensor):
            ends = coefficient.narrow(axis, 0, 1), coefficient.narrow(axis, self.grid.points[axis] - 1, 1)
            return ends[0] * slopes[0], ends[1] * slopes[1]
        return tuple(self.at(coefficient, fields[s], x[s], t, None) * slopes[s] for s in range(2))

    def work(self, i: int, kappa: Any, slopes: Data, u: Tensor, axis: int, t: Tensor) -> Tensor:
        """What slopes at walls have done on field i, the integral of kappa times slope from 0 to the value there: `[..., q]`."""
        total, ends = torch.zeros((), dtype=u.dtype, device=u.device), ends_of(self.grid.boundaries[axis])
        if slopes is None or "neumann" not in ends:
            return total
        x, at = self.faces.wall_coordinates[axis], self._at_walls(u, axis, t)
        walls, knows = self.pair(self._walls[i], axis) or (), self.flow.single and self.slopes_know(i, axis, u, t)
        nodes, weights = np.polynomial.legendre.leggauss(8)
        for side in (side for side, end in enumerate(ends) if end == "neumann"):
            fields = [pair[side] for pair in at]

            def flux(share: float, side: int = side, fields: list[Tensor] = fields) -> Any:
                parts = [v * share if j == i else v for j, v in enumerate(fields)]
                given = parts[0] if self.flow.single else tuple(parts)
                k: Any = kappa.select(axis, -side).unsqueeze(axis) if isinstance(kappa, Tensor) else kappa
                k = self.at(kappa, given, x[side], t, None) if callable(kappa) else k
                return k * (self.wall(walls[side], given, x[side], t) if knows else slopes[side])

            if callable(kappa) or knows:
                mean = sum(w / 2 * flux((1 + node) / 2) for node, w in zip(nodes, weights, strict=True))
            else:
                mean = flux(1.0)
            total = total + self.faces.wall_integral(mean * fields[i], axis)
        return total

    def filled(self, name: str, value: Any, u: Tensor) -> Tensor:
        """What a function of the user returned, on all points. Raises ValueError where it does not fit."""
        shape = u.select(self.axis, 0).shape
        try:
            return torch.as_tensor(value, dtype=u.dtype, device=u.device).expand(shape)
        except (TypeError, ValueError, RuntimeError) as error:
            got = list(value.shape) if isinstance(value, Tensor) else repr(value)
            raise ValueError(
                f"{name}: expected a function (u, x, t) whose values broadcast to {list(shape)}, got {got}"
            ) from error
