"""Exponential elements for rough initial fields, and the schemes ETDRK4 and IMEX-BDF4 to compare with.

All three integrate u_t = -Lambda u - G N(u). The energetic element replaces exp(-Lambda tau) by a Pade approximation that
does not damp the stiffest modes; the element here keeps the exponential, and is meant for the first steps from data
that are not smooth. ETDRK4 and IMEX-BDF4 are written with the same care, for fair comparisons; they take steps of one length.
"""

import cmath
import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ernest.phasefield.element import Element, Time
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.numeric import make_plain
from ernest.phasefield.schemes.gaussseidel import GaussSeidel, window_matrices
from ernest.phasefield.schemes.splitting import Splitting, check_at_least, check_degree, check_unforced, one_length, split
from ernest.phasefield.stepping import State, StepStats
from ernest.phasefield.timeelement import Tableau, basis, combine, gauss, legendre, weighted

CONTOUR_POINTS = 64
"""Of the upper half of a circle, over which the factors of ETDRK4 are averaged (Kassam and Trefethen, SIAM Journal on Scientific
Computing 26 (2005) 1214): for real symbols the lower half says the same."""


@dataclass(frozen=True)
class ExponentialElements:
    """Gauss-Seidel sweeps over p Gauss points with the exact propagator, each element on its own, L-stable on rough data.

    `sweeps` counts the first one. The order at the ends is min(p, sweeps) + 1 at least; on smooth data it costs more
    than the energetic element and gains nothing.
    """

    degree: int = 3
    sweeps: int = 8
    stabilisation: float | None = None

    def __post_init__(self) -> None:
        make_plain(self)
        check_degree(self.degree)
        check_at_least("sweeps", self.sweeps, 1)

    def stepper(self, flow: Flow, grid: Space, like: Tensor) -> "ExponentialStepper":
        check_unforced(flow)
        return ExponentialStepper(self, split(flow, grid, self.stabilisation, like), like)


class ExponentialStepper:
    """Stepper of `ExponentialElements`; its states have no history, so any scheme can take the next step."""

    def __init__(self, scheme: ExponentialElements, splitting: Splitting, like: Tensor) -> None:
        self.scheme, self.splitting, self.init = scheme, splitting, splitting.init
        self._points = gauss(scheme.degree)[0].to(like)
        symbols = torch.stack([splitting.stiffness.real, splitting.mobility.real.expand_as(splitting.stiffness)], -1)
        distinct, index = symbols.reshape(-1, 2).unique(dim=0, return_inverse=True)
        self._distinct, self._index = distinct, index.reshape(splitting.stiffness.shape)
        self._cached: tuple[float, Tableau] | None = None

    def step(self, state: State, tau: Time) -> tuple[State, Element, StepStats]:
        tau = one_length(tau, state.modes, self.splitting.grid)
        table, p, grid = self._table(tau), self.scheme.degree, self.splitting.grid
        values, rows = [state.modes] * p, [self.splitting.explicit(state.modes)]
        ends = []
        for sweep in range(self.scheme.sweeps):
            for i in range(p):
                weights = table.W[i]
                if sweep == 0:
                    # The polynomial through N at the start and at the nodes before this one.
                    matrix = window_matrices(self._points, tau, (), p + 1)[i]
                    weights = torch.einsum("j...,jw->w...", weights, matrix.to(weights.dtype))
                values[i] = weighted(table.a[i], state.modes, weights, rows)
                row = self.splitting.explicit(values[i])
                rows = [*rows, row] if sweep == 0 else [*rows[:i], row, *rows[i + 1 :]]
            rows = rows[-p:]
            ends.append(weighted(table.a[-1], state.modes, table.W[-1], rows))
        differences = tuple(grid.norm(b - a).max().item() for a, b in pairwise(ends))
        element = Element(
            state.time, tau, state.modes, ends[-1], grid, lambda: self._coefficients(state.modes, [*values, ends[-1]])
        )
        return State(state.time + tau, ends[-1], count=state.count + 1), element, StepStats(self.scheme.sweeps, differences)

    def _coefficients(self, start: Tensor, values: list[Tensor]) -> Tensor:
        """Modes of c_1 .. c_{p+1} of the polynomial through the start, the nodes and the end."""
        axis = -1 - self.splitting.grid.dimensions
        positions = torch.cat([self._points, torch.ones_like(self._points[:1])])
        matrix = torch.linalg.inv(basis(len(values), positions))
        return combine(matrix, torch.stack([value - start for value in values], axis), self.splitting.grid.dimensions)

    def _table(self, tau: float) -> Tableau:
        if self._cached is None or self._cached[0] != tau:
            # A table of the distinct values, of which there are far fewer than modes.
            stiffness, mobility = self._distinct.unbind(-1)
            table = exponential_tableau(tau / 2 * stiffness, self.scheme.degree, tau / 2 * mobility)
            dtype = self.splitting.stiffness.dtype
            self._cached = tau, Tableau(table.a.to(dtype)[..., self._index], table.W.to(dtype)[..., self._index])
        return self._cached[1]


