"""Legendre-Galerkin grid for Neumann boundaries, with the modes in which minus the Laplacian is diagonal.

On each axis the space is the polynomials of degree up to M. In the orthonormal Legendre basis phi_0 .. phi_M of [-1, 1] the
mass matrix is the identity and the stiffness, with m = min(i, j),

    K_ij = integral of phi_i' phi_j' = sqrt((2i + 1)(2j + 1)) / 2  m (m + 1)     where i + j is even, else 0,

since L_j' is orthogonal to L_i' of the other parity and their product integrates to m (m + 1). The boundary condition
is natural: nothing is imposed on the polynomials, and the weak form keeps the flux through the ends at zero. With
K = Q diag(lambda) Q^T, the functions Phi = phi Q are orthonormal and have lambda as their symbol, so that every scheme for
diagonal operators, the real Thomas solve included, works on them unchanged; lambda comes close to (pi k / 2)^2 for
the lower half of the modes and grows like M^4 beyond.

Where the data are not resolved, modes with huge lambda hold what is left, and no element in time damps them: the stability
function tends to +-1 (see the Pade approximation in `timeelement`). The error then stalls near what was left out instead of
falling with the step. More modes are the cure; shorter steps are not.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ernest.phasefield.grid import check_values
from ernest.phasefield.timeelement import legendre


@dataclass(frozen=True)
class LegendreGrid:
    """Polynomials of the given `degrees` on a box with sides of `lengths`, Neumann on every side; used in place of a `Grid`.

    A field is its values `[..., *points]` at the Gauss points of each axis, 2 (M + 1) of them without `quadrature`; this is
    exact for the energy of a quartic potential. Its modes `[..., *mode_shape]`, M + 1 on each axis, are real and
    orthonormal over the box. `modes` is the L2 projection: only a field that is a polynomial comes back from `field`.
    Raises ValueError for what is no box, and for fewer Gauss points than modes.
    """

    degrees: tuple[int, ...]
    lengths: tuple[float, ...]
    quadrature: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.degrees) <= 3 or min(self.degrees) < 1:
            raise ValueError(f"Legendre grid degrees: expected one to three degrees of 1 or more, got {self.degrees}")
        if len(self.lengths) != len(self.degrees) or not all(length > 0 and math.isfinite(length) for length in self.lengths):
            raise ValueError(f"Legendre grid lengths: expected {len(self.degrees)} positive lengths, got {self.lengths}")
        if len(self.points) != len(self.degrees) or any(q <= M for q, M in zip(self.points, self.degrees, strict=False)):
            raise ValueError(f"Legendre grid quadrature: expected more points than the degrees {self.degrees}, got {self.points}")

    @property
    def points(self) -> tuple[int, ...]:
        """Gauss points of each axis."""
        return self.quadrature or tuple(2 * (M + 1) for M in self.degrees)

    @property
    def mode_shape(self) -> tuple[int, ...]:
        return tuple(M + 1 for M in self.degrees)

    @property
    def boundary(self) -> str:
        return "neumann"

    @property
    def boundaries(self) -> tuple[str, ...]:
        return ("neumann",) * self.dimensions

    @property
    def dimensions(self) -> int:
        return len(self.degrees)

    @property
    def volume(self) -> float:
        return math.prod(self.lengths)

    def coordinates(self, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None) -> tuple[Tensor, ...]:
        """Coordinates of every Gauss point, each from 0 to its length, in the order of the axes, each `[*points]`."""
        return torch.meshgrid(*(axis.nodes.to(device, dtype) for axis in self._axes(torch.float64, None)), indexing="ij")

    def squared_wavenumbers(self, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None) -> Tensor:
        """The symbol of minus the Laplacian, `[*mode_shape]`: the sum over the axes of their lambda."""
        device = device or torch.get_default_device()
        total = torch.zeros(self.mode_shape, dtype=dtype, device=device)
        for axis, tables in enumerate(self._axes(dtype, device)):
            total = total + tables.symbol.reshape([-1 if other == axis else 1 for other in range(self.dimensions)])
        return total

    def weights(self, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None) -> Tensor:
        """Parseval weights `[*mode_shape]`: all ones, for the modes are orthonormal."""
        return torch.ones(self.mode_shape, dtype=dtype, device=device)

    def modes(self, u: Tensor) -> Tensor:
        """Modes `[..., *mode_shape]` of fields `[..., *points]`: the L2 projection, by the quadrature."""
        for axis, tables in enumerate(self._axes(u.dtype, u.device)):
            u = (u.movedim(axis - self.dimensions, -1) @ tables.analysis).movedim(-1, axis - self.dimensions)
        return u

    def field(self, modes: Tensor) -> Tensor:
        """Values `[..., *points]` at the Gauss points of modes `[..., *mode_shape]`."""
        for axis, tables in enumerate(self._axes(modes.dtype, modes.device)):
            modes = (modes.movedim(axis - self.dimensions, -1) @ tables.values.T).movedim(-1, axis - self.dimensions)
        return modes

    def integral(self, u: Tensor) -> Tensor:
        """Integral over the box of fields `[..., *points]`: `[...]`."""
        for tables in reversed(self._axes(u.dtype, u.device)):
            u = u @ tables.weights
        return u

    def norm(self, modes: Tensor) -> Tensor:
        """Root of the mean square over the box of the fields with these modes, `[...]`."""
        return (modes.square().sum(tuple(range(-self.dimensions, 0))) / self.volume).sqrt()

    def check_field(self, u: Tensor, name: str) -> None:
        """Raise ValueError, with the field's `name`, unless `u` is real, finite and `[..., *points]`."""
        check_values(u, self.points, name)

    def _axes(self, dtype: torch.dtype, device: torch.device | str | None) -> list["Axis"]:
        axes = zip(self.degrees, self.lengths, self.points, strict=True)
        return [_axis(degree, length, points, dtype, device) for degree, length, points in axes]


