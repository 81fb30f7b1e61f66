"""Solves gradient flows whose operators are sparse matrices, or functions that apply them to a vector.

The element's system (I + tau/2 A x Lambda) c = r couples p unknown fields. Where Lambda = G (L + S) has no known modes, time is
made diagonal instead of space (the solver of arXiv 2406.16287): with A = V diag(theta) V^{-1} the fields part into

    (I + tau/2 theta_j Lambda) y_j = (V^{-1} r)_j,    c = V y,

p shifted problems of the size of one field. The theta_j come in complex conjugate pairs whose solutions are conjugate too, so
that one complex solve serves for two. A sparse matrix gets one LU factorisation for each pair, kept as long as tau stays;
any other solver of the shifted problem, such as multigrid or a user's own, may stand in its place.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ernest.device import HOST
from ernest.phasefield.element import Element, Time
from ernest.phasefield.mesh import Mesh
from ernest.phasefield.numeric import make_plain
from ernest.phasefield.potentials import Potential
from ernest.phasefield.schemes.implicit import exact_points
from ernest.phasefield.schemes.splitting import check_at_least, check_degree, one_length
from ernest.phasefield.stepping import DivergenceError, State, StepStats, elements
from ernest.phasefield.timeelement import basis, continuation, coupling, diagonalise, gauss

if TYPE_CHECKING:
    from scipy.sparse import csc_array, sparray

Operator = Callable[[np.ndarray], np.ndarray]
"""A linear operator on vectors `[n]`, real or complex."""


@dataclass(frozen=True)
class OperatorFlow:
    """u_t = -G (L u + f(u)) + forcing, with G and L given as functions that apply them to a vector `[n]`.

    Both must be self-adjoint and nowhere negative in the inner product of the mesh, or the energy need not fall.
    `shifted(shift, S)` returns the solver r -> x of (I + shift G (L + S)) x = r, where the shift is a float, or complex with
    a complex r; it is called once for each pair of eigenvalues and each new length of a step.
    `forcing(time, coordinates)` gets a float and the mesh's coordinates and returns `[n]`.
    """

    mobility: Operator
    linear: Operator
    shifted: Callable[[complex, float], Operator]
    potential: Potential
    forcing: Callable[[float, tuple[Tensor, ...]], Tensor] | None = None


def sparse_flow(
    mesh: Mesh,
    linear: "sparray",
    potential: Potential,
    mobility: "float | sparray" = 1.0,
    conserve: bool = False,
    forcing: Callable[[float, tuple[Tensor, ...]], Tensor] | None = None,
) -> OperatorFlow:
    """The flow of a SciPy sparse matrix L `[n, n]` and a mobility that is a number or a sparse matrix `[n, n]`.

    With `conserve`, G is followed by I - mean, which keeps the mass (conservative Allen-Cahn). This term is not sparse, but
    of rank one: with B = I + shift G (L + S) the solution is B^{-1} r + beta B^{-1} 1, where beta is such that the mean of r
    stays, which I - mean leaves alone. Raises ValueError for matrices that are not self-adjoint on the mesh.
    """
    from scipy.sparse import csc_array, eye_array
    from scipy.sparse.linalg import splu

    weights = mesh.node_weights.numpy()
    identity, L = eye_array(len(weights), format="csc"), csc_array(linear)
    G = identity * mobility if isinstance(mobility, int | float) else csc_array(mobility)
    _check_self_adjoint("linear", L, weights)
    _check_self_adjoint("mobility", G, weights)

    def project(v: np.ndarray) -> np.ndarray:
        return v - weights @ v / weights.sum() if conserve else v

    def shifted(shift: complex, S: float) -> Operator:
        solve = splu(csc_array(identity + shift * (G @ (L + S * identity)))).solve
        if not conserve:
            return solve
        ones = solve(np.ones(len(weights), dtype=np.result_type(shift, float)))
        return lambda r: (y := solve(r)) + (weights @ (r - y)) / (weights @ ones) * ones

    return OperatorFlow(lambda v: project(G @ v), lambda v: L @ v, shifted, potential, forcing)


def _check_self_adjoint(name: str, matrix: "csc_array", weights: np.ndarray) -> None:
    from scipy.sparse import diags_array

    if matrix.shape != (len(weights), len(weights)):
        raise ValueError(f"{name}: expected a matrix {[len(weights)] * 2} for this mesh, got {matrix.shape}")
    weighted = diags_array(weights) @ matrix
    defect = abs(weighted - weighted.T).max()
    if not defect <= 1e-10 * abs(weighted).max():
        raise ValueError(f"{name}: expected a matrix that the weights of the mesh make symmetric; it is off by {defect:.1e}")


def time_solver(flow: OperatorFlow, S: float, tau: float, degree: int) -> Operator:
    """The solver of (I + tau/2 A x Lambda) c = r, for r and c `[p, n]`, by one shifted solve for each pair of eigenvalues.

    The condition of V grows fourfold with each degree; beyond degree 4 a second round, on the residual, makes up for it.
    """
    terms: list[tuple[np.ndarray, np.ndarray, Operator]] = []
    for value, column, row, multiplicity in diagonalise(degree).shifts:
        if multiplicity == 1:
            terms.append((column.real.numpy(), row.real.numpy(), flow.shifted(tau / 2 * value.real, S)))
        else:
            terms.append((2 * column.numpy(), row.numpy(), flow.shifted(tau / 2 * value, S)))
    A = tau / 2 * coupling(degree).numpy()

    def solve(right: np.ndarray) -> np.ndarray:
        return sum(
            (np.real(np.multiply.outer(column, shifted(row @ right))) for column, row, shifted in terms), np.zeros_like(right)
        )

    def solve_twice(right: np.ndarray) -> np.ndarray:
        c = solve(right)
        stiff = np.stack([flow.mobility(flow.linear(row) + S * row) for row in c])
        return c + solve(right - c - A @ stiff)

    return solve if degree <= 4 else solve_twice


@dataclass(frozen=True)
class Diagonalised:
    """The energetic scheme for an `OperatorFlow`, of the given degree p, by time-diagonalised solves.

    With `sweeps` K it is the semi-implicit linear scheme with K Picard sweeps after the first solve, of order
    min(2p, p + 1 + K), with p Gauss points. Without, it is the implicit scheme of order 2p: Picard sweeps go on until
    the coefficients change by less than `tolerance` times the size of u, with as many Gauss points as are exact for a
    polynomial potential (2p for a quartic, and 3p for one that is no polynomial). The `stabilisation` S is by default the
    midpoint of the potential's slopes, with which Picard contracts fastest.
    """

    degree: int = 3
    sweeps: int | None = None
    quadrature: int | None = None
    stabilisation: float | None = None
    tolerance: float = 1e-12
    iterations: int = 200

    def __post_init__(self) -> None:
        make_plain(self)
        check_degree(self.degree)
        if self.sweeps is not None:
            check_at_least("sweeps", self.sweeps, 0)
        if self.quadrature is not None:
            check_at_least("quadrature", self.quadrature, self.degree)
        check_at_least("iterations", self.iterations, 1)
        if not self.tolerance > 0:
            raise ValueError(f"scheme tolerance: expected a positive number, got {self.tolerance}")

    def stepper(self, flow: OperatorFlow, mesh: Mesh, like: Tensor) -> "DiagonalisedStepper":
        return DiagonalisedStepper(self, flow, mesh)

    def gauss_points(self, potential: Potential) -> int:
        """Number q of Gauss points of an element."""
        if self.quadrature is not None:
            return self.quadrature
        return self.degree if self.sweeps is not None else exact_points(self.degree, potential.degree)


class DiagonalisedStepper:
    """Steps of a `Diagonalised` scheme. The rows of the history are the last element's coefficients c_1 .. c_p."""

    def __init__(self, scheme: Diagonalised, flow: OperatorFlow, mesh: Mesh) -> None:
        self.scheme, self.flow, self.mesh = scheme, flow, mesh
        midpoint = max(0.0, sum(flow.potential.slopes) / 2)
        self.stabilisation = midpoint if scheme.stabilisation is None else scheme.stabilisation
        self._points, self._to_moments = gauss(scheme.degree, scheme.gauss_points(flow.potential))
        self._basis = basis(scheme.degree, self._points)
        self._factors: tuple[float, Operator] | None = None

    def init(self, u0: Tensor, time: Time = 0.0) -> State:
        """The state of fields `[..., n]`."""
        return State(time, u0)

    def step(self, state: State, tau: Time) -> tuple[State, Element, StepStats]:
        """One element of length `tau`, a number: all fields of a batch take the same steps."""
        start, tau = state.modes, one_length(tau, state.modes, self.mesh)
        fixed = self._fixed(state, tau)
        coefficients, differences = self._iterate(state, tau, fixed, self._sweep(start, self._predicted(state, tau), fixed, tau))
        end = start + 2 * coefficients[..., 0, :]
        element = Element(state.time, tau, start, end, self.mesh, lambda: coefficients)
        after = State(state.time + tau, end, coefficients, (tau,), state.count + 1)
        return after, element, StepStats(len(differences) + 1, differences)

    def _iterate(self, state: State, tau: float, fixed: Tensor, c: Tensor) -> tuple[Tensor, tuple[float, ...]]:
        """The coefficients after all sweeps, and by how much each sweep changed the end."""
        start, implicit = state.modes, self.scheme.sweeps is None
        size, last = max(1.0, float(start.abs().max())), math.inf
        differences: list[float] = []
        for sweep in range(self._most_sweeps(state)):
            newer = self._sweep(start, c, fixed, tau)
            change, c = newer - c, newer
            largest = float(change.abs().max()) / size
            if not largest < 1e6:
                raise DivergenceError(state.time, tau, sweep + 1, largest)
            differences.append(2 * float(self.mesh.norm(change[..., 0, :]).max()))
            # Round-off of the shifted solves may lie above the tolerance: there the changes stop to fall.
            if implicit and (largest <= self.scheme.tolerance or last <= largest <= 1e-11):
                return c, tuple(differences)
            last = largest
        if implicit:
            raise DivergenceError(state.time, tau, self.scheme.iterations, last)
        return c, tuple(differences)

    def _predicted(self, state: State, tau: float) -> Tensor:
        """Coefficients `[..., p, n]` of the last polynomial continued; 0 without a past.

        They are 0 as well for an implicit element, if the continued polynomial leaves the domain of the potential.
        """
        start, p = state.modes, self.scheme.degree
        constant = torch.zeros(*start.shape[:-1], p, start.shape[-1], dtype=start.dtype, device=start.device)
        if state.history is None:
            return constant
        c = continuation(p, torch.tensor(tau / float(state.taus[-1]), dtype=start.dtype, device=start.device)) @ state.history
        low, high = self.flow.potential.domain
        nodes = start[..., None, :] + self._basis @ c
        inside = self.scheme.sweeps is not None or bool(((nodes > low) & (nodes < high)).all())
        return c if inside else constant

    def _most_sweeps(self, state: State) -> int:
        """Sweeps after the first solve: the most of an implicit scheme, the number of a semi-implicit one."""
        if self.scheme.sweeps is None:
            return self.scheme.iterations
        # Without a past the prediction is a constant; sweeps make up for the order that it lacks.
        return self.scheme.sweeps if state.history is not None else max(2 * self.scheme.degree + 1, self.scheme.sweeps)

    def _fixed(self, state: State, tau: float) -> Tensor:
        """What the right-hand side has beside N: tau/2 times the moments of the forcing, less tau/2 Lambda u_start in row 1."""
        fixed = torch.zeros(*state.modes.shape[:-1], self.scheme.degree, state.modes.shape[-1], dtype=torch.float64, device=HOST)
        if self.flow.forcing is not None:
            times = float(state.time) + tau * (self._points + 1) / 2
            values = torch.stack([self.flow.forcing(float(time), self.mesh.node_coordinates) for time in times])
            fixed += tau / 2 * self._to_moments @ values
        stiff = _on_rows(lambda u: self.flow.mobility(self.flow.linear(u) + self.stabilisation * u), state.modes)
        fixed[..., 0, :] -= tau / 2 * stiff
        return fixed

    def _sweep(self, start: Tensor, c: Tensor, fixed: Tensor, tau: float) -> Tensor:
        """The coefficients `[..., p, n]` with N(u) = f(u) - S u taken at the polynomial of the coefficients c."""
        if self._factors is None or self._factors[0] != tau:
            self._factors = tau, time_solver(self.flow, self.stabilisation, tau, self.scheme.degree)
        nodes = start[..., None, :] + self._basis @ c
        moments = self._to_moments @ (self.flow.potential.f(nodes) - self.stabilisation * nodes)
        right = (fixed - tau / 2 * _on_rows(self.flow.mobility, moments)).reshape(-1, *fixed.shape[-2:]).numpy()
        return torch.from_numpy(np.stack([self._factors[1](member) for member in right])).view_as(fixed)


