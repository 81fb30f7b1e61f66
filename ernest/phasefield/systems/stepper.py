"""Steps of a `DynamicalSystem`: when df/du is taken anew, when it is factorised anew, and elements refined between their ends."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from ernest.phasefield.element import Element
from ernest.phasefield.mesh import Mesh
from ernest.phasefield.stepping import DivergenceError, State, StepStats
from ernest.phasefield.systems.elements import Norm, Solved, SystemElements, end_error, newton
from ernest.phasefield.systems.linear import Linearisation, TimeSolver, linearise
from ernest.phasefield.systems.system import DynamicalSystem
from ernest.phasefield.timeelement import continuation

SLOW = 0.1
"""A contraction above this takes df/du anew in the next step."""
ROUND_OFF = 100
"""So many round-offs of u count as no error."""
MOST_DEGREE = 8
"""Of elements whose time is made diagonal."""


class SystemStepper:
    """Steps of one system. What it keeps between them, df/du and its factors, changes what they cost and no digit that counts."""

    def __init__(self, system: DynamicalSystem, scheme: SystemElements, u0: Tensor, norm: Norm) -> None:
        self.system, self.scheme, self.norm = system, scheme, norm
        self.grid = Mesh(torch.ones_like(u0))
        self.factorised = 0
        """How often factors were made."""
        self._linear: Linearisation | None = None
        self._solver: TimeSolver | None = None
        self._contraction: float | None = None
        self._last: TimeSolver | None = None
        self._slope: tuple[Tensor, Tensor] | None = None

    def init(self, u0: Tensor, time: float = 0.0) -> State:
        """The state of u0 `[n]`."""
        return State(time, u0)

    def step(self, state: State, tau: float, goal: float) -> tuple[State, Element, StepStats]:
        """One element of length tau, whose equations are solved to `goal`. Raises DivergenceError: a shorter step may help."""
        u, time, p = state.modes, float(state.time), self.scheme.degree
        if state.history is None:
            guess = tau / 2 * torch.cat([self.slope(time, u)[None], u.new_zeros(p - 1, len(u))])
        else:
            guess = continuation(p, u.new_tensor(tau / float(state.taus[-1]))) @ state.history
        try:
            solved = self._newton(time, u, tau, guess, goal)
        except DivergenceError:
            fresh = self._linear is not None and self._linear.time == time
            self._forget()
            if fresh:
                raise
            solved = self._newton(time, u, tau, guess, goal)
        self._contraction = solved.contraction or self._contraction
        if solved.contraction > SLOW:
            self._forget()
        c = solved.c
        end = u + 2 * c[0]
        element = Element(time, tau, u, end, self.grid, lambda: c)
        return State(time + tau, end, c, (tau,), state.count + 1), element, StepStats(solved.iterations)

    def error(self, element: Element) -> float:
        """About how much the end of the last element errs by."""
        assert self._last is not None
        time, tau = float(element.time), float(element.tau)
        begins, ends = self.slope(time, element.start_modes), self.slope(time + tau, element.end_modes, before=True)
        error = end_error(self.scheme, self._last, element.coefficients, begins, ends, self.norm)
        round_off = ROUND_OFF * torch.finfo(begins.dtype).eps * self.norm(element.end_modes[None])
        return 0.0 if error <= round_off else error

    def slope(self, time: float, u: Tensor, before: bool = False) -> Tensor:
        """f `[n]` at a time, or just `before` it; that of the end of one element is kept for the start of the next."""
        if self._slope is None or self._slope[0] is not u:
            inside = 8 * math.ulp(time)  # f may jump at the time itself
            self._slope = u, self.system.rate(u.new_tensor([time - inside if before else time + inside]), u)
        return self._slope[1]

    def forget_slope(self) -> None:
        """For a time at which f may jump."""
        self._slope = None

    def refined(self, element: Element) -> Element:
        """The element of almost twice the degree through the same ends: about as exact between them as there."""
        time, tau, start, c = float(element.time), float(element.tau), element.start_modes, element.coefficients
        degree = min(2 * len(c) - 1, MOST_DEGREE)
        scheme = replace(self.scheme, degree=degree, quadrature=max(degree, self.scheme.points), damped=False, limit=20)
        solver = linearise(self.system, time, start).time_solver(tau, degree, False)
        longer = torch.cat([c, c.new_zeros(degree - len(c), c.shape[-1])])
        goal = 1e-3 * self.norm(c[-1:]) * self.norm(c[-1:]) / max(self.norm(c[:1]), 1e-300)
        try:
            longer = newton(self.system, scheme, solver, start, longer, time, self.norm, goal).c
        except DivergenceError:
            return element
        return replace(element, solve=lambda: torch.cat([c[:1], longer[1:]]))

    def _newton(self, time: float, u: Tensor, tau: float, guess: Tensor, goal: float) -> Solved:
        self._last = self._time_solver(time, u, tau)
        return newton(self.system, self.scheme, self._last, u, guess, time, self.norm, goal, self._contraction)

    def _time_solver(self, time: float, u: Tensor, tau: float) -> TimeSolver:
        if self._linear is None:
            self._linear, self._solver = linearise(self.system, time, u), None
        if self._solver is None or not math.isclose(self._solver.tau, tau, rel_tol=1e-12):
            self._solver = self._linear.time_solver(tau, self.scheme.degree, self.scheme.damped)
            self._contraction, self.factorised = None, self.factorised + 1
        return replace(self._solver, tau=tau)

    def _forget(self) -> None:
        self._linear = self._solver = self._contraction = None
