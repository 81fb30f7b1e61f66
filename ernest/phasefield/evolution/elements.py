"""Energetic elements for flows whose coefficients vary: p Legendre moments of mu, and a rate that is tested with them.

The element of degree p (arXiv 2406.16287), u = u_start + sum of c_k psi_k with u_t = 2/tau sum of c_k L_{k-1}, reads here

    mu = sum of mu_k L_{k-1},   mu_k the Legendre moments of dE/du(u),          k = 1 .. p,
    c_k = tau/2 r_k,            r_k  the Legendre moments of -G(u, t) mu + forcing.

Since mu and u_t are both of degree p - 1, the energy falls by just the integral of (mu, G mu), by the quadrature of G:

    E(end) - E(start) = sum over k of (r_k, mu_k) tau / (2k - 1)  <=  0,

for every length and every G >= 0, where the moments of dE/du are exact. Its order at the ends is 2p, as with a constant G.
The equations are solved by sweeps around a constant operator Lambda = G0 (L0 + S), diagonal in the modes,

    c  ->  c - (I + tau/2 Lambda A)^{-1} (c - tau/2 r(c)),

which has the same solution whatever Lambda is, and Anderson's acceleration over them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from ernest.phasefield.element import Element, Time
from ernest.phasefield.evolution.flows import CoupledFlow, VariableFlow
from ernest.phasefield.evolution.kicks import kick
from ernest.phasefield.evolution.linearised import stiffness
from ernest.phasefield.evolution.operators import Operators
from ernest.phasefield.gradients import outside_inference_mode
from ernest.phasefield.grid import Grid, Space
from ernest.phasefield.numeric import make_plain
from ernest.phasefield.potentials import Potential
from ernest.phasefield.schemes.implicit import exact_points
from ernest.phasefield.schemes.iterations import Anderson
from ernest.phasefield.schemes.splitting import check_at_least, check_degree, one_length
from ernest.phasefield.stepping import DivergenceError, State, StepStats
from ernest.phasefield.timeelement import basis, combine, continuation, factorise, gauss, legendre, solve


@dataclass(frozen=True)
class EnergeticElements:
    """Elements of degree p for a `VariableFlow` or `CoupledFlow`, with `quadrature` Gauss points.

    Without `quadrature` they are as many as are exact for the energy, 3p if it is no polynomial in u. The sweeps end when
    they move u by no more than `tolerance` times its size, or only by round-off.
    """

    degree: int = 3
    quadrature: int | None = None
    tolerance: float = 1e-13
    depth: int = 10
    limit: int = 200

    def __post_init__(self) -> None:
        make_plain(self)
        check_degree(self.degree)
        check_at_least("quadrature", self.degree if self.quadrature is None else self.quadrature, self.degree)
        check_at_least("limit", self.limit, 1)
        if not 0 < self.tolerance < 1:
            raise ValueError(f"scheme tolerance: expected a number between 0 and 1, got {self.tolerance}")

    @outside_inference_mode
    def stepper(self, flow: Any, grid: Space, like: Tensor) -> "EnergeticStepper":
        """The stepper for fields like `like`."""
        if not isinstance(flow, VariableFlow | CoupledFlow):
            raise ValueError(f"scheme: EnergeticElements are for a VariableFlow or CoupledFlow, got {type(flow).__name__}")
        coupled = flow.coupled() if isinstance(flow, VariableFlow) else flow
        return EnergeticStepper(self, Operators(coupled, cast(Grid, grid), like))

    def points_for(self, flow: CoupledFlow) -> int:
        """Number q of Gauss points."""
        degree = flow.degree
        if degree is None and isinstance(flow.potential, Potential) and not any(callable(k) for k in _flat(flow.kappa)):
            degree = flow.potential.degree
        return self.quadrature or exact_points(self.degree, degree)


def _flat(kappas: tuple[Any, ...]) -> list[Any]:
    return [one for kappa in kappas for one in (_flat(kappa) if isinstance(kappa, tuple) else (kappa,))]


class EnergeticStepper:
    """The rows of the history are the modes of the last element's coefficients c_1 .. c_p."""

    def __init__(self, scheme: EnergeticElements, operators: Operators) -> None:
        self.scheme, self.operators, self.grid = scheme, operators, operators.grid
        self.single, self.points = operators.flow.single, scheme.points_for(operators.flow)
        self.dissipated: Tensor = torch.zeros(())
        """The energy that the last step dissipated, `[...]`."""
        self._kick: Tensor | None = None

    def init(self, u0: Tensor, time: Time = 0.0) -> State:
        """The state of initial fields."""
        return State(time, self.grid.modes(u0))

    def step(self, state: State, tau: Time) -> tuple[State, Element, StepStats]:
        """One step; it raises DivergenceError where the sweeps do not converge: a shorter step may help."""
        d = self.grid.dimensions
        tau = one_length(tau, state.modes, self.grid)
        start, p = self._with_fields(state.modes, 1), self.scheme.degree
        if state.history is None:
            c = torch.stack([torch.zeros_like(start)] * p, -1 - d)
        else:
            past = self._with_fields(state.history, 2)
            c = combine(continuation(p, tau / float(state.taus[-1])), past, d)
        noise = self.operators.flow.noise
        if noise is not None:
            fields = self.grid.field(start)
            self._kick = kick(self.operators, noise, fields, float(state.time), tau, state.count)
        c, stats = self.solve(start, c, float(state.time), tau, p)
        coefficients = c.squeeze(-2 - d) if self.single else c
        end = state.modes + 2 * coefficients.select(-1 - d, 0)
        element = Element(state.time, tau, state.modes, end, self.grid, lambda: coefficients)
        return State(state.time + tau, end, coefficients, (tau,), state.count + 1), element, stats

    def refined(self, element: Element) -> Element:
        """The element of twice the degree through the same ends: as exact between them as there."""
        d, degree = self.grid.dimensions, min(2 * element.degree + 2, 12)
        start, c = self._with_fields(element.start_modes, 1), self._with_fields(element.coefficients, 2)
        zero = torch.zeros_like(c.narrow(-1 - d, 0, 1))
        try:
            longer = torch.cat([c, *[zero] * (degree - element.degree)], -1 - d)
            c, _ = self.solve(start, longer, float(element.time), float(element.tau), degree, max(degree, self.points))
        except DivergenceError:
            return element
        c = c.squeeze(-2 - d) if self.single else c
        first = (element.end_modes - element.start_modes).unsqueeze(-1 - d) / 2
        return replace(element, solve=lambda: torch.cat([first, c.narrow(-1 - d, 1, degree - 1)], -1 - d))

    @outside_inference_mode
    def solve(
        self, start: Tensor, c: Tensor, time: float, tau: float, p: int, points: int | None = None, enough: float | None = None
    ) -> tuple[Tensor, StepStats]:
        """The coefficients `[..., n, p, *modes]` of an element from the modes `start` `[..., n, *modes]` and the guess c."""
        grid, d, scheme = self.grid, self.grid.dimensions, self.scheme
        u0 = grid.field(start.unsqueeze(-1 - d))
        now = torch.tensor([time], dtype=u0.dtype, device=u0.device)
        size = max(float(grid.norm(start + 2 * c.select(-1 - d, 0)).max()), float(grid.norm(start).max()), 1e-300)
        with torch.no_grad():
            factors = factorise((tau / 2 * stiffness(self.operators, u0, now)).squeeze(1).to(start.dtype), p)
            equation = self._equation(start, time, tau, p, points or max(self.points, p))
            anderson, last, floor = Anderson(scheme.depth, d + 2 + c.is_complex()), math.inf, 32 * torch.finfo(u0.dtype).eps
            differences: list[float] = []
            goal = scheme.tolerance if enough is None else enough
            for count in range(1, scheme.limit + 1):
                residual, dissipated = equation(c)
                change = solve(factors, residual, -1 - d)
                moved = float(grid.norm(change).max())
                size = max(size, moved) if count == 1 and math.isfinite(moved) else size  # fields may begin at zero
                moved /= size
                differences.append(moved * size)
                if not moved < 1e4:
                    raise DivergenceError(time, tau, count, moved)
                if moved <= goal or floor >= moved >= last / 2:
                    self.dissipated = dissipated
                    return c + change, StepStats(count, tuple(differences))
                if count > 60 and moved > 1e-3:
                    break
                c = anderson.next(_real(c), _real(change))
                c = torch.view_as_complex(c) if start.is_complex() else c
                last = moved
        raise DivergenceError(time, tau, len(differences), last)

    def _equation(self, start: Tensor, time: float, tau: float, p: int, points: int) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """The residual tau/2 r(c) - c, and the energy dissipated, as a function of c."""
        grid, d, operators = self.grid, self.grid.dimensions, self.operators
        like = start.real
        xi, to_moments = (tensor.to(like) for tensor in gauss(p, points))
        P, L = basis(p, xi), legendre(p - 1, xi)
        times = time + tau * (xi + 1) / 2
        orders = torch.arange(1, 2 * p, 2, dtype=like.dtype, device=like.device)
        weights, axes = grid.weights(like.dtype, like.device), tuple(range(-d, 0))

        def residual(c: Tensor) -> tuple[Tensor, Tensor]:
            modes = start.unsqueeze(-1 - d) + combine(P, c, d)
            u = grid.field(modes)
            mu = combine(to_moments, operators.variation(u, modes, times), d)
            if operators.constant_mobility:
                r = operators.linear_rate(mu)
            else:
                r = combine(to_moments, operators.rate(grid.field(combine(L, mu, d)), u, times), d)
            if operators.faces.held:  # the weights of the points are not all one
                products = operators.faces.integral(grid.field(r) * grid.field(mu)).sum(-2)
            else:
                products = (weights * (r.conj() * mu).real).sum(axes).sum(-2)
            dissipated = -tau * (products / orders).sum(-1)
            forced = operators.forcing(times, u)
            if forced is not None:
                r = r + combine(to_moments, forced, d)
            if self._kick is not None:  # the same all through the element, so in its first moment only
                first = r.narrow(-1 - d, 0, 1) + self._kick.unsqueeze(-1 - d)
                r = torch.cat([first, r.narrow(-1 - d, 1, p - 1)], -1 - d)
            return tau / 2 * r - c, dissipated

        return residual

    def _with_fields(self, modes: Tensor, rows: int) -> Tensor:
        """Modes with an axis for the fields, which a single field does not have."""
        return modes.unsqueeze(-rows - self.grid.dimensions) if self.single else modes


def _real(modes: Tensor) -> Tensor:
    return torch.view_as_real(modes) if modes.is_complex() else modes
