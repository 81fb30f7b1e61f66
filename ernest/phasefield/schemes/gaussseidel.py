"""The scheme GaussSeidel: sweeps over the Gauss points of an element, predicted from a window of past values of N.

In its nodal form the element reads, for every mode, with the tables of `timeelement.nodal_tableau`,

    u_i = a_i u_start + sum_j W_ij N_j,   i = 1 .. p at the Gauss points, and i = p + 1 at the end.

The first sweep goes from node to node. At node i it takes for N_1 .. N_p the values of the polynomial through the last m
known values of N, of earlier elements and of the nodes before i, which is a table of its own and costs no FFT;
then N_i is evaluated there. Further sweeps take the true W and the newest N. All sweeps of full grids have the fixed point
of the implicit scheme with p Gauss points, so the order at the ends of the elements is min(2p, m + M).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ernest.phasefield.element import Element, Time
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.numeric import make_plain
from ernest.phasefield.schemes.settling import Settling
from ernest.phasefield.schemes.splitting import (
    FactorCache,
    Splitting,
    check_at_least,
    check_degree,
    check_window,
    one_length,
    split,
)
from ernest.phasefield.stepping import State, StepStats
from ernest.phasefield.timeelement import Tableau, combine, gauss, nodal_basis, nodal_tableau, solve, window_values


@dataclass(frozen=True)
class GaussSeidel:
    """GS(p, m, M): degree p, `window` m of known values of N, `sweeps` M, counting the first. A step costs 2pM FFTs.

    (3, 3, 1) is for loose tolerances, (3, 4, 2) for common ones, (4, 5, 2) for 1e-7 and below, and (3, 3, 2) or
    (3, 4, 3) for Cahn-Hilliard and rough phases. Windows beyond p + 1 are unstable. With `shells`, on grids with equal
    sides, tables are kept for each distinct |k|^2 instead of for each mode, which takes far less memory in three dimensions.
    """

    degree: int = 3
    window: int = 4
    sweeps: int = 2
    stabilisation: float | None = None
    shells: bool = False

    def __post_init__(self) -> None:
        make_plain(self)
        check_degree(self.degree)
        check_window(self.window, self.degree)
        check_at_least("sweeps", self.sweeps, 1)

    @property
    def elements_kept(self) -> int:
        """How many elements the window reaches back."""
        return math.ceil(self.window / self.degree)

    def sweeps_after(self, elements: int) -> int:
        """Number of sweeps after so many elements; more for the first ones, whose windows of past values are empty or short."""
        if elements == 0:
            return max(self.sweeps, 2 * self.degree + 2)
        return self.sweeps + 2 if elements * self.degree < self.window else self.sweeps

    def stepper(self, flow: Flow, grid: Space, like: Tensor) -> "GaussSeidelStepper":
        return GaussSeidelStepper(self, split(flow, grid, self.stabilisation, like), like)


@dataclass(frozen=True)
class Tables:
    """The element's table and, for each node, the rows `[w, ...]` that its window of w known values is weighed with."""

    tau: float
    taus: tuple[Time, ...]
    nodal: Tableau
    windows: tuple[Tensor, ...]