def exponential_tableau(z: Tensor, degree: int, drive: Tensor) -> Tableau:
    """As `timeelement.nodal_tableau`, with the exponential in place of its Pade approximation.

    a_i = exp(-z (1 + xi_i)), and W_ij = -drive sum_k T_kj I_k(xi_i) with I_k the propagated Legendre polynomials.
    """
    points, to_moments = gauss(degree)
    positions = [*points.tolist(), 1.0]
    a = torch.stack([torch.exp(-z * (1 + xi)) for xi in positions])
    propagated = torch.stack([propagated_legendre(z, xi, degree) for xi in positions])
    return Tableau(a, -drive * torch.einsum("ik...,kj->ij...", propagated, to_moments.to(z)))


def propagated_legendre(z: Tensor, xi: float, degree: int) -> Tensor:
    """I_j = integral over s from -1 to xi of exp(-z (xi - s)) L_j(s), j = 0 .. degree - 1, for z >= 0: `[degree, *z.shape]`.

    By parts, z I_j = L_j(xi) - (-1)^j exp(-z (xi + 1)) - sum of (2k + 1) I_k over k = j-1, j-3, ..; this loses digits for
    small z, where a Gauss rule with 48 points is exact to round-off.
    """
    edge = legendre(degree - 1, torch.tensor([xi], dtype=z.dtype, device=z.device))[0]
    decayed, large = torch.exp(-z * (xi + 1)), z.clamp(min=2.0 * degree + 6)
    by_parts: list[Tensor] = []
    for j in range(degree):
        remainder = edge[j] - (-1) ** j * decayed
        for k in range(j - 1, -1, -2):
            remainder = remainder - (2 * k + 1) * by_parts[k]
        by_parts.append(remainder / large)
    nodes, to_moments = (tensor.to(z) for tensor in gauss(1, 48))
    s = -1 + (xi + 1) * (nodes + 1) / 2
    # Moment 0 is half of the integral over the element.
    products = legendre(degree - 1, s) * (to_moments[0] * (xi + 1))[:, None]
    by_rule = torch.zeros(degree, *z.shape, dtype=z.dtype, device=z.device)
    small = z < 2.0 * degree + 6
    by_rule[:, small] = (torch.exp(-z[small, None] * (xi - s)) @ products).T
    return torch.where(small, by_rule, torch.stack(by_parts))


@dataclass(frozen=True)
class ETDRK4:
    """The exponential Runge-Kutta scheme of Cox and Matthews, its coefficients as contour means (Kassam and Trefethen).

    Order 4 on smooth, mildly stiff problems, less on stiff ones such as Cahn-Hilliard; 8 FFTs a step.
    """

    stabilisation: float | None = 0.0

    def stepper(self, flow: Flow, grid: Space, like: Tensor) -> "ETDRK4Stepper":
        check_unforced(flow)
        return ETDRK4Stepper(split(flow, grid, self.stabilisation, like))


class ETDRK4Stepper:
    """Stepper of `ETDRK4`; its states have no history."""

    def __init__(self, splitting: Splitting) -> None:
        self.splitting, self.init = splitting, splitting.init
        self._cached: tuple[float, list[Tensor]] | None = None

    def step(self, state: State, tau: Time) -> tuple[State, Element, StepStats]:
        tau = one_length(tau, state.modes, self.splitting.grid)
        if self._cached is None or self._cached[0] != tau:
            dtype = self.splitting.stiffness.dtype
            tables = etdrk4_tables(self.splitting.stiffness.real, self.splitting.mobility.real, tau)
            self._cached = tau, [table.to(dtype) for table in tables]
        E, half, Q, f1, f2, f3 = self._cached[1]
        v, explicit = state.modes, self.splitting.explicit
        Nv = explicit(v)
        a = half * v + Q * Nv
        Na = explicit(a)
        Nb = explicit(half * v + Q * Na)
        Nc = explicit(half * a + Q * (2 * Nb - Nv))
        end = E * v + f1 * Nv + f2 * (Na + Nb) + f3 * Nc
        element = Element(state.time, tau, v, end, self.splitting.grid, lambda: hermite(self.splitting, v, end, tau))
        return State(state.time + tau, end, count=state.count + 1), element, StepStats(1)


