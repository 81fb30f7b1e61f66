"""The linear scheme in the other reading of its abstract: the nonlinear term is extrapolated, not the field (arXiv 2406.16287).

N is known at the Gauss points of the last element. Its polynomial, continued into the new one, gives the moments of N without a
transform; sweeps then take N at the newest field, as those of `SemiImplicit` do. It is here to be compared: beside the other
reading it has one order less, and K sweeps cost the transforms of K - 1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ernest.phasefield.element import Element, Time
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.schemes.splitting import FactorCache, Splitting, check_at_least, check_degree, one_length, split
from ernest.phasefield.stepping import State, StepStats
from ernest.phasefield.timeelement import basis, combine, continuation, gauss


@dataclass(frozen=True)
class ExtrapolatedTerm:
    """Degree p, `sweeps` K after the first linear solve, and the stabilisation S. A step costs 2p max(K, 1) real FFTs."""

    degree: int = 3
    sweeps: int = 1
    stabilisation: float | None = None

    def __post_init__(self) -> None:
        check_degree(self.degree)
        check_at_least("sweeps", self.sweeps, 0)

    def stepper(self, flow: Flow, grid: Space, like: Tensor) -> "ExtrapolatedTermStepper":
        return ExtrapolatedTermStepper(self, split(flow, grid, self.stabilisation, like), like)


class ExtrapolatedTermStepper:
    """The rows of the history are the modes of the Legendre moments of N in the last element."""

    def __init__(self, scheme: ExtrapolatedTerm, splitting: Splitting, like: Tensor) -> None:
        self.scheme, self.splitting, self.init = scheme, splitting, splitting.init
        self._points, self._to_moments = (tensor.to(like) for tensor in gauss(scheme.degree))
        self._factors = FactorCache(splitting, scheme.degree)

    def step(self, state: State, tau: Time) -> tuple[State, Element, StepStats]:
        grid, p, K = self.splitting.grid, self.scheme.degree, self.scheme.sweeps
        axis, tau = -1 - grid.dimensions, one_length(tau, state.modes, grid)
        if state.history is None:
            # Without a past the first moments are those of a constant field; sweeps make up for the order that it lacks.
            constant = torch.stack([state.modes] * p, axis)
            moments, sweeps = self.splitting.explicit_moments(constant, self._to_moments), max(2 * p + 1, K)
        else:
            # The matrix of the next line continues tau u_t; N has no such factor.
            ratio = tau / float(state.taus[-1])
            moments, sweeps = combine(continuation(p, ratio) / ratio, state.history, grid.dimensions), K
        coefficients = self._solve(tau, state.modes, moments)
        for _ in range(sweeps):
            moments = self._moments_of(state.modes, coefficients)
            coefficients = self._solve(tau, state.modes, moments)
        if not sweeps:  # else the last sweep's serve
            moments = self._moments_of(state.modes, coefficients)
        end = state.modes + 2 * coefficients.select(axis, 0)
        element = Element(state.time, tau, state.modes, end, grid, lambda: coefficients)
        evaluations = sweeps + 1 if state.history is None else max(sweeps, 1)
        return State(state.time + tau, end, moments, (tau,), state.count + 1), element, StepStats(evaluations)

    def _moments_of(self, start: Tensor, coefficients: Tensor) -> Tensor:
        """Those of N at the field of an element."""
        dimensions = self.splitting.grid.dimensions
        nodes = start.unsqueeze(-1 - dimensions) + combine(basis(self.scheme.degree, self._points), coefficients, dimensions)
        return self.splitting.explicit_moments(nodes, self._to_moments)

    def _solve(self, tau: float, start: Tensor, moments: Tensor) -> Tensor:
        return self.splitting.coefficients(self._factors.at(tau), tau, start, moments, None)
