"""Damped implicit elements: collocation at the right Radau points, solved by Newton's method, for motion that is stiff or over.

The element of degree p with p Radau points xi_i, of which the last is the end, has the residual rho (L_p - L_{p-1}) instead of
rho L_p. In the tridiagonal system this is one number, 1/(2p - 1) in the last place of A, and the linear part of the element
becomes the Pade approximant (p - 1, p) of the exponential: waves with z = tau Lambda / 2 far beyond 1 end at balance, where the
diagonal one of the energetic element leaves them ringing. The order at the ends is 2p - 1. Newton's method takes the true f',
so neither a steep potential nor a long step stands in its way, as both do for sweeps. The energy law is an inequality here: a
quadratic energy falls by the dissipation at least, whatever the step; of others `solve` watches that it falls.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ernest.phasefield.element import Element, Time
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.numeric import make_plain
from ernest.phasefield.potentials import slope_inside
from ernest.phasefield.schemes.implicit import ElementEquation
from ernest.phasefield.schemes.iterations import gmres
from ernest.phasefield.schemes.splitting import Splitting, check_at_least, check_degree, one_length, split
from ernest.phasefield.stepping import DivergenceError, State, StepStats
from ernest.phasefield.timeelement import Factors, basis, combine, continuation, factorise, radau

DENSE = 600
"""Unknowns of an element, p times the points, up to which Newton's systems are solved by elimination."""


@dataclass(frozen=True)
class RadauElements:
    """Damped elements of degree p. Newton's iterations end when one changes u by at most `tolerance`, or only by round-off."""

    degree: int = 3
    stabilisation: float | None = None
    tolerance: float = 1e-10
    limit: int = 15

    def __post_init__(self) -> None:
        make_plain(self)
        check_degree(self.degree)
        check_at_least("limit", self.limit, 1)
        if not 0 < self.tolerance < math.inf:
            raise ValueError(f"scheme tolerance: expected a positive number, got {self.tolerance}")

    def stepper(self, flow: Flow, grid: Space, like: Tensor) -> "RadauStepper":
        return RadauStepper(self, split(flow, grid, self.stabilisation, like), like)


class RadauStepper:
    """The rows of the history are the modes of the last element's coefficients c_1 .. c_p."""

    def __init__(self, scheme: RadauElements, splitting: Splitting, like: Tensor) -> None:
        self.scheme, self.splitting, self.init = scheme, splitting, splitting.init
        self._points, self._to_moments = (tensor.to(like) for tensor in radau(scheme.degree))
        self._P = basis(scheme.degree, self._points)
        self._factors: tuple[float, Factors] | None = None

    def step(self, state: State, tau: Time) -> tuple[State, Element, StepStats]:
        grid, axis = self.splitting.grid, -1 - self.splitting.grid.dimensions
        tau = one_length(tau, state.modes, grid)
        equation = self._equation(state, tau)
        c, stats = self._newton(equation, self._predicted(state, tau, equation), state.time)
        # What G conserves is taken from the equation itself: in the sum of Newton's changes round-off adds up.
        coefficients = torch.where(self.splitting.mobility.abs().unsqueeze(axis) == 0, equation.phi(c), grid.modes(c))
        end = state.modes + 2 * coefficients.select(axis, 0)
        element = Element(state.time, tau, state.modes, end, grid, lambda: coefficients)
        return State(state.time + tau, end, coefficients, (tau,), state.count + 1), element, stats

    def _newton(self, equation: ElementEquation, c: Tensor, time: Time) -> tuple[Tensor, StepStats]:
        """The coefficients with c = Phi(c), as fields."""
        axis, potential = -1 - self.splitting.grid.dimensions, self.splitting.flow.potential
        size = max(float(equation.start.abs().max()), 1e-300)
        floor = 200 * torch.finfo(c.dtype).eps * size
        residual, last, differences, solver, work = self._residual(equation, c), math.inf, [], None, 1
        for count in range(1, self.scheme.limit + 1):
            if solver is None:
                solver = self._solver(equation, c)
            change, used = solver(residual)
            work += 1 + used
            share = 1.0
            while not bool(torch.isfinite(slope_inside(potential, equation.nodes(c + share * change))).all()):
                share /= 2
                if share < 1e-3:
                    raise DivergenceError(time, equation.tau, count, math.inf)
            c = c + share * change
            residual = self._residual(equation, c)
            largest = float(combine(self._P, change, -1 - axis).abs().max())
            differences.append(2 * float(change.select(axis, 0).square().mean().sqrt()))
            if share == 1 and largest <= max(self.scheme.tolerance, floor):
                return c, StepStats(work, tuple(differences))
            if not largest < 1e3 * max(size, 1.0):
                raise DivergenceError(time, equation.tau, count, largest)
            if share < 1 or largest > 0.05 * last:
                solver = None  # f' has changed too much for the factors of the last matrix
            last = largest
        raise DivergenceError(time, equation.tau, self.scheme.limit, last)

    def _residual(self, equation: ElementEquation, c: Tensor) -> Tensor:
        return self.splitting.grid.field(equation.phi(c)) - c

    def _solver(self, equation: ElementEquation, c: Tensor) -> Callable[[Tensor], tuple[Tensor, int]]:
        """The solver of (1 - Phi'(c)) d = r, which also tells how many products with the matrix it took."""
        grid, product = self.splitting.grid, equation.linearised(c)
        axes = grid.dimensions + 1
        if c.ndim > axes or c.numel() > DENSE:
            return lambda residual: gmres(product, residual, axes, 1e-2, 80)
        unit = torch.eye(c.numel(), dtype=c.dtype, device=c.device).reshape(c.numel(), *c.shape)
        factors = torch.linalg.lu_factor(product(unit).reshape(c.numel(), c.numel()).T)
        return lambda residual: (torch.linalg.lu_solve(*factors, residual.reshape(-1, 1)).reshape(c.shape), 1)

    def _predicted(self, state: State, tau: float, equation: ElementEquation) -> Tensor:
        """The first guess: the last polynomial continued where that is nearer to a solution than no change."""
        grid, p = self.splitting.grid, self.scheme.degree
        still = torch.stack([torch.zeros_like(equation.start)] * p, -1 - grid.dimensions)
        if state.history is None:
            return still
        further = grid.field(combine(continuation(p, tau / state.taus[-1]), state.history, grid.dimensions))
        if not bool(torch.isfinite(slope_inside(self.splitting.flow.potential, equation.nodes(further))).all()):
            return still
        sizes = [float(self._residual(equation, c).abs().max()) for c in (further, still)]
        return further if sizes[0] < sizes[1] else still

    def _equation(self, state: State, tau: float) -> ElementEquation:
        splitting, grid = self.splitting, self.splitting.grid
        if self._factors is None or self._factors[0] != tau:
            self._factors = tau, factorise(tau / 2 * splitting.stiffness, self.scheme.degree, damped=True)
        # The last point is the end, where a forcing may jump: it is asked for its value just before.
        inside = self._points.clamp(max=1 - 8 * math.ulp(float(state.time) + tau) / tau)
        forcing = splitting.forcing(state.time, tau, inside, self._to_moments)
        return ElementEquation(
            splitting, self._factors[1], tau, self._P, self._to_moments, state.modes, grid.field(state.modes), forcing
        )