class GaussSeidelStepper:
    """The rows of the history are the modes of N at the Gauss points of the last elements, as many as the window spans."""

    def __init__(self, scheme: GaussSeidel, splitting: Splitting, like: Tensor) -> None:
        self.scheme, self.splitting, self.init = scheme, splitting, splitting.init
        self._points, self._to_moments = (tensor.to(like) for tensor in gauss(scheme.degree))
        self._shells = shells(splitting.grid, like) if scheme.shells else None
        self._factors = FactorCache(splitting, scheme.degree)
        self._tables: Tables | None = None

    @property
    def table_bytes(self) -> int:
        """Memory that the tables of coefficients take, with the index from modes to shells where there is one."""
        if self._tables is None:
            return 0
        tensors = [self._tables.nodal.a, self._tables.nodal.W, *self._tables.windows]
        return sum(tensor.nbytes for tensor in (*tensors, *([self._shells.index] if self._shells else [])))

    def step(self, state: State, tau: Time, settling: Settling | None = None) -> tuple[State, Element, StepStats]:
        """One step; with `settling` there are as many sweeps as that asks for."""
        tau = one_length(tau, state.modes, self.splitting.grid)
        tables, axis = self._tables_for(tau, state.taus), -1 - self.splitting.grid.dimensions
        forced = self._forced(state.time, tau)
        nodes = self._first_sweep(state, tables, forced)
        ends = [self._value(-1, tables.nodal.W[-1], nodes, state, tables, forced)]
        most = self.scheme.sweeps_after(len(state.taus)) + (settling.further if settling else 0)
        differences: list[float] = []
        while len(differences) < most - 1 and not (settling and settling.ends(differences)):
            for i, row in enumerate(tables.nodal.W[:-1]):
                nodes[i] = self.splitting.explicit(self._value(i, row, nodes, state, tables, forced))
            ends.append(self._value(-1, tables.nodal.W[-1], nodes, state, tables, forced))
            differences.append(self.splitting.size((ends[-1] - ends[-2]).detach()))
        past = [] if state.history is None else list(state.history.unbind(axis))
        kept = self.scheme.elements_kept
        history = torch.stack((past + nodes)[-kept * len(nodes) :], axis)
        taus = (*state.taus, tau)[-kept:]
        element = Element(
            state.time, tau, state.modes, ends[-1], self.splitting.grid, lambda: self._coefficients(state, tau, nodes)
        )
        return (
            State(state.time + tau, ends[-1], history, taus, state.count + 1),
            element,
            StepStats(1 + len(differences), tuple(differences)),
        )

    def _first_sweep(self, state: State, tables: Tables, forced: Tensor | None) -> list[Tensor]:
        """Modes of N at the Gauss points, each predicted from the window of values known before it."""
        if state.history is None:
            known = [self.splitting.explicit(state.modes)]
        else:
            known = list(state.history.unbind(-1 - self.splitting.grid.dimensions))
        for i, window in enumerate(tables.windows):
            known.append(self.splitting.explicit(self._value(i, window, known[-len(window) :], state, tables, forced)))
        return known[-self.scheme.degree :]

    def _value(self, i: int, weights: Tensor, rows: list[Tensor], state: State, tables: Tables, forced: Tensor | None) -> Tensor:
        """Modes of u at node i (-1: the end): a_i u_start + sum of weights times rows, and what the forcing adds."""
        value = self._spread(tables.nodal.a[i]) * state.modes
        for weight, row in zip(weights, rows, strict=True):
            value.addcmul_(self._spread(weight), row)
        return value if forced is None else value + forced.select(-1 - self.splitting.grid.dimensions, i)

    def _forced(self, time: Time, tau: float) -> Tensor | None:
        """What the forcing adds to u at the nodes and at the end, `[..., p + 1, *mode_shape]`; None without forcing."""
        moments, d = self.splitting.forcing(time, tau, self._points, self._to_moments), self.splitting.grid.dimensions
        if moments is None:
            return None
        return combine(nodal_basis(self.scheme.degree), solve(self._factors.at(tau), tau / 2 * moments, -1 - d), d)

    def _coefficients(self, state: State, tau: float, nodes: list[Tensor]) -> Tensor:
        """Modes of the element's c_1 .. c_p from those of N at its nodes."""
        d = self.splitting.grid.dimensions
        forcing = self.splitting.forcing(state.time, tau, self._points, self._to_moments)
        explicit = combine(self._to_moments, torch.stack(nodes, -1 - d), d)
        return self.splitting.coefficients(self._factors.at(tau), tau, state.modes, explicit, forcing)

    def _tables_for(self, tau: float, taus: tuple[Time, ...]) -> Tables:
        """The tables for this length and those of the elements before, computed again only when a length changes."""
        if self._tables is None or (self._tables.tau, self._tables.taus) != (tau, taus):
            mobility, stiffness = self.splitting.mobility, self.splitting.stiffness
            if self._shells is not None:
                mobility, stiffness = self._shells.symbols(self.splitting)
            nodal = nodal_tableau(tau / 2 * stiffness.real, self.scheme.degree, tau / 2 * mobility.real)
            windows = tuple(
                torch.einsum("j...,jw->w...", nodal.W[i], matrix)
                for i, matrix in enumerate(window_matrices(self._points, tau, taus, self.scheme.window))
            )
            # On full tables the conversion to the modes' type is done once; shells are converted as they are spread.
            dtype = self.splitting.stiffness.dtype if self._shells is None else stiffness.real.dtype
            self._tables = Tables(tau, taus, Tableau(nodal.a.to(dtype), nodal.W.to(dtype)), tuple(w.to(dtype) for w in windows))
        return self._tables

    def _spread(self, row: Tensor) -> Tensor:
        """A row of a table as a factor of modes."""
        return row if self._shells is None else row[..., self._shells.index].to(self.splitting.stiffness.dtype)


