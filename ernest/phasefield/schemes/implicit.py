"""The fully implicit energetic scheme (arXiv 2406.16287): c = Phi(c), solved to a tolerance in every element.

With the Legendre moments n(c) of N at q Gauss points,

    Phi(c) = -(I + z A)^{-1} (z u_start e_1 + tau/2 (G n(c) - s)).

Where the quadrature is exact for the potential, which for F of degree d takes q >= p d / 2, the energy falls by exactly
the dissipation in every element, whatever its length. The order at the ends of the elements is 2p.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ernest.phasefield.element import Element, Time
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.numeric import make_plain
from ernest.phasefield.schemes.iterations import Anderson, gmres
from ernest.phasefield.schemes.splitting import FactorCache, Splitting, check_at_least, check_degree, element_length, split
from ernest.phasefield.stepping import DivergenceError, State, StepStats
from ernest.phasefield.timeelement import Factors, basis, combine, continuation, gauss

UNBOUNDED = 1e6
"""A change of u of this size, far beyond any phase, will not come back."""


@dataclass(frozen=True)
class Implicit:
    """Degree p, `quadrature` with q Gauss points, stabilisation S, and the iteration that solves for the element.

    Without `quadrature` it is exact for polynomial potentials, and 3p for others; q = p is collocation, of the same order.
    Plain Picard iterations contract by about tau max|f' - S| times 0.64 at worst and are the cheapest for tau s < 0.5;
    Anderson's, over the last `depth` iterates, converge for far longer steps; Newton's solve each linear system by GMRES.
    They end when c_1 changes by no more than `tolerance` anywhere, or only by round-off.
    """

    degree: int = 3
    quadrature: int | None = None
    stabilisation: float | None = None
    iteration: Literal["picard", "anderson", "newton"] = "anderson"
    tolerance: float = 1e-12
    depth: int = 8
    limit: int = 1000

    def __post_init__(self) -> None:
        make_plain(self)
        check_degree(self.degree)
        check_at_least("quadrature", self.degree if self.quadrature is None else self.quadrature, self.degree)
        check_at_least("depth", self.depth, 1)
        check_at_least("limit", self.limit, 1)
        if self.iteration not in ("picard", "anderson", "newton"):
            raise ValueError(f"scheme iteration: expected picard, anderson or newton, got {self.iteration!r}")
        if not 0 < self.tolerance < 1:
            raise ValueError(f"scheme tolerance: expected a number between 0 and 1, got {self.tolerance}")

    def stepper(self, flow: Flow, grid: Space, like: Tensor) -> "ImplicitStepper":
        return ImplicitStepper(self, split(flow, grid, self.stabilisation, like), like)


@dataclass(frozen=True)
class ElementEquation:
    """The equation c = Phi(c) of one element, for fields c `[..., p, *points]`."""

    splitting: Splitting
    factors: Factors
    tau: Time
    P: Tensor
    to_moments: Tensor
    modes: Tensor
    start: Tensor
    forcing: Tensor | None

    def nodes(self, c: Tensor) -> Tensor:
        """The fields `[..., q, *points]` at the quadrature points."""
        dimensions = self.splitting.grid.dimensions
        return self.start.unsqueeze(-1 - dimensions) + combine(self.P, c, dimensions)

    def phi(self, c: Tensor) -> Tensor:
        """Modes `[..., p, *mode_shape]` of Phi(c)."""
        remainder = self.splitting.remainder(self.nodes(c))
        return self._solved(remainder, self.modes, self.forcing)

    def linearised(self, c: Tensor) -> Callable[[Tensor], Tensor]:
        """The linear map from a change d of c to d - Phi'(c) d."""
        slopes = self.splitting.flow.potential.df(self.nodes(c)) - self.splitting.stabilisation

        def product(d: Tensor) -> Tensor:
            change = slopes * combine(self.P, d, self.splitting.grid.dimensions)
            return d - self.splitting.grid.field(self._solved(change, torch.zeros_like(self.modes), None))

        return product

    def _solved(self, remainder: Tensor, start: Tensor, forcing: Tensor | None) -> Tensor:
        grid = self.splitting.grid
        moments = grid.modes(combine(self.to_moments, remainder, grid.dimensions))
        return self.splitting.coefficients(self.factors, self.tau, start, moments, forcing)


