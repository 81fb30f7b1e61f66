"""One spectral element in time: the energetic Legendre basis and the tridiagonal system it gives.

On an element of length tau, with xi in [-1, 1] as its local time, the solution is a polynomial of degree p

    u(xi) = u_start + sum_k c_k psi_k(xi),   psi_1 = 1 + xi,   psi_k = (L_k - L_{k-2}) / (2k - 1),   k = 2..p,

so that psi_k' = L_{k-1}, and u_end = u_start + 2 c_1. Testing with the time derivatives of the fluctuations
(arXiv 2406.16287) turns each spatial mode into (I + z A) c = right-hand side, with A tridiagonal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ernest.device import HOST


def legendre(degree: int, xi: Tensor) -> Tensor:
    """L_0 .. L_degree at `xi` `[...]`: `[..., degree + 1]`, by the three-term recurrence, also outside of [-1, 1]."""
    values = [torch.ones_like(xi), xi]
    for k in range(1, degree):
        values.append(((2 * k + 1) * xi * values[k] - k * values[k - 1]) / (k + 1))
    return torch.stack(values[: degree + 1], -1)


def basis(degree: int, xi: Tensor) -> Tensor:
    """psi_1 .. psi_degree at `xi` `[...]`: `[..., degree]`."""
    L = legendre(degree, xi)
    higher = [(L[..., k] - L[..., k - 2]) / (2 * k - 1) for k in range(2, degree + 1)]
    return torch.stack([1 + xi, *higher], -1)


@cache
def gauss(degree: int, points: int | None = None) -> tuple[Tensor, Tensor]:
    """Gauss points of an element, `[q]`, and the matrix `[degree, q]` from values there to Legendre moments.

    Moment i is (2i - 1)/2 times the integral of L_{i-1} times the function; without `points`, q is the degree.
    The tensors are made once and shared: they must not be changed in place.
    """
    nodes, weights = np.polynomial.legendre.leggauss(points or degree)
    with torch.inference_mode(False):  # they may be asked for again where gradients are wanted
        xi = torch.from_numpy(nodes)
        scale = torch.arange(degree, dtype=torch.float64, device=HOST) + 0.5
        return xi, scale[:, None] * legendre(degree - 1, xi).T * torch.from_numpy(weights)


@cache
def nodal_basis(degree: int) -> Tensor:
    """psi_1 .. psi_degree at the Gauss points and, last, at the end: `[degree + 1, degree]`, made once and shared."""
    with torch.inference_mode(False):
        return basis(degree, torch.cat([gauss(degree)[0], torch.ones(1, dtype=torch.float64, device=HOST)]))


def continuation(degree: int, ratio: float | Tensor) -> Tensor:
    """The matrix `[..., degree, degree]` that continues an element's polynomial into the next, in float64.

    It takes the coefficients c_k of one element to those on the next, `ratio` `[...]` times as long, of the same polynomial.
    """
    device = ratio.device if isinstance(ratio, Tensor) else HOST
    ratio = torch.as_tensor(ratio, dtype=torch.float64, device=device)
    points, to_moments = (tensor.to(ratio) for tensor in gauss(degree))
    slopes = legendre(degree - 1, 1 + ratio[..., None] * (points + 1))
    return ratio[..., None, None] * to_moments @ slopes


@cache
def radau(degree: int) -> tuple[Tensor, Tensor]:
    """Right Radau points of an element, `[degree]`, the last of them 1, and the matrix from values there to Legendre moments.

    They are the zeros of L_p - L_{p-1}. The tensors are made once and shared: they must not be changed in place.
    """
    zeros = np.polynomial.legendre.legroots([*[0.0] * (degree - 1), -1.0, 1.0])
    zeros = np.sort(zeros.real)
    zeros[-1] = 1.0
    with torch.inference_mode(False):
        xi = torch.from_numpy(zeros)
        return xi, torch.linalg.inv(legendre(degree - 1, xi))


def coupling(degree: int, damped: bool = False) -> Tensor:
    """The matrix A, `[degree, degree]`: A_11 = 1, A_{j+1,j} = 1/(2j - 1), A_{j,j+1} = -1/(2j + 1).

    That of the `damped` element, with Radau points, has 1/(2p - 1) more in its last place.
    """
    A = torch.zeros(degree, degree, dtype=torch.float64, device=HOST)
    A[0, 0] = 1
    for j in range(1, degree):
        A[j, j - 1] = 1 / (2 * j - 1)
        A[j - 1, j] = -1 / (2 * j + 1)
    if damped:
        A[-1, -1] += 1 / (2 * degree - 1)
    return A


@dataclass(frozen=True)
class Factors:
    """Thomas factors of I + z A for every z of a tensor `[...]`; each list runs over the rows of A.

    The pivots are kept as their inverses, since complex modes are multiplied far faster than divided.
    """

    z: Tensor
    lower: list[Tensor]
    inverse_pivots: list[Tensor]
    upper: list[Tensor]


def factorise(z: Tensor, degree: int, damped: bool = False) -> Factors:
    """Factors of I + z A for z >= 0. Every pivot is at least 1, so the rows need no exchange.

    `damped` is the element with Radau points, whose A has 1/(2p - 1) more in its last place: the residual of its polynomial is
    a multiple of L_p - L_{p-1} instead of L_p, and where z is large the element ends at balance.
    """
    damping = [0.0] * (degree - 1) + [z / (2 * degree - 1) if damped else 0.0]
    lower, inverse, upper = [], [1 / (1 + z + damping[0])], []
    for j in range(1, degree):
        lower.append(z / (2 * j - 1) * inverse[-1])
        upper.append(z / (2 * j + 1))
        inverse.append(1 / (1 + damping[j] + lower[-1] * upper[-1]))
    return Factors(z, lower, inverse, upper)


def solve(factors: Factors, right: Tensor, axis: int) -> Tensor:
    """c with (I + z A) c = right, where `axis` of `right` runs over the basis and its other axes match z."""
    rows = list(right.unbind(axis))
    for j, lower in enumerate(factors.lower):
        rows[j + 1] = rows[j + 1] - lower * rows[j]
    rows[-1] = rows[-1] * factors.inverse_pivots[-1]
    for j in reversed(range(len(rows) - 1)):
        rows[j] = (rows[j] + factors.upper[j] * rows[j + 1]) * factors.inverse_pivots[j]
    return torch.stack(rows, axis)


@dataclass(frozen=True)
class Diagonal:
    """A = sum over its eigenvalues of value * column row, for operators that are known only by their shifted solves.

    One of each pair of complex conjugate values stands for both: `shifts` lists (value, column `[p]`, row `[p]`,
    multiplicity 1 or 2), and (I + z A)^{-1} r = sum of Re(multiplicity column (1 + z value)^{-1} (row r)) for real r.
    """

    shifts: tuple[tuple[complex, Tensor, Tensor, int], ...]


@cache
def diagonalise(degree: int, damped: bool = False) -> Diagonal:
    """The eigenvalues and eigenvectors of A, up to degree 8: beyond it the eigenvectors are too nearly dependent."""
    A, shifts = coupling(degree, damped).numpy(), []
    for guess in np.linalg.eigvals(A).tolist():
        if guess.imag >= -1e-12:
            value, column, row = _eigenpair(A.astype(np.longdouble), guess if guess.imag > 1e-12 else guess.real)
            shifts.append((value, torch.from_numpy(column), torch.from_numpy(row), 1 if guess.imag <= 1e-12 else 2))
    return Diagonal(tuple(shifts))


def _eigenpair(A: np.ndarray, guess: complex) -> tuple[complex, np.ndarray, np.ndarray]:
    """The eigenvalue of A near `guess`, its right and its left vector with product 1.

    The eigenvalues are so ill-conditioned that round-off would spoil the solves, so they are refined by Rayleigh quotients
    in extended precision.
    """
    value = np.clongdouble(guess)
    for _ in range(8):
        column, row = _vectors(A, value)
        value = np.clongdouble(row @ (A @ column))
    column, row = _vectors(A, value)
    return complex(value), column.astype(complex), row.astype(complex)


def _vectors(A: np.ndarray, value: np.clongdouble) -> tuple[np.ndarray, np.ndarray]:
    """The right and the left vector of A to an eigenvalue, with product 1.

    The right one follows from the rows of A, last to first; the left one is the same but for a scaling, since the scaling
    makes A complex symmetric.
    """
    p = len(A)
    column, scale = np.zeros(p + 1, np.clongdouble), np.ones(p, np.longdouble)
    column[p - 1] = 1
    for j in range(p - 1, 0, -1):
        above = A[j, j + 1] * column[j + 1] if j + 1 < p else 0
        column[j - 1] = ((value - A[j, j]) * column[j] - above) / A[j, j - 1]
    for j in range(1, p):
        scale[j] = scale[j - 1] * A[j - 1, j] / A[j, j - 1]
    row = scale * column[:p]
    return column[:p], row / (row @ column[:p])


@dataclass(frozen=True)
class Tableau:
    """The element as a table over its p Gauss points and its end: u_i = a_i u_start + sum_j W_ij N_j.

    `a` is `[p + 1, ...]` and `W` is `[p + 1, p, ...]`, for every z `[...]`; row p + 1 is the end, xi = 1.
    """

    a: Tensor
    W: Tensor


def nodal_tableau(z: Tensor, degree: int, drive: Tensor) -> Tableau:
    """The table for z `[...]`, the N_j entering the equation as u' = -Lambda u - drive' N, with drive = tau/2 G `[...]`.

    With P_ik = psi_k(xi_i), T the matrix from nodal values to Legendre moments and R = (I + z A)^{-1}, it is
    a_i = 1 - z (P R)_i1 and W = -drive P R T.
    """
    to_moments, P = gauss(degree)[1], nodal_basis(degree).to(z)
    unit = torch.eye(degree, dtype=z.dtype, device=z.device).reshape(degree, degree, *[1] * z.ndim).expand(-1, -1, *z.shape)
    PR = torch.einsum("ik,kj...->ij...", P, solve(factorise(z, degree), unit, axis=0))
    return Tableau(1 - z * PR[:, 0], -drive * torch.einsum("ik...,kj->ij...", PR, to_moments.to(z)))


def lagrange(nodes: Tensor, xi: Tensor) -> Tensor:
    """The matrix `[len(xi), len(nodes)]` from values at `nodes` to the values at `xi` of the polynomial through them."""
    return torch.from_numpy(lagrange_values(nodes.cpu().numpy(), xi.cpu().numpy())).to(nodes)


def lagrange_values(nodes: np.ndarray, xi: np.ndarray) -> np.ndarray:
    """The same of arrays: a few numbers for every new length of a step, for which torch takes three times as long.

    Of several sets of nodes `[..., n]` the matrices `[..., q, n]` are made at once.
    """
    same, to_nodes = _diagonal(nodes.shape[-1]), xi[:, None] - nodes[..., None, :]
    apart = nodes[..., :, None] - nodes[..., None, :] + same
    factors = np.where(same, 1.0, to_nodes[..., None, :] / apart[..., None, :, :])
    return factors.prod(-1)


def window_values(windows: Sequence[np.ndarray], xi: np.ndarray) -> Sequence[np.ndarray]:
    """`lagrange_values` for each of several windows of nodes."""
    if len({len(window) for window in windows}) == 1:
        return list(lagrange_values(np.stack(windows), xi))
    return [lagrange_values(window, xi) for window in windows]


@cache
def _diagonal(size: int) -> np.ndarray:
    return np.eye(size, dtype=bool)


def weighted(a: Tensor, start: Tensor, weights: Tensor | Sequence[Tensor], rows: Sequence[Tensor]) -> Tensor:
    """a start + sum of weights times the last rows, as many as there are weights."""
    value = a * start
    for weight, row in zip(weights, rows[len(rows) - len(weights) :], strict=True):
        value = torch.addcmul(value, weight, row)
    return value


def combine(matrix: Tensor, rows: Tensor, dimensions: int) -> Tensor:
    """Linear combinations `[..., q, *shape]` of rows `[..., p, *shape]` by a real matrix `[q, p]` or `[..., q, p]`.

    `dimensions` is the number of axes of the shape. The matrix is taken in the precision of the rows.
    """
    if rows.is_complex():
        # A real product of the two parts is half the work of a complex one.
        return torch.view_as_complex(combine(matrix, torch.view_as_real(rows), dimensions + 1))
    # One product for each member, so that a member's digits do not depend on the size of the batch.
    flat = rows.flatten(-dimensions)
    return (matrix.to(flat).expand(*flat.shape[:-2], -1, -1) @ flat).unflatten(-1, rows.shape[-dimensions:])
