"""Bulk potentials F(u), the part of the energy without gradients, with their derivatives f = F' and f' = F''.

They are written with operators and torch functions, so fields of any shape and device fit, and gradients pass through.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ernest.device import HOST


class Potential(ABC):
    """Interface of a potential; a potential of one's own needs F, f and df, and the domain if it is not all numbers.

    `domain` is the open interval on which F is defined. A field that leaves it makes a step invalid. Where none is stated, the
    values that are not finite tell (`domain_of`); a barrier such as 1 / (u - 1), finite on both sides, has to state it.
    `degree` is the degree of F if it is a polynomial, else None; the quadrature in time that is exact follows from it.
    `slopes` are the least and the greatest f' on the range of u that the flow works in; their midpoint is the
    stabilisation with which fixed-point iterations contract fastest. By default they are found on `working_range`.
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
    def degree(self) -> int | None:
        return None

    @property
    def slopes(self) -> tuple[float, float]:
        slopes = self.df(torch.linspace(*working_range(self), 1001, dtype=torch.float64, device=HOST))
        return float(slopes.min()), float(slopes.max())


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
        # Compiled loops want numbers of one kind, and potentials are compared: lists, arrays and whole numbers are welcome.
        object.__setattr__(self, "coefficients", tuple(_number(c) for c in self.coefficients))
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
        mixing = torch.special.xlog1py(1 + u, u) + torch.special.xlog1py(1 - u, -u)
        return self.theta / 2 * mixing - self.theta0 / 2 * u * u

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


def energy_density(potential: Potential, u: Tensor) -> Tensor:
    """F(u); at the ends of the domain its limit there (x ln x is 0 at x = 0), and nan outside of it."""
    low, high = potential.domain
    values = potential.F(u)
    for end, outside in ((low, u < low), (high, u > high)):
        if math.isfinite(end):
            values = torch.where(u == end, limit_at(potential, end), torch.where(outside, math.nan, values))
    return values


def slope_inside(potential: Potential, u: Tensor) -> Tensor:
    """f(u), and nan outside of the domain, where a barrier has finite values too that mean nothing."""
    low, high = potential.domain
    values = potential.f(u)
    return values if math.isinf(low) and math.isinf(high) else torch.where((u > low) & (u < high), values, math.nan)


def limit_at(potential: Potential, u: float) -> float:
    """F at a number: its limit from inside where this is an end of the domain; nan or infinite where it has none."""
    low, high = domain_of(potential)
    if u in (low, high):
        # Near zero numbers lie so close that x ln x is 0 there; denormal ones may count as zero.
        u = math.copysign(1e-300, low + high) if u == 0 else math.nextafter(u, high if u == low else low)
    return float(potential.F(torch.tensor([u], dtype=torch.float64, device=HOST)).flatten()[0]) if low <= u <= high else math.nan


def domain_of(potential: Potential) -> tuple[float, float]:
    """The open interval on which the potential is defined: as stated, or else the widest one on which f has finite values."""
    probes = torch.linspace(-10.0, 10.0, 4002, dtype=torch.float64, device=HOST)  # 0, +-1 and the like are not among them
    values = potential.f(probes) if not varies(potential) else probes
    finite = torch.isfinite(values)
    if potential.domain != (-math.inf, math.inf) or bool(finite.all()) or not bool(finite.any()):
        return potential.domain
    edges = torch.cat([torch.zeros(1, device=HOST), finite.double(), torch.zeros(1, device=HOST)]).diff()
    starts, ends = (edges == 1).nonzero().flatten(), (edges == -1).nonzero().flatten() - 1
    widest = int((ends - starts).argmax())
    first, last, spacing = float(probes[starts[widest]]), float(probes[ends[widest]]), 20 / 4001
    return _edge(potential, first, first - spacing, -math.inf), _edge(potential, last, last + spacing, math.inf)


def working_range(potential: Potential) -> tuple[float, float]:
    """The range of u between the outermost wells, where f = 0, in which the fields of a flow end up.

    A finite domain is left out by half a percent at both ends, where f' may be infinite; without a domain the range is -1 to 1
    or as much wider as it takes for f to drive u back at both ends.
    """
    low, high = domain_of(potential)
    if math.isfinite(low) and math.isfinite(high):
        inner = torch.linspace(low + 0.005 * (high - low), high - 0.005 * (high - low), 1001, dtype=torch.float64, device=HOST)
        f = potential.f(inner)
        first, last = int((f >= 0).byte().argmax()), 1000 - int((f <= 0).flip(0).byte().argmax())
        return (float(inner[first]), float(inner[last])) if first < last - 1 else (float(inner[0]), float(inner[-1]))
    start = low + 1 if math.isfinite(low) else high - 1 if math.isfinite(high) else 0.0
    reach = 2.0 ** torch.arange(11, dtype=torch.float64, device=HOST)
    up, down = start + reach, start - reach
    if math.isfinite(low):
        down = low + 1 / reach
    if math.isfinite(high):
        up = high - 1 / reach
    rises, falls = potential.f(up) >= 0, potential.f(down) <= 0
    return float(down[int(falls.byte().argmax())]), float(up[int(rises.byte().argmax())])


def varies(potential: Potential) -> bool:
    """Whether the potential differs from point to point, as one with coefficients `[*points]` does, or from member to member."""
    one = torch.full((1,), sum(_any_two_inside(potential)) / 2, dtype=torch.float64, device=HOST)
    return potential.df(one).numel() > 1 or potential.f(one).numel() > 1


def samples_of(potential: Potential) -> Tensor:
    """64 numbers inside the domain, between -2 and 2 where there is no nearer end, by which potentials are told apart."""
    return torch.linspace(*_any_two_inside(potential), 66, dtype=torch.float64, device=HOST)[1:-1]


def _any_two_inside(potential: Potential) -> tuple[float, float]:
    low, high = potential.domain
    if math.isinf(low) and math.isinf(high):
        return -2.0, 2.0
    return (high - 4 if math.isinf(low) else low), (low + 4 if math.isinf(high) else high)


def _edge(potential: Potential, inside: float, outside: float, unbounded: float) -> float:
    """Where f stops to be finite, by bisection; `unbounded` if it does so only beyond the probes."""
    if abs(outside) > 10:
        return unbounded
    for _ in range(80):
        middle = (inside + outside) / 2
        finite = bool(torch.isfinite(potential.f(torch.tensor([middle], dtype=torch.float64, device=HOST))).all())
        inside, outside = (middle, outside) if finite else (inside, middle)
    return 0.0 if abs(outside) < 1e-15 else outside


def _number(value: float | Tensor) -> float | Tensor:
    return value if isinstance(value, Tensor) and value.requires_grad else float(value)


def _derivative(coefficients: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(k * c for k, c in enumerate(coefficients))[1:] or (0.0,)


def _horner(coefficients: tuple[float, ...], u: Tensor) -> Tensor:
    value = torch.full_like(u, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * u + coefficient
    return value