def march_operators(
    flow: OperatorFlow, mesh: Mesh, u0: Tensor, steps: Iterable[float], scheme: Diagonalised
) -> Iterator[Element]:
    """Takes steps of the given lengths from the fields `u0` `[..., n]`, and yields the `Element` of each step.

    Raises ValueError for fields that do not fit the mesh and for lengths that are not positive.
    """
    mesh.check_field(u0, "u0")
    return elements(scheme.stepper(flow, mesh, u0), u0, steps)


def operator_energy(u: Tensor, flow: OperatorFlow, mesh: Mesh) -> Tensor:
    """E(u) = 1/2 (u, L u) + integral of F(u) for fields `[..., n]`: `[...]`."""
    return mesh.integral(u * _on_rows(flow.linear, u) / 2 + flow.potential.F(u))


def operator_dissipation(element: Element, flow: OperatorFlow, mesh: Mesh, points: int) -> Tensor:
    """Energy that an element dissipates, `[...]`, for a scheme with `points` Gauss points.

    By the law of the element it is 4/tau sum of (G^+ c_k, c_k) / (2k - 1). As c_k = -tau/2 G m_k with the Legendre moments m_k
    of dE/du = L u + f(u), this is tau sum of (m_k, G m_k) / (2k - 1), which needs no inverse of G.
    """
    xi, to_moments = gauss(element.degree, points)
    nodes = element.at(xi)
    moments = to_moments @ (_on_rows(flow.linear, nodes) + flow.potential.f(nodes))
    powers = mesh.integral(moments * _on_rows(flow.mobility, moments))
    return element.tau * (powers / torch.arange(1, 2 * element.degree, 2, device=powers.device)).sum(-1)


def _on_rows(operator: Operator, fields: Tensor) -> Tensor:
    """An operator on each of the fields `[..., n]`."""
    rows = fields.reshape(-1, fields.shape[-1]).numpy()
    return torch.from_numpy(np.stack([operator(row) for row in rows])).view_as(fields)