@dataclass(frozen=True)
class Axis:
    """Tables of one axis: Gauss `nodes` and `weights` `[q]`, `symbol` `[M + 1]`, `values` of the modes at the nodes `[q, M + 1]`.

    `analysis` is weights times values: its transpose takes a field to its modes.
    """

    nodes: Tensor
    weights: Tensor
    symbol: Tensor
    values: Tensor
    analysis: Tensor


@lru_cache(maxsize=16)
def _axis(degree: int, length: float, points: int, dtype: torch.dtype, device: torch.device | str | None) -> Axis:
    nodes, weights = np.polynomial.legendre.leggauss(points)
    symbol, vectors = neumann_modes(degree)
    # Legendre polynomials are orthonormal under the quadrature to 1e-13 only, since nodes near the ends are rounded where the
    # polynomials are steep. A QR factorisation makes it 1e-15, and so keeps mass and energy identity to round-off.
    roots = np.sqrt(weights * length / 2)
    orthonormal, triangle = np.linalg.qr(roots[:, None] * legendre(degree, torch.from_numpy(nodes)).numpy())
    values = (orthonormal * np.sign(np.diag(triangle)) @ vectors) / roots[:, None]
    tables = ((nodes + 1) * length / 2, roots**2, symbol * (2 / length) ** 2, values, roots[:, None] ** 2 * values)
    return Axis(*(torch.from_numpy(table).to(device, dtype) for table in tables))


def neumann_modes(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """lambda `[M + 1]`, rising from 0, and the orthogonal Q `[M + 1, M + 1]` with K Q = Q diag(lambda), on [-1, 1].

    Even and odd functions never mix, and the constant is split off exactly, so that the mean is a mode by itself.
    """
    i = np.arange(degree + 1)
    least = np.minimum(i[:, None], i)
    K = np.sqrt(np.outer(2 * i + 1, 2 * i + 1)) / 2 * least * (least + 1)
    values, vectors = np.zeros(degree + 1), np.zeros((degree + 1, degree + 1))
    vectors[0, 0] = 1
    for first in (1, 2):
        block = slice(first, None, 2)
        values[block], vectors[block, block] = np.linalg.eigh(K[block, block])
    order = np.argsort(values, kind="stable")
    return values[order], vectors[:, order]
