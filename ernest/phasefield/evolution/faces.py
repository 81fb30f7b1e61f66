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
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ernest.phasefield.grid import Grid

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
    j = np.arange(n)
    none = np.zeros
    if boundary == "periodic":
        h = length / n
        k = np.fft.fftfreq(n, 1 / n) * 2 * math.pi / length
        shifted = np.exp(0.5j * k * h)[:, None] * np.fft.fft(np.eye(n), axis=0)
        slope, middle = np.fft.ifft(1j * k[:, None] * shifted, axis=0).real, np.fft.ifft(shifted, axis=0).real
        average = (np.eye(n) + np.roll(np.eye(n), 1, 1)) / 2
        parts = ((j + 0.5) * h, slope, middle, average, none((n, 2)), none((n, 2)), none((n, 2)), none((2, n)), none((2, 2)))
        return FaceAxis(*(torch.from_numpy(np.ascontiguousarray(part)).to(like) for part in parts))
    walls = np.array([0.0, length])
    if boundary == "neumann":
        h = length / n
        points, faces, k = (j + 0.5) * h, np.arange(1, n) * h, j * math.pi / length
        analysis = 2 / n * np.cos(np.outer(k, points))
        analysis[0] /= 2
        slope, middle = -np.sin(np.outer(faces, k)) * k @ analysis, np.cos(np.outer(faces, k)) @ analysis
        trace = np.cos(np.outer(walls, k)) @ analysis
        average = (np.eye(n)[:-1] + np.eye(n)[1:]) / 2
        # Parabolas with the slope 1 outwards at one wall and 0 at the other.
        e = lambda x: np.stack([-x + x**2 / (2 * length), x**2 / (2 * length)], -1)  # noqa: E731
        de = lambda x: np.stack([-1 + x / length, x / length], -1)  # noqa: E731
        entry = slope.T @ de(faces) + 1 / length
    else:
        h = length / (n + 1)
        points, faces, k = (j + 1) * h, (np.arange(n + 1) + 0.5) * h, (j + 1) * math.pi / length
        analysis = 2 / (n + 1) * np.sin(np.outer(k, points))
        slope, middle = np.cos(np.outer(faces, k)) * k @ analysis, np.sin(np.outer(faces, k)) @ analysis
        trace = none((2, n))
        average = (np.eye(n + 1, n) + np.eye(n + 1, n, -1)) / 2
        average[0, 0] = average[-1, -1] = 1
        # Lines with the value 1 at one wall and 0 at the other.
        e = lambda x: np.stack([1 - x / length, x / length], -1)  # noqa: E731
        de = lambda x: np.stack([-1 / length + 0 * x, 1 / length + 0 * x], -1)  # noqa: E731
        entry = none((n, 2))
    wall_slope, wall_middle = de(faces) - slope @ e(points), e(faces) - middle @ e(points)
    parts = (faces, slope, middle, average, wall_slope, wall_middle, entry, trace, e(walls) - trace @ e(points))
    return FaceAxis(*(torch.from_numpy(np.ascontiguousarray(part)).to(like) for part in parts))


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
        if self.grid.boundaries[axis] != "dirichlet":
            value = value - value.mean(axis - self._d, keepdim=True)  # round-off of a sum that is zero
        return self._add(value, axis, self.axes[axis].entry, through)

    def at_walls(self, v: Tensor, axis: int, data: Data = None) -> tuple[Tensor, Tensor]:
        """The values at both walls of a Neumann axis, with size 1 along it, for slopes `data`."""
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