def etdrk4_tables(stiffness: Tensor, mobility: Tensor, tau: float) -> list[Tensor]:
    """exp(-tau Lambda), exp(-tau Lambda / 2), and the four factors of N, with -tau G in them, for real symbols.

    The factors have removable singularities at 0; the mean over a circle around each value avoids their cancellation.
    """
    z = -tau * stiffness
    factors = [torch.zeros_like(z) for _ in range(4)]
    for j in range(CONTOUR_POINTS):
        x = z + cmath.exp(1j * math.pi * (j + 0.5) / CONTOUR_POINTS)
        e, cube = torch.exp(x), x**3
        factors[0] += ((torch.exp(x / 2) - 1) / x).real
        factors[1] += ((-4 - x + e * (4 - 3 * x + x**2)) / cube).real
        factors[2] += ((2 + x + e * (x - 2)) / cube).real * 2
        factors[3] += ((-4 - 3 * x - x**2 + e * (4 - x)) / cube).real
    return [torch.exp(z), torch.exp(z / 2), *(-tau / CONTOUR_POINTS * mobility * factor for factor in factors)]


@dataclass(frozen=True)
class IMEXBDF4:
    """BDF4 with the explicit part extrapolated from four values; 2 FFTs a step.

    (25/12) u^{n+1} - 4 u^n + 3 u^{n-1} - (4/3) u^{n-2} + (1/4) u^{n-3}
        = -tau G ((L + S) u^{n+1} + 4 N^n - 6 N^{n-1} + 4 N^{n-2} - N^{n-3}).

    A start of lower order would set the order of the run, so the first three values are energetic elements of degree 3.
    """

    stabilisation: float | None = None

    def stepper(self, flow: Flow, grid: Space, like: Tensor) -> "IMEXBDF4Stepper":
        check_unforced(flow)
        return IMEXBDF4Stepper(self, flow, grid, like)


class IMEXBDF4Stepper:
    """The rows of the history are the modes of u at the last three times, then those of N, newest first.

    A step of another length than those before starts anew.
    """

    def __init__(self, scheme: IMEXBDF4, flow: Flow, grid: Space, like: Tensor) -> None:
        self.splitting = split(flow, grid, scheme.stabilisation, like)
        self.init = self.splitting.init
        self._starter = GaussSeidel(3, 3, 2, scheme.stabilisation).stepper(flow, grid, like)

    def step(self, state: State, tau: Time) -> tuple[State, Element, StepStats]:
        tau = one_length(tau, state.modes, self.splitting.grid)
        axis, grid = -1 - self.splitting.grid.dimensions, self.splitting.grid
        going = state.history is not None and all(length == tau for length in state.taus)
        known = list(state.history.unbind(axis)) if going and state.history is not None else []
        us, Ns = [state.modes, *known[: len(known) // 2]], [self.splitting.explicit(state.modes), *known[len(known) // 2 :]]
        if len(us) < 4:
            started, element, stats = self._starter.step(State(state.time, state.modes), tau)
            end = started.modes
        else:
            end, stats = self._step(us, Ns, tau), StepStats(1)
            element = Element(state.time, tau, us[0], end, grid, lambda: hermite(self.splitting, us[0], end, tau))
        history = torch.stack(us[:3] + Ns[:3], axis)
        return State(state.time + tau, end, history, (tau,) * len(us[:3]), state.count + 1), element, stats

    def _step(self, us: list[Tensor], Ns: list[Tensor], tau: float) -> Tensor:
        past = 1.92 * us[0] - 1.44 * us[1] + 0.64 * us[2] - 0.12 * us[3]
        explicit = 4 * Ns[0] - 6 * Ns[1] + 4 * Ns[2] - Ns[3]
        inverse, drive = bdf4_tables(self.splitting.stiffness, self.splitting.mobility, tau)
        return inverse * past + drive * explicit


def bdf4_tables(stiffness: Tensor, mobility: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """The factors of the past values of u, and of the extrapolated N."""
    inverse = 1 / (1 + 12 / 25 * tau * stiffness)
    return inverse, -12 / 25 * tau * mobility * inverse


def hermite(splitting: Splitting, start: Tensor, end: Tensor, tau: float) -> Tensor:
    """Modes of c_1, c_2, c_3 of the cubic with the values and the slopes that the flow has at both ends of a step."""
    slopes = [-tau / 2 * (splitting.stiffness * modes + splitting.mobility * splitting.explicit(modes)) for modes in (start, end)]
    first = (end - start) / 2
    return torch.stack([first, (slopes[1] - slopes[0]) / 2, (slopes[0] + slopes[1]) / 2 - first], -1 - splitting.grid.dimensions)
