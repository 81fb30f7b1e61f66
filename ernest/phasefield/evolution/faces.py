"""Slopes, middle values and divergences on the faces between the points of a `Grid`.

Along an axis the faces lie between the points. Where nothing is held, a field is taken as the series that its boundary has
(Fourier, cosine, sine), whose slope D u and value I u on the faces are matrices; all waves have a slope there, the shortest
included. An axis whose walls hold something has differences of high order instead (`closures`), with columns for the data of both
walls, and weights v of its faces and w of its points that are not one next to the walls:

    slope = D u + D' (data),     divergence J = -w^{-1} D^T v J + E q,    q the flux inwards through the walls.

So the energy, the sum of v kappa/2 (D u)^2, has the gradient w^{-1} D^T(v kappa D u) exactly, whatever kappa is on the faces.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ernest.phasefield.evolution.closures import between_walls
from ernest.phasefield.grid import Grid, ends_of

Matrices = tuple[np.ndarray, ...]
"""What a `FaceAxis` is made of, in its order."""
Data = tuple[Tensor | float, Tensor | float] | None
"""What the two walls of an axis hold, with size 1 along it; None where they hold zero."""


@dataclass(frozen=True)
class FaceAxis:
    """Matrices from n points to m faces: `slope`, `middle` and `average` (of neighbours), `[m, n]`; from faces to points:
    `divergence` and `spread`, the adjoint of `middle`, `[n, m]`; and the weights of `faces` `[m]` and `points` `[n]`.

    The others have a column for each wall: `wall_slope`, `wall_middle` `[m, 2]`, `entry` `[n, 2]` (what a flux adds to the
    divergence), and `wall_trace` `[2, 2]`, which with `trace` `[2, n]` makes the value at the walls.
    """

    positions: Tensor
    slope: Tensor
    middle: Tensor
    average: Tensor
    divergence: Tensor
    spread: Tensor
    faces: Tensor
    points: Tensor
    wall_slope: Tensor
    wall_middle: Tensor
    entry: Tensor
    trace: Tensor
    wall_trace: Tensor


def face_axis(n: int, length: float, boundary: str, held: bool, like: Tensor) -> FaceAxis:
    """The matrices of one axis, made in double precision."""
    parts = _of_differences(n, length, boundary) if held else _of_series(n, length, boundary)
    return FaceAxis(*(torch.from_numpy(np.ascontiguousarray(part)).to(like) for part in parts))


def _of_series(n: int, length: float, boundary: str) -> Matrices:
    faces, slope, middle, average = SERIES[boundary](n, length)
    none, m = np.zeros, len(faces)
    walls = none((m, 2)), none((m, 2)), none((n, 2)), none((2, n)), none((2, 2))
    return faces, slope, middle, average, -slope.T, middle.T, np.ones(m), np.ones(n), *walls


def _of_differences(n: int, length: float, boundary: str) -> Matrices:
    slope, middle, v, w, wall_slope, wall_middle, entry = between_walls(n, length, boundary)
    ends, average = ends_of(boundary), (np.eye(n + 1, n) + np.eye(n + 1, n, -1)) / 2
    average[0, 0] = average[-1, -1] = 1
    h = length / (n + ends.count("dirichlet") / 2)
    faces = (np.arange(n + 1) + (0.5 if ends[0] == "dirichlet" else 0.0)) * h
    # What a flux through a wall adds to the points tells which value it works on: that from which the slopes of D are summed.
    trace, wall_trace = h * (w[:, None] * entry).T, np.eye(2)
    for side, end in enumerate(ends):
        if end == "neumann":
            wall_trace[side, side] = (2 * side - 1) * h * v @ wall_slope[:, side]
    divergence, spread = (matrix.T * v / w[:, None] for matrix in (-slope, middle))
    return faces, slope, middle, average, divergence, spread, v, w, wall_slope, wall_middle, entry, trace, wall_trace


def _periodic(n: int, length: float) -> Matrices:
    h = length / n
    k = np.fft.fftfreq(n, 1 / n) * 2 * math.pi / length
    shifted = np.exp(0.5j * k * h)[:, None] * np.fft.fft(np.eye(n), axis=0)
    slope, middle = np.fft.ifft(1j * k[:, None] * shifted, axis=0).real, np.fft.ifft(shifted, axis=0).real
    return (np.arange(n) + 0.5) * h, slope, middle, (np.eye(n) + np.roll(np.eye(n), 1, 1)) / 2


def _neumann(n: int, length: float) -> Matrices:
    h, j = length / n, np.arange(n)
    points, faces, k = (j + 0.5) * h, np.arange(1, n) * h, j * math.pi / length
    analysis = 2 / n * np.cos(np.outer(k, points))
    analysis[0] /= 2
    slope, middle = -np.sin(np.outer(faces, k)) * k @ analysis, np.cos(np.outer(faces, k)) @ analysis
    return faces, slope, middle, (np.eye(n)[:-1] + np.eye(n)[1:]) / 2


def _dirichlet(n: int, length: float) -> Matrices:
    h, j = length / (n + 1), np.arange(n)
    points, faces, k = (j + 1) * h, (np.arange(n + 1) + 0.5) * h, (j + 1) * math.pi / length
    analysis = 2 / (n + 1) * np.sin(np.outer(k, points))
    slope, middle = np.cos(np.outer(faces, k)) * k @ analysis, np.sin(np.outer(faces, k)) @ analysis
    average = (np.eye(n + 1, n) + np.eye(n + 1, n, -1)) / 2
    average[0, 0] = average[-1, -1] = 1
    return faces, slope, middle, average


def _dirichlet_neumann(n: int, length: float) -> Matrices:
    """Half of a Dirichlet axis of twice the length, for what is even about the middle of that."""
    faces, *matrices = _dirichlet(2 * n, 2 * length)
    mirrored = np.concatenate([np.eye(n), np.eye(n)[::-1]])
    return faces[:n], *(matrix[:n] @ mirrored for matrix in matrices)


def _neumann_dirichlet(n: int, length: float) -> Matrices:
    """The mirror image of that: slopes along the axis change their sign."""
    faces, slope, middle, average = (part[(slice(None, None, -1),) * part.ndim] for part in _dirichlet_neumann(n, length))
    return length - faces, -slope, middle, average


SERIES: dict[str, Callable[[int, float], Matrices]] = {
    "periodic": _periodic,
    "neumann": _neumann,
    "dirichlet": _dirichlet,
    "dirichlet-neumann": _dirichlet_neumann,
    "neumann-dirichlet": _neumann_dirichlet,
}


class Faces:
    """The faces of every axis of a grid, for fields `[..., *points]` in the precision and on the device of `like`.

    Walls of the `held` axes hold something, for one field or all.
    """

    def __init__(self, grid: Grid, like: Tensor, held: Collection[int] = ()) -> None:
        self.grid, self._d, self.held, self.held_axes = grid, grid.dimensions, bool(held), frozenset(held)
        self._kind = like.dtype, like.device
        sides = zip(grid.points, grid.lengths, grid.boundaries, strict=True)
        self.axes = [face_axis(*of, axis in held, like) for axis, of in enumerate(sides)]
        self.weights = self._product([each.points for each in self.axes])
        """Of the points in sums that stand for integrals, `[*points]`: one but next to walls that hold something."""
        self.face_weights = [
            self._product([each.faces if other == axis else each.points for other, each in enumerate(self.axes)])
            for axis in range(self._d)
        ]
        """Of the faces of each axis."""
        lines = grid.lines(like.dtype, like.device)
        self.points = torch.meshgrid(*lines, indexing="ij")
        self.coordinates = [
            torch.meshgrid(*[each.positions if other == axis else line for other, line in enumerate(lines)], indexing="ij")
            for axis, each in enumerate(self.axes)
        ]
        self.wall_coordinates = [
            tuple(
                torch.meshgrid(
                    *[line.new_tensor([end]) if other == axis else line for other, line in enumerate(lines)], indexing="ij"
                )
                for end in (0.0, length)
            )
            for axis, length in enumerate(grid.lengths)
        ]

    def slope(self, v: Tensor, axis: int, data: Data = None) -> Tensor:
        """The derivative along the axis, on its faces."""
        return self._apply(self.axes[axis].slope, v, axis, self.axes[axis].wall_slope, data)

    def middle(self, v: Tensor, axis: int, data: Data = None) -> Tensor:
        """The values on the faces of the axis."""
        return self._apply(self.axes[axis].middle, v, axis, self.axes[axis].wall_middle, data)

    def average(self, v: Tensor, axis: int) -> Tensor:
        """The mean of the two neighbours of each face."""
        return self._apply(self.axes[axis].average, v, axis)

    def spread(self, v: Tensor, axis: int) -> Tensor:
        """The adjoint of `middle`: from faces to points."""
        return self._apply(self.axes[axis].spread, v, axis)

    def integral(self, u: Tensor) -> Tensor:
        """Integral over the box of fields `[..., *points]`, `[...]`."""
        return (self.weights * u).sum(tuple(range(-self._d, 0))) * self.grid.cell

    def on_faces(self, v: Tensor, axis: int) -> Tensor:
        """Integral over the box of what is on the faces of an axis, `[...]`."""
        return (self.face_weights[axis] * v).sum(tuple(range(-self._d, 0))) * self.grid.cell

    def divergence(self, flux: Tensor, axis: int, through: Data = None) -> Tensor:
        """The derivative of a flux on the faces of the axis, with what goes `through` the walls inwards. Nothing is lost."""
        value = self._apply(self.axes[axis].divergence, flux, axis)
        if "dirichlet" not in self.grid.boundaries[axis]:
            weights = self._along(self.axes[axis].points / self.axes[axis].points.sum(), axis)
            value = value - (weights * value).sum(axis - self._d, keepdim=True)  # round-off of a sum that is zero
        return self._add(value, axis, self.axes[axis].entry, through)

    def at_walls(self, v: Tensor, axis: int, data: Data = None) -> tuple[Tensor, Tensor]:
        """The values at both walls of an axis, with size 1 along it, for slopes `data`; a Dirichlet wall has its own."""
        both = self._apply(self.axes[axis].trace, v, axis, self.axes[axis].wall_trace, data)
        left, right = both.split(1, axis - self._d)
        return left, right

    def _apply(self, matrix: Tensor, v: Tensor, axis: int, walls: Tensor | None = None, data: Data = None) -> Tensor:
        value = (v.movedim(axis - self._d, -1) @ matrix.T).movedim(-1, axis - self._d)
        return value if walls is None else self._add(value, axis, walls, data)

    def _add(self, value: Tensor, axis: int, walls: Tensor, data: Data) -> Tensor:
        for side, datum in enumerate(data or ()):
            value = value + self._along(walls[:, side], axis) * datum
        return value

    def wall_integral(self, value: Tensor, axis: int) -> Tensor:
        """Integral over a wall of an axis, where fields have size 1 along it, `[...]`."""
        lines = [each.points[:1] * 0 + 1 if other == axis else each.points for other, each in enumerate(self.axes)]
        area = self.grid.cell / self.grid.spacings[axis]
        return (self._product(lines) * value).sum(tuple(range(-self._d, 0))) * area

    @cached_property
    def with_ends(self) -> tuple[list[Tensor], Tensor]:
        """Lines of the points and of the ends that Dirichlet axes leave out where nothing is held, and what these ends weigh in
        sums that stand for integrals, `[*places]`; the points weigh 0, for they are in `weights`."""
        lines, own, inner = [], [], []
        for axis, (line, each) in enumerate(zip(self.grid.lines(*self._kind), self.axes, strict=True)):
            out = [end == "dirichlet" and axis not in self.held_axes for end in ends_of(self.grid.boundaries[axis])]
            for parts, of, at in (
                (lines, line, (0.0, self.grid.lengths[axis])),
                (own, each.points, (0.5, 0.5)),
                (inner, each.points, (0.0, 0.0)),
            ):
                ends = [line.new_tensor([value] * left) for value, left in zip(at, out, strict=True)]
                parts.append(torch.cat([ends[0], of, ends[1]]))
        return lines, self._product(own) - self._product(inner)

    def _product(self, lines: list[Tensor]) -> Tensor:
        total = torch.ones_like(lines[0][:1])
        for axis, line in enumerate(lines):
            total = total * self._along(line, axis)
        return total

    def _along(self, line: Tensor, axis: int) -> Tensor:
        return line.reshape([-1 if other == axis else 1 for other in range(self._d)])