class ImplicitStepper:
    """The rows of the history are the modes of the last element's coefficients c_1 .. c_p."""

    def __init__(self, scheme: Implicit, splitting: Splitting, like: Tensor) -> None:
        self.scheme, self.splitting, self.init = scheme, splitting, splitting.init
        points = scheme.quadrature or exact_points(scheme.degree, splitting.flow.potential.degree)
        self._points, self._to_moments = (tensor.to(like) for tensor in gauss(scheme.degree, points))
        self._factors = FactorCache(splitting, scheme.degree)

    def step(self, state: State, tau: Time) -> tuple[State, Element, StepStats]:
        grid, axis = self.splitting.grid, -1 - self.splitting.grid.dimensions
        tau = element_length(tau, state.modes, grid)
        equation = self._equation(state, tau)
        coefficients, stats = self._iterate(equation, self._predicted(state, tau, equation), state.time)
        end = state.modes + 2 * coefficients.select(axis, 0)
        element = Element(state.time, tau, state.modes, end, grid, lambda: coefficients)
        return State(state.time + tau, end, coefficients, (tau,), state.count + 1), element, stats

    def _iterate(self, equation: ElementEquation, c: Tensor, time: Time) -> tuple[Tensor, StepStats]:
        """Modes of the coefficients with c = Phi(c), from first fields c `[..., p, *points]`."""
        scheme, grid, products = self.scheme, self.splitting.grid, 0
        anderson = Anderson(scheme.depth, grid.dimensions + 1)
        floor = 64 * torch.finfo(c.dtype).eps * max(1.0, equation.start.abs().max().item())
        differences, last = [], math.inf
        for count in range(1, scheme.limit + 1):
            modes = equation.phi(c)
            residual = grid.field(modes) - c
            change = residual.detach().select(-1 - grid.dimensions, 0)
            largest = change.abs().max().item()
            differences.append(2 * (change**2).mean(tuple(range(-grid.dimensions, 0))).max().sqrt().item())
            if not largest < UNBOUNDED:
                raise DivergenceError(time, equation.tau, count, largest)
            if largest <= scheme.tolerance or floor >= largest >= last / 2:
                return modes, StepStats(count + products, tuple(differences))
            if scheme.iteration == "picard":
                c = c + residual
            elif scheme.iteration == "anderson":
                c = anderson.next(c, residual)
            else:
                update, used = gmres(equation.linearised(c), residual, grid.dimensions + 1)
                c, products = c + update, products + used
            last = largest
        raise DivergenceError(time, equation.tau, scheme.limit, last)

    def _predicted(self, state: State, tau: Time, equation: ElementEquation) -> Tensor:
        """First guess of the coefficients: the last polynomial continued, or 0 for members where that leaves the domain of F."""
        grid, p = self.splitting.grid, self.scheme.degree
        if state.history is None:
            return torch.stack([torch.zeros_like(equation.start)] * p, -1 - grid.dimensions)
        c = grid.field(combine(continuation(p, tau / state.taus[-1]), state.history, grid.dimensions))
        nodes, start = equation.nodes(c).detach(), equation.start.detach().unsqueeze(-1 - grid.dimensions)
        low, high = self.splitting.flow.potential.domain
        axes = tuple(range(-1 - grid.dimensions, 0))
        sound = (nodes.abs().amax(axes, True) <= 2 * start.abs().amax(axes, True)) & (
            (nodes.amin(axes, True) > low) & (nodes.amax(axes, True) < high)
        )
        return torch.where(sound, c, torch.zeros_like(c))

    def _equation(self, state: State, tau: Time) -> ElementEquation:
        forcing = self.splitting.forcing(state.time, tau, self._points, self._to_moments)
        P = basis(self.scheme.degree, self._points)
        start = self.splitting.grid.field(state.modes)
        return ElementEquation(self.splitting, self._factors.at(tau), tau, P, self._to_moments, state.modes, start, forcing)


def exact_points(degree: int, potential: int | None) -> int:
    """Number of Gauss points that integrate the energy of F of degree `potential` exactly; 3p if F is no polynomial."""
    return 3 * degree if potential is None else max(degree, -(-degree * potential // 2))
