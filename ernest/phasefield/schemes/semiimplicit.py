"""The semi-implicit linear scheme with Picard sweeps (arXiv 2406.16287).

N is taken at an extrapolation of the last element's polynomial, and each sweep solves one linear system per mode,

    (I + z A) c = -(z u_start e_1 + tau/2 (G n - s)),   z = tau/2 Lambda,

with n and s the Legendre moments of N and of the forcing at the Gauss points.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ernest.phasefield.element import Element, Time
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.numeric import make_plain
from ernest.phasefield.schemes.splitting import FactorCache, Splitting, check_at_least, check_degree, element_length, split
from ernest.phasefield.stepping import State, StepStats
from ernest.phasefield.timeelement import Factors, basis, combine, continuation, gauss


@dataclass(frozen=True)
class SemiImplicit:
    """Degree p of the element, `sweeps` K of Picard after the first linear solve, and the stabilisation S.

    The order at the ends of the elements is min(2p, p + 1 + K). A step costs 2p (K + 1) real FFTs. For the double
    well, S = s allows the longest steps in which the energy still falls; S = s/2, the default, converges fastest in
    many sweeps. Without a sweep Cahn-Hilliard takes tiny steps only: give it one.
    """

    degree: int = 3
    sweeps: int = 1
    stabilisation: float | None = None

    def __post_init__(self) -> None:
        make_plain(self)
        check_degree(self.degree)
        check_at_least("sweeps", self.sweeps, 0)

    def stepper(self, flow: Flow, grid: Space, like: Tensor) -> "SemiImplicitStepper":
        return SemiImplicitStepper(self, split(flow, grid, self.stabilisation, like), like)


class SemiImplicitStepper:
    """The rows of the history are the modes of the last element's coefficients c_1 .. c_p."""

    def __init__(self, scheme: SemiImplicit, splitting: Splitting, like: Tensor) -> None:
        self.scheme, self.splitting, self.init = scheme, splitting, splitting.init
        self._points, self._to_moments = (tensor.to(like) for tensor in gauss(scheme.degree))
        self._factors = FactorCache(splitting, scheme.degree)

    def step(self, state: State, tau: Time) -> tuple[State, Element, StepStats]:
        splitting, grid, p = self.splitting, self.splitting.grid, self.scheme.degree
        axis = -1 - grid.dimensions
        tau = element_length(tau, state.modes, grid)
        factors, P = self._factors.at(tau), basis(p, self._points)
        forcing = splitting.forcing(state.time, tau, self._points, self._to_moments)
        start = state.modes.unsqueeze(axis)
        if state.history is None:
            # Without a past the prediction is a constant; sweeps make up for the order that it lacks.
            nodes, sweeps = torch.cat([start] * p, axis), max(2 * p + 1, self.scheme.sweeps)
        else:
            further = combine(continuation(p, tau / state.taus[-1]), state.history, grid.dimensions)
            nodes = start + combine(P, further, grid.dimensions)
            sweeps = self.scheme.sweeps
        coefficients, differences = self._sweep(factors, tau, state.modes, nodes, forcing), []
        for _ in range(sweeps):
            nodes = start + combine(P, coefficients, grid.dimensions)
            newer = self._sweep(factors, tau, state.modes, nodes, forcing)
            differences.append(2 * splitting.size((newer - coefficients).select(axis, 0).detach()))
            coefficients = newer
        end = state.modes + 2 * coefficients.select(axis, 0)
        element = Element(state.time, tau, state.modes, end, grid, lambda: coefficients)
        stats = StepStats(sweeps + 1, tuple(differences))
        return State(state.time + tau, end, coefficients, (tau,), state.count + 1), element, stats

    def _sweep(self, factors: Factors, tau: Time, start: Tensor, nodes: Tensor, forcing: Tensor | None) -> Tensor:
        """Modes of the coefficients, with N taken at the fields whose modes at the Gauss points are `nodes`."""
        moments = self.splitting.explicit_moments(nodes, self._to_moments)
        return self.splitting.coefficients(factors, tau, start, moments, forcing)
