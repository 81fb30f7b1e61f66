"""One energetic element of u_t = f(t, u): Newton's method with a frozen Jacobian, and what the element has missed at its end.

The polynomial u = u_start + sum of c_k psi_k of degree p has u_t = 2/tau sum of c_k L_{k-1} (arXiv 2406.16287), and its equations

    c_k = tau/2 f_k,    f_k the Legendre moments of f(t, u) over the element,    k = 1 .. p,

ask nothing of f. With p Gauss points they are those of Gauss's collocation, of order 2p at the ends; with more points the
moments of a polynomial f are exact, and a Hamiltonian system keeps its energy. With Radau points the element is of order
2p - 1 and damped: what is very stiff goes to its balance. Newton's iterations freeze J = df/du,

    (I - tau/2 A x J) change = tau/2 f(c) - c,

and J, and its factorisations as long as tau stays, serve for as many elements as they contract well in.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from ernest.device import HOST
from ernest.phasefield.numeric import make_plain
from ernest.phasefield.schemes.splitting import check_at_least, check_degree
from ernest.phasefield.stepping import DivergenceError
from ernest.phasefield.systems.linear import TimeSolver
from ernest.phasefield.systems.system import DynamicalSystem
from ernest.phasefield.timeelement import basis, gauss, legendre, radau

PATIENCE = 10
"""So many more iterations are not worth it: a shorter step, or df/du taken anew, is."""

Norm = Callable[[Tensor], float]
"""The greatest size of vectors `[m, n]`, in the units of the tolerance."""


@dataclass(frozen=True)
class SystemElements:
    """Elements of degree p, 2 to 5 as a rule, for a `DynamicalSystem`: of order 2p at their ends with p Gauss points.

    A `quadrature` of more points is for Hamiltonian systems, u_t = J grad H with a constant skew J: pd/2 of them keep an H of
    degree d to round-off, however long the steps are. `damped` elements, with Radau points, are of order 2p - 1 and for what
    is so stiff that it has to be at balance at once. Newton's iterations end when what they leave is below `accuracy`, a share
    of u; without, a hundredth of what the tolerance lets a step err by, or round-off where steps have a given length.
    """

    degree: int = 3
    quadrature: int | None = None
    damped: bool = False
    accuracy: float | None = None
    limit: int = 40

    def __post_init__(self) -> None:
        make_plain(self)
        check_degree(self.degree)
        check_at_least("quadrature", self.points, self.degree)
        check_at_least("limit", self.limit, 2)
        if self.damped and self.quadrature not in (None, self.degree):
            raise ValueError(f"quadrature: damped elements have as many points as their degree, got {self.quadrature}")
        if self.accuracy is not None and not 0 < self.accuracy < 1:
            raise ValueError(f"scheme accuracy: expected a number between 0 and 1, got {self.accuracy}")

    @property
    def points(self) -> int:
        """Number of quadrature points."""
        return self.degree if self.quadrature is None else self.quadrature

    @property
    def order(self) -> int:
        """At the ends of the elements."""
        return 2 * self.degree - self.damped


@dataclass(frozen=True)
class Tables:
    """Quadrature points `[q]`, the matrices to moments `[p, q]` and to values at the points `[q, p]`, L_{k-1} at -1 and 1."""

    xi: Tensor
    to_moments: Tensor
    P: Tensor
    at_ends: Tensor


@cache
def tables(degree: int, points: int, damped: bool) -> Tables:
    """The tables of an element, made once."""
    with torch.inference_mode(False):
        xi, to_moments = radau(degree) if damped else gauss(degree, points)
        ends = torch.tensor([-1.0, 1.0], dtype=torch.float64, device=HOST)
        return Tables(xi, to_moments, basis(degree, xi), legendre(degree - 1, ends))


@dataclass(frozen=True)
class Solved:
    """Coefficients `[p, n]`, the iterations that they took and by how much these contracted; 0 where one was enough."""

    c: Tensor
    iterations: int
    contraction: float


def newton(
    system: DynamicalSystem,
    scheme: SystemElements,
    solver: TimeSolver,
    u: Tensor,
    c: Tensor,
    time: float,
    norm: Norm,
    goal: float,
    expected: float | None = None,
) -> Solved:
    """Solves the element that `solver` is for, from u `[n]` and the guess c `[p, n]`, until `goal` is left, or round-off.

    An `expected` contraction lets one iteration be enough. Raises DivergenceError where the iterations do not contract.
    """
    table, tau = tables(scheme.degree, scheme.points, scheme.damped), solver.tau
    xi, to_moments, P = (part.to(u.device) for part in (table.xi, table.to_moments, table.P))
    times = (time + tau * (xi + 1) / 2)[:, None]
    floor = 16 * torch.finfo(u.dtype).eps * max(norm(u[None]), norm((u + 2 * c[0])[None]))
    last, rate, moved, iteration = math.inf, expected, math.inf, 0
    for iteration in range(1, scheme.limit + 1):
        change = solver.solve(tau / 2 * to_moments @ system.rate(times, u + P @ c) - c)
        moved = 2 * norm(change)
        if not math.isfinite(moved):
            break
        c = c + change
        if iteration > 1:
            rate = moved / last if last > 0 else 0.0
        if moved <= floor or (rate is not None and rate < 1 and moved * rate / (1 - rate) <= goal):
            return Solved(c, iteration, rate if iteration > 1 and rate is not None else 0.0)
        if rate is not None and iteration > 1 and rate >= 0.5:
            if moved <= 64 * floor:
                return Solved(c, iteration, 0.0)  # round-off of the solves
            if rate >= 1 and iteration > 2:
                break
        if rate is not None and rate < 1 and goal > 0 and iteration > 1 and moved * rate**PATIENCE > goal:
            break
        last = moved
    raise DivergenceError(time, tau, iteration, moved)


def end_error(scheme: SystemElements, solver: TimeSolver, c: Tensor, start_rate: Tensor, end_rate: Tensor, norm: Norm) -> float:
    """About how much the end of the element errs by, from f there and at its start, where the polynomial misses it.

    What is missed is mostly the next coefficient, times L_p. It comes to the end only along the chain of the p coefficients
    below: the equations of degree p + 1 give, with z = tau/2 J,

        2 c_{p+1} z^p / (product of (2j + 1) (1 - theta_j z)),    j = 1 .. p.

    A frozen J tells this where J hardly changes. Where it does, or where f depends on time alone, the decay of the
    coefficients that are there, c_{k+2} = z^2 c_k / (4k^2 - 1), says what z is like. The greater of both is taken.
    """
    p, tau = scheme.degree, solver.tau
    ends = tables(p, scheme.points, scheme.damped).at_ends.to(c.device)
    missed = tau / 2 * torch.stack([start_rate, end_rate]) - ends @ c
    if scheme.damped:
        missed = missed[:1] / 2  # it is a multiple of L_p - L_{p-1}, which is 0 at the end
    length = p - scheme.damped
    filtered = solver.filtered(missed)
    shares = math.prod(1 / (2 * j + 1) for j in range(1, length + 1))
    by_chain = 2 * shares * norm(solver.chain(filtered, length).abs())
    sizes = [norm(row[None]) for row in c] + [norm(filtered.abs())]
    ratios = [(4 * k * k - 1) * sizes[k + 1] / sizes[k - 1] for k in range(1, p) if sizes[k - 1] > 0]
    z = math.sqrt(max(ratios, default=0.0))
    by_decay = 2 * sizes[-1] * math.prod(min(z / (2 * j + 1), 1.0) for j in range(1, length + 1))
    return max(by_chain, by_decay)
