"""Bulk potentials F(u), the part of the energy without gradients, with their derivatives f = F' and f' = F''.

They are written with operators and torch functions, so fields of any shape and device fit, and gradients pass through.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


class Potential(ABC):
    """Interface of a potential. `domain` is the open interval on which F is defined.

    `degree` is the degree of F if it is a polynomial, else None; the quadrature in time that is exact follows from it.
    `slopes` are the least and the greatest f' on the range of u that the flow works in; their midpoint is the
    stabilisation with which fixed-point iterations contract fastest.
    """

    @abstractmethod
    def F(self, u: Tensor) -> Tensor: ...

    @abstractmethod
    def f(self, u: Tensor) -> Tensor: ...

    @abstractmethod
    def df(self, u: Tensor) -> Tensor: ...

    @property
    def domain(self) -> tuple[float, float]:
        return -math.inf, math.inf

    @property
    @abstractmethod
    def degree(self) -> int | None: ...

    @property
    @abstractmethod
    def slopes(self) -> tuple[float, float]: ...


@dataclass(frozen=True)
class DoubleWell(Potential):
    """F = s/4 (u^2 - 1)^2: two phases, u = -1 and u = 1.

    With the gradient energy kappa/2 |grad u|^2, the interface at rest is tanh(x / sqrt(2 kappa / s)).
    """

    s: float = 1.0

    def __post_init__(self) -> None:
        if not self.s > 0:
            raise ValueError(f"double well: s must be positive, got s={self.s}")

    def F(self, u: Tensor) -> Tensor:
        return self.s / 4 * (u * u - 1) ** 2

    def f(self, u: Tensor) -> Tensor:
        return self.s * u * (u * u - 1)

    def df(self, u: Tensor) -> Tensor:
        return self.s * (3 * u * u - 1)

    @property
    def degree(self) -> int:
        return 4

    @property
    def slopes(self) -> tuple[float, float]:
        return -self.s, 2 * self.s


@dataclass(frozen=True)
class Polynomial(Potential):
    """F = sum of coefficients[k] u^k, for fields with -reach <= u <= reach."""

    coefficients: tuple[float, ...]
    reach: float = 1.0

    def __post_init__(self) -> None:
        if len(self.coefficients) < 2 or not all(map(math.isfinite, self.coefficients)):
            raise ValueError(f"polynomial coefficients: expected two or more finite numbers, got {self.coefficients}")
        if not self.reach > 0:
            raise ValueError(f"polynomial reach: expected a positive bound of |u|, got {self.reach}")

    def F(self, u: Tensor) -> Tensor:
        return _horner(self.coefficients, u)

    def f(self, u: Tensor) -> Tensor:
        return _horner(_derivative(self.coefficients), u)

    def df(self, u: Tensor) -> Tensor:
        return _horner(_derivative(_derivative(self.coefficients)), u)

    @property
    def degree(self) -> int:
        return len(self.coefficients) - 1

    @property
    def slopes(self) -> tuple[float, float]:
        slopes = np.polynomial.Polynomial(_derivative(_derivative(self.coefficients)))(np.linspace(-self.reach, self.reach, 1001))
        return float(slopes.min()), float(slopes.max())


@dataclass(frozen=True)
class FloryHuggins(Potential):
    """F = theta/2 ((1 + u) ln(1 + u) + (1 - u) ln(1 - u)) - theta0/2 u^2, on -1 < u < 1.

    Below the critical temperature, theta < theta0, it has two wells at plus and minus `binodal`.
    """

    theta: float
    theta0: float

    def __post_init__(self) -> None:
        if not (self.theta > 0 and math.isfinite(self.theta0)):
            raise ValueError(f"Flory-Huggins: theta must be positive, got theta={self.theta}, theta0={self.theta0}")

    def F(self, u: Tensor) -> Tensor:
        return self.theta / 2 * ((1 + u) * torch.log1p(u) + (1 - u) * torch.log1p(-u)) - self.theta0 / 2 * u * u

    def f(self, u: Tensor) -> Tensor:
        return self.theta / 2 * (torch.log1p(u) - torch.log1p(-u)) - self.theta0 * u

    def df(self, u: Tensor) -> Tensor:
        return self.theta / (1 - u * u) - self.theta0

    @property
    def domain(self) -> tuple[float, float]:
        return -1.0, 1.0

    @property
    def degree(self) -> None:
        return None

    @property
    def binodal(self) -> float:
        """The u > 0 with f(u) = 0, that is u = tanh(theta0 u / theta); 0 where there is one phase only."""
        u = 1.0
        for _ in range(200):
            u = math.tanh(self.theta0 / self.theta * u)
        return u if self.theta < self.theta0 else 0.0

    @property
    def slopes(self) -> tuple[float, float]:
        # One phase only: a range that leaves out the infinite slopes at the ends.
        reach = min(self.binodal or 0.9, 0.99)
        return self.theta - self.theta0, self.theta / (1 - reach**2) - self.theta0


def _derivative(coefficients: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(k * c for k, c in enumerate(coefficients))[1:] or (0.0,)


def _horner(coefficients: tuple[float, ...], u: Tensor) -> Tensor:
    value = torch.full_like(u, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * u + coefficient
    return value
