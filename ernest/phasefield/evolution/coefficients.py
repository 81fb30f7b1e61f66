"""Coefficients of a coupled flow on a grid, and what its walls hold, taken where they are needed: at points, on faces, at walls.

Fields are `[..., n, q, *points]`: n of them, at q times.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from ernest.phasefield.evolution.faces import Data, Faces
from ernest.phasefield.evolution.flows import CoupledFlow, Function, Value, Wall
from ernest.phasefield.grid import Grid


class Coefficients:
    """The coefficients of one flow, for fields in the precision and on the device of `like`."""

    def __init__(self, flow: CoupledFlow, grid: Grid, like: Tensor) -> None:
        self.flow, self.grid, self.faces, self.d = flow, grid, Faces(grid, like), grid.dimensions
        self._like, self.axis = like, -2 - grid.dimensions
        self._walls = flow.walls or (None,) * flow.fields

    def per_axis(self, coefficient: Any) -> list[Any]:
        """A coefficient for each axis, of numbers, arrays and functions."""
        of = list(coefficient) if isinstance(coefficient, tuple) else [coefficient] * self.d
        if len(of) != self.d:
            raise ValueError(f"coefficient: expected one for all axes or one for each of {self.d}, got {len(of)}")
        return [self.coefficient(one) for one in of]

    def coefficient(self, one: Any) -> Any:
        """A number, an array or a function. Raises ValueError for others, and where one is negative."""
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

    def coefficient_at(self, coefficient: Any, fields: Any, t: Tensor, axis: int | None) -> Any:
        """A coefficient of the user at the points, or on the faces of an axis, where `fields` are taken."""
        x = self.faces.points if axis is None else self.faces.coordinates[axis]
        return self.at(self.coefficient(coefficient), fields, x, t, axis)

    def on_faces(self, u: Tensor, axis: int, t: Tensor) -> Tensor:
        """All fields on the faces of an axis."""
        rows = u.unbind(self.axis)
        return torch.stack([self.faces.middle(v, axis, self.data(i, u, axis, t)) for i, v in enumerate(rows)], self.axis)

    # Walls

    def pair(self, walls: Any, axis: int) -> tuple[Wall, Wall] | None:
        """What the two walls of an axis hold."""
        return (walls or {}).get(axis)

    def wall(self, wall: Wall, u: Any, x: Sequence[Tensor], t: Tensor) -> Any:
        """The datum of one wall."""
        of = wall.of
        if not callable(of):
            return of
        value = cast(Callable[..., Any], of)(tuple(x), t) if isinstance(wall, Value) else cast(Function, of)(u, tuple(x), t)
        return torch.as_tensor(value, dtype=self._like.dtype, device=self._like.device)

    def data(self, i: int, u: Tensor, axis: int, t: Tensor) -> Data:
        """What the walls of field i hold: values, or slopes, which may depend on the fields at the wall themselves."""
        pair = self.pair(self._walls[i], axis)
        if pair is None:
            return None
        x = self.faces.wall_coordinates[axis]
        if not any(callable(wall.of) and not isinstance(wall, Value) for wall in pair):
            return tuple(self.wall(wall, None, x[side], t) for side, wall in enumerate(pair))  # pyright: ignore
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
        at = [self.faces.at_walls(v, axis, self.data(i, u, axis, t)) for i, v in enumerate(u.unbind(self.axis))]
        return [at[0][s] if self.flow.single else tuple(pair[s] for pair in at) for s in range(2)]

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
        return tuple(self.at(coefficient, fields[s], x[s], t, None) * slopes[s] for s in range(2))  # pyright: ignore

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
