"""One spectral element in time: the energetic Legendre basis and the tridiagonal system it gives.

On an element of length tau, with xi in [-1, 1] as its local time, the solution is a polynomial of degree p

    u(xi) = u_start + sum_k c_k psi_k(xi),   psi_1 = 1 + xi,   psi_k = (L_k - L_{k-2}) / (2k - 1),   k = 2..p,

so that psi_k' = L_{k-1}, and u_end = u_start + 2 c_1. Testing with the time derivatives of the fluctuations
(arXiv 2406.16287) turns each spatial mode into (I + z A) c = right-hand side, with A tridiagonal.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


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


def gauss(degree: int) -> tuple[Tensor, Tensor]:
    """Gauss points of an element, `[degree]`, and the matrix `[degree, degree]` from values there to Legendre moments.

    Moment i is (2i - 1)/2 times the integral of L_{i-1} times the function.
    """
    points, weights = np.polynomial.legendre.leggauss(degree)
    xi = torch.from_numpy(points)
    scale = torch.arange(degree, dtype=torch.float64) + 0.5
    return xi, scale[:, None] * legendre(degree - 1, xi).T * torch.from_numpy(weights)


def coupling(degree: int) -> Tensor:
    """The matrix A, `[degree, degree]`: A_11 = 1, A_{j+1,j} = 1/(2j - 1), A_{j,j+1} = -1/(2j + 1)."""
    A = torch.zeros(degree, degree, dtype=torch.float64)
    A[0, 0] = 1
    for j in range(1, degree):
        A[j, j - 1] = 1 / (2 * j - 1)
        A[j - 1, j] = -1 / (2 * j + 1)
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


def factorise(z: Tensor, degree: int) -> Factors:
    """Factors of I + z A for z >= 0. Every pivot is at least 1, so the rows need no exchange."""
    lower, inverse, upper = [], [1 / (1 + z)], []
    for j in range(1, degree):
        lower.append(z / (2 * j - 1) * inverse[-1])
        upper.append(z / (2 * j + 1))
        inverse.append(1 / (1 + lower[-1] * upper[-1]))
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
