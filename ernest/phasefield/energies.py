"""Energies and the flows that descend them: u_t = -G dE/du with E(u) = 1/2 (u, L u) + integral of F(u).

L and the mobility G are constant and diagonal in Fourier space, so each is given by its symbol, a function of |k|^2.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ernest.phasefield.grid import PeriodicGrid


@dataclass(frozen=True)
class DoubleWell:
    """E(u) = integral of kappa/2 |grad u|^2 + s/4 (u^2 - 1)^2: two phases, u = -1 and u = 1, and the interface between them.

    An interface at rest is tanh(x / sqrt(2 kappa / s)).
    """

    kappa: float
    s: float = 1.0

    def __post_init__(self) -> None:
        if not (self.kappa > 0 and self.s > 0):
            raise ValueError(f"double well: kappa and s must be positive, got kappa={self.kappa}, s={self.s}")

    def L(self, k2: Tensor) -> Tensor:
        return self.kappa * k2

    def F(self, u: Tensor) -> Tensor:
        return self.s / 4 * (u * u - 1) ** 2

    def f(self, u: Tensor) -> Tensor:
        """f = F'."""
        return self.s * u * (u * u - 1)


@dataclass(frozen=True)
class Flow:
    """u_t = -G dE/du, with the mobility G >= 0 given by its symbol. What G sends to zero is conserved."""

    energy: DoubleWell
    mobility: Callable[[Tensor], Tensor]


def allen_cahn(kappa: float, s: float = 1.0, gamma: float = 1.0) -> Flow:
    """G = gamma: u_t = gamma (kappa Laplace(u) - f(u)). Interfaces move with their curvature."""
    return Flow(DoubleWell(kappa, s), lambda k2: torch.full_like(k2, gamma))


def conservative_allen_cahn(kappa: float, s: float = 1.0, gamma: float = 1.0) -> Flow:
    """G = gamma (I - mean): Allen-Cahn with the multiplier that keeps the mass."""
    return Flow(DoubleWell(kappa, s), lambda k2: gamma * (k2 > 0).to(k2.dtype))


def cahn_hilliard(kappa: float, s: float = 1.0, gamma: float = 1.0) -> Flow:
    """G = -gamma Laplace: mass moves by diffusion only."""
    return Flow(DoubleWell(kappa, s), lambda k2: gamma * k2)


def energy_of(u: Tensor, energy: DoubleWell, grid: PeriodicGrid) -> Tensor:
    """E of fields `[..., n, n]`: `[...]`.

    The quadratic part is exact for the trigonometric interpolant (Parseval), the rest is the sum over the grid.
    """
    k2 = grid.squared_wavenumbers(u.dtype, u.device)
    quadratic = u * grid.field(energy.L(k2) * grid.modes(u)) / 2
    return (quadratic + energy.F(u)).sum((-1, -2)) * grid.cell


def mass_of(u: Tensor, grid: PeriodicGrid) -> Tensor:
    """Integral of fields `[..., n, n]` over the square, `[...]`."""
    return u.sum((-1, -2)) * grid.cell
