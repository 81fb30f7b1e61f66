"""Slopes, middle values and divergences on the faces between the points of a `Grid`, spectrally exact, with walls.

Along an axis the faces lie between the points. A field is taken as the series that its boundary has (Fourier, cosine, sine),
whose slope D u and value I u on the faces are matrices. Sums over points and over faces agree with the integrals of such
series, so that D^T is the adjoint of D, D^T D is minus the second derivative of `Grid`, and the energy sum of kappa/2 (D u)^2
has the gradient D^T(kappa D u) exactly, whatever kappa is on the faces. All waves have a slope there, the shortest included.

A wall that holds a value a, or a slope s outwards, is taken care of by a line or a parabola e that has it:

    slope = D (u - s e) + s e',     divergence J = -D^T (J - q e') + q e'',    q the flux through the wall,

which is linear in s and q, so that each side of each axis adds one vector times its datum.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ernest.phasefield.grid import Grid

Matrices = tuple[np.ndarray, ...]
"""What a `FaceAxis` is made of, in its order."""
Data = tuple[Tensor | float, Tensor | float] | None
"""What the two walls of an axis hold, with size 1 along it; None where they hold zero."""


@dataclass(frozen=True)
class FaceAxis:
    """Matrices from n points to m faces: `slope`, `middle` (the series) and `average` (neighbours), all `[m, n]`.

    The others have a column for each wall: `wall_slope`, `wall_middle` `[m, 2]`, `entry` `[n, 2]` (what a flux adds to the
    divergence), `trace` `[2, n]` (the value at the walls) and `wall_trace` `[2, 2]`.
    """

    positions: Tensor
    slope: Tensor
    middle: Tensor
    average: Tensor
    wall_slope: Tensor
    wall_middle: Tensor
    entry: Tensor
    trace: Tensor
    wall_trace: Tensor


def face_axis(n: int, length: float, boundary: str, like: Tensor) -> FaceAxis:
    """The matrices of one axis, made in double precision."""
    parts = MATRICES[boundary](n, length)
    return FaceAxis(*(torch.from_numpy(np.ascontiguousarray(part)).to(like) for part in parts))


def _periodic(n: int, length: float) -> Matrices:
    h, none = length / n, np.zeros
    k = np.fft.fftfreq(n, 1 / n) * 2 * math.pi / length
    shifted = np.exp(0.5j * k * h)[:, None] * np.fft.fft(np.eye(n), axis=0)
    slope, middle = np.fft.ifft(1j * k[:, None] * shifted, axis=0).real, np.fft.ifft(shifted, axis=0).real
    average, faces = (np.eye(n) + np.roll(np.eye(n), 1, 1)) / 2, (np.arange(n) + 0.5) * h
    return faces, slope, middle, average, none((n, 2)), none((n, 2)), none((n, 2)), none((2, n)), none((2, 2))


def _neumann(n: int, length: float) -> Matrices:
    h, j, walls = length / n, np.arange(n), np.array([0.0, length])
    points, faces, k = (j + 0.5) * h, np.arange(1, n) * h, j * math.pi / length
    analysis = 2 / n * np.cos(np.outer(k, points))
    analysis[0] /= 2
    slope, middle = -np.sin(np.outer(faces, k)) * k @ analysis, np.cos(np.outer(faces, k)) @ analysis
    trace = np.cos(np.outer(walls, k)) @ analysis
    average = (np.eye(n)[:-1] + np.eye(n)[1:]) / 2
    # Parabolas with the slope 1 outwards at one wall and 0 at the other.
    e = lambda x: np.stack([-x + x**2 / (2 * length), x**2 / (2 * length)], -1)  # noqa: E731
    de = lambda x: np.stack([-1 + x / length, x / length], -1)  # noqa: E731
    wall_slope, wall_middle = de(faces) - slope @ e(points), e(faces) - middle @ e(points)
    entry = slope.T @ de(faces) + 1 / length
    return faces, slope, middle, average, wall_slope, wall_middle, entry, trace, e(walls) - trace @ e(points)


def _dirichlet(n: int, length: float) -> Matrices:
    h, j = length / (n + 1), np.arange(n)
    points, faces, k = (j + 1) * h, (np.arange(n + 1) + 0.5) * h, (j + 1) * math.pi / length
    analysis = 2 / (n + 1) * np.sin(np.outer(k, points))
    slope, middle = np.cos(np.outer(faces, k)) * k @ analysis, np.sin(np.outer(faces, k)) @ analysis
    average = (np.eye(n + 1, n) + np.eye(n + 1, n, -1)) / 2
    average[0, 0] = average[-1, -1] = 1
    # Lines with the value 1 at one wall and 0 at the other.
    e = lambda x: np.stack([1 - x / length, x / length], -1)  # noqa: E731
    de = lambda x: np.stack([-1 / length + 0 * x, 1 / length + 0 * x], -1)  # noqa: E731
    wall_slope, wall_middle = de(faces) - slope @ e(points), e(faces) - middle @ e(points)
    return faces, slope, middle, average, wall_slope, wall_middle, np.zeros((n, 2)), np.zeros((2, n)), np.eye(2)


def _dirichlet_neumann(n: int, length: float) -> Matrices:
    """Half of a Dirichlet axis of twice the length, for what is even about the middle of that."""
    faces, *both, _, _, _, _, _ = _dirichlet(2 * n, 2 * length)
    mirrored = np.concatenate([np.eye(n), np.eye(n)[::-1]])
    slope, middle, average = (matrix[:n] @ mirrored for matrix in both)
    faces, points, walls = faces[:n], (np.arange(n) + 1) * length / (n + 0.5), np.array([0.0, length])
    # The constant 1 and the line x: the value 1 at the first wall, the slope 1 at the last, and 0 at the other.
    e = lambda x: np.stack([1 + 0 * x, x], -1)  # noqa: E731
    de = lambda x: np.stack([0 * x, 1 + 0 * x], -1)  # noqa: E731
    wall_slope, wall_middle = de(faces) - slope @ e(points), e(faces) - middle @ e(points)
    entry = np.stack([np.zeros(n), slope.T @ np.ones(n)], -1)
    trace = np.stack([np.zeros(n), both[1][n] @ mirrored])
    return faces, slope, middle, average, wall_slope, wall_middle, entry, trace, e(walls) - trace @ e(points)


def _neumann_dirichlet(n: int, length: float) -> Matrices:
    """The mirror image of that: slopes along the axis change their sign, those outwards do not."""
    faces, *others = (part[..., ::-1] if part.ndim == 1 else part[::-1, ::-1] for part in _dirichlet_neumann(n, length))
    slope, middle, average, wall_slope, *rest = others
    return length - faces, -slope, middle, average, -wall_slope, *rest


MATRICES: dict[str, Callable[[int, float], Matrices]] = {
    "periodic": _periodic,
    "neumann": _neumann,
    "dirichlet": _dirichlet,
    "dirichlet-neumann": _dirichlet_neumann,
    "neumann-dirichlet": _neumann_dirichlet,
}


class Faces:
    """The faces of every axis of a grid, for fields `[..., *points]` in the precision and on the device of `like`."""

    def __init__(self, grid: Grid, like: Tensor) -> None:
        self.grid, self._d = grid, grid.dimensions
        self.axes = [face_axis(*of, like) for of in zip(grid.points, grid.lengths, grid.boundaries, strict=True)]
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
        return self._apply(self.axes[axis].middle.T, v, axis)

    def divergence(self, flux: Tensor, axis: int, through: Data = None) -> Tensor:
        """The derivative of a flux on the faces of the axis, with what goes `through` the walls inwards. Nothing is lost."""
        value = -self._apply(self.axes[axis].slope.T, flux, axis)
        if "dirichlet" not in self.grid.boundaries[axis]:
            value = value - value.mean(axis - self._d, keepdim=True)  # round-off of a sum that is zero
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
            column = walls[:, side].reshape([-1 if other == axis else 1 for other in range(self._d)])
            value = value + column * datum
        return value