def window_matrices(points: Tensor, tau: float, taus: tuple[Time, ...], window: int) -> list[Tensor]:
    """For each node i, the matrix `[p, w]` from the last w known values of N to those at all nodes, w at most `window`.

    Known are N at the Gauss `points` of the elements before, of lengths `taus`, or, if there are none, at the start, and
    at the nodes before i. Positions are in the local time of this element of length tau.
    """
    return [torch.from_numpy(matrix).to(points) for matrix in window_arrays(points.cpu().numpy(), tau, taus, window)]


def window_arrays(points: np.ndarray, tau: float, taus: tuple[Time, ...], window: int) -> Sequence[np.ndarray]:
    """The same as arrays."""
    known = np.concatenate([past_positions(points, tau, taus) if taus else [-1.0], points])
    start = len(known) - len(points)
    return window_values([known[max(start + i - window, 0) : start + i] for i in range(len(points))], points)


def past_positions(points: np.ndarray, tau: float, taus: tuple[Time, ...]) -> np.ndarray:
    """Positions of these points of the elements before, of lengths `taus`, in the local time of this one of length tau."""
    ratios = np.array([float(length) / tau for length in taus])
    lefts = -1 - 2 * ratios[::-1].cumsum()[::-1]
    return (lefts[:, None] + ratios[:, None] * (points + 1)).ravel()


@dataclass(frozen=True)
class Shells:
    """Modes with the same |k|^2: `squares` `[shells]` lists the values, `index` `[*mode_shape]` gives the shell of each mode."""

    squares: Tensor
    index: Tensor

    def symbols(self, splitting: Splitting) -> tuple[Tensor, Tensor]:
        """Mobility and stiffness of each shell."""
        mobility = splitting.flow.mobility(self.squares)
        return mobility, mobility * (splitting.flow.linear(self.squares) + splitting.stabilisation)


def shells(grid: Space, like: Tensor) -> Shells:
    """The shells of a grid with equal sides, where |k|^2 counts in units of (pi / length)^2. Raises ValueError for others."""
    if len(set(grid.lengths)) != 1:
        raise ValueError(f"scheme shells: expected a grid with equal sides, got lengths {grid.lengths}")
    unit = (math.pi / grid.lengths[0]) ** 2
    multiples = grid.squared_wavenumbers(torch.float64, like.device) / unit
    integers = multiples.round().long()
    if not torch.allclose(multiples, integers.double(), rtol=1e-9, atol=1e-6):
        raise ValueError(f"scheme shells: expected waves with |k|^2 in multiples of (pi / length)^2, got {type(grid).__name__}")
    distinct, index = integers.unique(return_inverse=True)
    return Shells((distinct.double() * unit).to(like), index.int())
