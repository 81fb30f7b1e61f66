"""The scheme CoarseGaussSeidel: the first sweep, or a part of it, runs on the full grid, further sweeps on coarse grids.

The first sweep over the Gauss points of an element is that of `gaussseidel`. Later sweeps change the smooth part of the
solution only, so they run on a coarse grid of half the points, and then a quarter: on the block |k| < n/2 of a level,

    u_i = a_i u_start + sum_j W_ij N_j,   d = its change,   N_i <- N_i + (N(U_i + d) - N(U_i)),   U_i <- U_i + d,

with U_i the field of node i on the level's points. Modes outside the first level's block keep the value of the first
sweep, which predicts them from the last `outer_window` rows only: they are slaved to the block, and longer windows blow up.

Where even those modes are small, N need not be known on the full grid at every node. With `fine_nodes` the other nodes are
evaluated on the first level, plus a defect: what the full grid says more than the level, D = N_full - N_level at the
fine nodes, interpolated in time. The block is then all that costs; the full grid is visited once or twice per element. Elements
that find no defects before them, the first one and the first after other sweeps, visit it at all nodes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ernest.phasefield.element import Element, Time
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.numeric import make_plain
from ernest.phasefield.schemes.coarse_tables import Tables, make_tables
from ernest.phasefield.schemes.coarsening import known_matrices, level_sweeps, low_modes, make_level, node_modes
from ernest.phasefield.schemes.settling import Settling
from ernest.phasefield.schemes.splitting import (
    FactorCache,
    Splitting,
    check_at_least,
    check_degree,
    check_unforced,
    check_window,
    one_length,
    split,
)
from ernest.phasefield.stepping import State, StepStats
from ernest.phasefield.timeelement import combine, gauss, weighted


@dataclass(frozen=True)
class CoarseGaussSeidel:
    """CGS(p, m, 1 + M1 + M2): degree p, window m, then M1 sweeps on the first level and M2 on the second, of half its points.

    `ratio` is the size of the first level, as a share of the points of each axis. `fine_nodes` are the nodes, counted from
    0, that visit the full grid; None is all of them. `outer_window` None is 3, or 2 where there are 256 points and more.
    `start_sweeps` are how many more the first element gets, which has no past: flows of H^-1 type such as Cahn-Hilliard need 6.
    Only for periodic grids, and for solutions whose modes beyond the first level are small: see `prefers_coarse`.
    """

    degree: int = 4
    window: int = 4
    half_sweeps: int = 1
    quarter_sweeps: int = 3
    stabilisation: float | None = None
    outer_window: int | None = None
    fine_nodes: tuple[int, ...] | None = None
    ratio: float = 0.5
    start_sweeps: int = 2

    def __post_init__(self) -> None:
        make_plain(self)
        check_degree(self.degree)
        check_window(self.window, self.degree)
        check_at_least("half_sweeps", self.half_sweeps, 1)
        check_at_least("outer_window", 1 if self.outer_window is None else self.outer_window, 1)
        check_at_least("quarter_sweeps", self.quarter_sweeps, 0)
        check_at_least("start_sweeps", self.start_sweeps, 0)
        nodes = self.nodes
        if not nodes or list(nodes) != sorted(set(nodes)) or not set(nodes) <= set(range(self.degree)):
            raise ValueError(f"scheme fine_nodes: expected rising numbers from 0 to {self.degree - 1}, got {self.fine_nodes}")
        if not 0 < self.ratio < 1:
            raise ValueError(f"scheme ratio: expected a share between 0 and 1, got {self.ratio}")

    @property
    def nodes(self) -> tuple[int, ...]:
        """The nodes that visit the full grid."""
        return tuple(range(self.degree)) if self.fine_nodes is None else self.fine_nodes

    @property
    def judged_node(self) -> int:
        """The node by which the part that the coarse sweeps miss is judged, the one that errs most: of those that miss the full
        grid the farthest from one that visits it, or, if there is none, the last but one."""
        missing = [i for i in range(self.degree) if i not in self.nodes]
        if not missing:
            return self.nodes[-2:][0]
        return max(missing, key=lambda i: min(abs(i - node) for node in (*self.nodes, self.nodes[-1] - self.degree)))

    @property
    def sparse(self) -> bool:
        """Whether some nodes are evaluated on the first level only."""
        return len(self.nodes) < self.degree

    def outer_rows(self, points: tuple[int, ...]) -> int:
        """The outer window on a grid with these points."""
        return self.outer_window or (2 if min(points) >= 256 else 3)

    def elements_kept(self, points: tuple[int, ...]) -> int:
        """How many elements the windows reach back."""
        return max(math.ceil(self.window / self.degree), math.ceil(self.outer_rows(points) / len(self.nodes)))

    def sweeps(self, elements_before: int) -> tuple[int, int]:
        """Number of sweeps on each level; more for the first elements, whose windows of past values are empty or short."""
        half, quarter = self.half_sweeps, self.quarter_sweeps
        if elements_before == 0:
            return (half + 1, quarter + self.start_sweeps) if quarter else (half + self.start_sweeps, 0)
        extra = 2 if elements_before * self.degree < self.window else 0
        return (half, quarter + extra) if quarter else (half + extra, 0)

    def level_points(self, points: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Points of the levels on a grid with these points; the second is left out where the first cannot be halved evenly."""
        first = tuple(2 * round(n * self.ratio / 2) for n in points)
        if min(first) < 4:
            raise ValueError(f"scheme ratio: expected a coarse grid of 4 or more points, got {first} of {points}")
        halves = [tuple(n // 2 for n in first)] if all(n % 4 == 0 and n >= 8 for n in first) else []
        return [first, *halves]

    def samples(self, points: tuple[int, ...]) -> bool:
        """Whether fields of the first level are every second point of the full grid, which is cheaper than their transform."""
        return not self.sparse and all(2 * m == n for m, n in zip(self.level_points(points)[0], points, strict=True))

    def stepper(self, flow: Flow, grid: Space, like: Tensor) -> "CoarseStepper":
        """Raises ValueError for grids with an axis that is not periodic, and for flows with a forcing."""
        if set(grid.boundaries) != {"periodic"}:
            raise ValueError(f"scheme: coarse sweeps expect a periodic grid, got {grid.boundaries}")
        check_unforced(flow)
        return CoarseStepper(self, split(flow, grid, self.stabilisation, like), like)


class CoarseStepper:
    """The history holds, for each element kept, the modes of N at its nodes, and after all those the defects at its fine nodes.

    Rows are `[*mode_shape]`; those of nodes that did not visit the full grid, and of defects, are zero outside the block.
    """

    def __init__(self, scheme: CoarseGaussSeidel, splitting: Splitting, like: Tensor) -> None:
        self.scheme, self.splitting, self.init = scheme, splitting, splitting.init
        self._axis = -1 - splitting.grid.dimensions
        self._factors = FactorCache(splitting, scheme.degree)
        self._points, self._to_moments = (tensor.to(like) for tensor in gauss(scheme.degree))
        sizes = scheme.level_points(splitting.grid.points)
        self._outer_window = scheme.outer_rows(splitting.grid.points)
        self._elements_kept = scheme.elements_kept(splitting.grid.points)
        self._inside = low_modes(splitting.grid.points, sizes[0], like.device)
        self._levels = [make_level(splitting.grid, sizes[0], points, like.device) for points in sizes]
        self._cached: tuple[tuple[float, tuple[Time, ...], bool], Tables] | None = None

    def step(self, state: State, tau: Time, settling: Settling | None = None) -> tuple[State, Element, StepStats]:
        """One step; with `settling` there are as many sweeps on the coarsest grid as that asks for."""
        tau = one_length(tau, state.modes, self.splitting.grid)
        scheme = self.scheme
        rows, defects = self._past(state)
        past, whole = len(rows), not (scheme.sparse and defects)
        tables = self._tables(tau, state.taus, whole)
        blocks, fields, kept = self._first_sweep(state, tables, rows, defects, whole)
        differences = self._coarse_sweeps(state, tables, blocks, fields, kept, settling)
        for row, block in zip(rows[past:], blocks, strict=True):
            row[(..., *self._inside)] = block
        end = self._end(state, tables, rows, blocks, whole)
        # Elements before one that is the first to know defects are of no use.
        kept_elements = 1 if scheme.sparse and whole else min(len(state.taus) + 1, self._elements_kept)
        history = torch.stack(rows[-kept_elements * scheme.degree :] + defects[-kept_elements * len(scheme.nodes) :], self._axis)
        after = State(state.time + tau, end, history, (*state.taus, tau)[-kept_elements:], state.count + 1)
        element = Element(
            state.time,
            tau,
            state.modes,
            end,
            self.splitting.grid,
            lambda: self.coefficients(state, tau, rows[past:], rows[:past], whole),
        )

        def unsettled() -> Tensor:
            node = scheme.judged_node
            known = (rows[past:] if whole else self.filled(tau, rows[past:], rows[:past], state.taus))[node]
            return self.splitting.explicit(node_modes(element, node)) - known

        return after, element, StepStats(1 + len(differences), tuple(differences), unsettled)

    def _past(self, state: State) -> tuple[list[Tensor], list[Tensor]]:
        """Rows of N at the nodes of the elements kept, or at the start, and their defects; oldest first."""
        if state.history is None:
            return [self.splitting.explicit(state.modes)], []
        rows = list(state.history.unbind(self._axis))
        nodes = len(state.taus) * self.scheme.degree
        return rows[:nodes], rows[nodes:]

    def _first_sweep(
        self, state: State, tables: Tables, rows: list[Tensor], defects: list[Tensor], whole: bool
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Appends the rows and defects of this element; blocks of N, fields on the first level, and blocks of u, per node."""
        scheme, half = self.scheme, self._levels[0]
        sampled = scheme.samples(self.splitting.grid.points)
        blocks, fields, kept = [b[(..., *self._inside)] for b in rows], [], []
        outer_rows = rows[:] if whole else self._outer_rows(rows)
        start = state.modes[(..., *self._inside)]
        for i in range(scheme.degree):
            kept.append(weighted(tables.block.a[i], start, tables.windows[i], blocks))
            fine = whole or i in scheme.nodes
            if fine:
                modes = weighted(tables.nodal.a[i], state.modes, tables.outer[i], outer_rows)
                modes[(..., *self._inside)] = kept[i]
                u = self.splitting.grid.field(modes)
                row = self.splitting.grid.modes(self.splitting.remainder(u))
                outer_rows.append(row)
                fields.append(
                    u[(..., *[slice(None, None, 2)] * self.splitting.grid.dimensions)] if sampled else half.field(kept[i])
                )
                blocks.append(row[(..., *self._inside)])
                rows.append(row.clone())
            else:
                fields.append(half.field(kept[i]))
                block = half.block(self.splitting.remainder(fields[i]))
                for weight, defect in zip(tables.defects[i][0], defects[-len(tables.defects[i][0]) :], strict=True):
                    block = block + weight * defect[(..., *self._inside)]
                blocks.append(block)
                rows.append(torch.zeros_like(state.modes))
            if scheme.sparse and i in scheme.nodes:
                defect = torch.zeros_like(state.modes)
                defect[(..., *self._inside)] = blocks[-1] - half.block(self.splitting.remainder(fields[i]))
                defects.append(defect)
        blocks = blocks[-scheme.degree :]
        if not whole:
            self._renew_defects(tables, blocks, defects)
        return blocks, fields, kept

    def _renew_defects(self, tables: Tables, blocks: list[Tensor], defects: list[Tensor]) -> None:
        """At the nodes that missed the full grid, exchange the defects predicted for those interpolated."""
        nodes = self.scheme.nodes
        for i in set(range(self.scheme.degree)) - set(nodes):
            before = len(defects) - sum(node > i for node in nodes)
            predicted, interpolated = tables.defects[i]
            for sign, weights, known in ((-1, predicted, defects[:before]), (1, interpolated, defects)):
                for weight, defect in zip(weights, known[-len(weights) :], strict=True):
                    blocks[i] = blocks[i] + sign * weight * defect[(..., *self._inside)]

    def _coarse_sweeps(
        self,
        state: State,
        tables: Tables,
        blocks: list[Tensor],
        fields: list[Tensor],
        kept: list[Tensor],
        settling: Settling | None,
    ) -> list[float]:
        """Sweeps on the levels, which correct `blocks` in place; how far each of them moved the last node."""
        differences, start = [], state.modes[(..., *self._inside)]
        counts = level_sweeps(self.scheme.sweeps(len(state.taus)), len(self._levels), settling)
        for number, (level, sweeps) in enumerate(zip(self._levels, counts, strict=True)):
            if number and sweeps:
                fields[:] = [u[(..., *[slice(None, None, 2)] * level.grid.dimensions)] for u in fields]
            part = (..., *level.within)
            last = not any(counts[number + 1 :])
            for _ in range(sweeps):
                if last and settling and settling.ends(differences):
                    break
                d = torch.zeros_like(fields[0])
                for i, weights in enumerate(tables.block.W[:-1]):
                    value = weighted(tables.block.a[i][part], start[part], weights[part], [b[part] for b in blocks])
                    change = value - kept[i][part]
                    kept[i][part] = value
                    d = level.field(change)
                    moved = fields[i] + d
                    increment = self.splitting.remainder(moved) - self.splitting.remainder(fields[i])
                    fields[i] = moved
                    blocks[i][part] = blocks[i][part] + level.block(increment)
                differences.append(float((d**2).mean(tuple(range(-level.grid.dimensions, 0))).sqrt().max()))
        return differences

    def _end(self, state: State, tables: Tables, rows: list[Tensor], blocks: list[Tensor], whole: bool) -> Tensor:
        if whole:
            return weighted(tables.nodal.a[-1], state.modes, tables.nodal.W[-1], rows[-self.scheme.degree :])
        end = weighted(tables.nodal.a[-1], state.modes, tables.outer[-1], self._outer_rows(rows))
        start = state.modes[(..., *self._inside)]
        end[(..., *self._inside)] = weighted(tables.block.a[-1], start, tables.block.W[-1], blocks)
        return end

    def _outer_rows(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """The rows that are known on the full grid."""
        return [row for j, row in enumerate(rows) if j % self.scheme.degree in self.scheme.nodes]

    def coefficients(self, state: State, tau: float, rows: list[Tensor], past: list[Tensor], whole: bool = False) -> Tensor:
        """Modes of the element's c_1 .. c_p; where the `whole` of its rows is known nothing is interpolated."""
        rows = rows if whole else self.filled(tau, rows, past, state.taus)
        moments = combine(self._to_moments, torch.stack(rows, self._axis), -1 - self._axis)
        return self.splitting.coefficients(self._factors.at(tau), tau, state.modes, moments, None)

    def filled(self, tau: float, rows: list[Tensor], past: list[Tensor], taus: tuple[Time, ...]) -> list[Tensor]:
        """The rows of N at the nodes, on the full grid: outside of the block they are interpolated from the fine nodes."""
        points = self._points.cpu().numpy()
        matrix = torch.from_numpy(known_matrices(points, self.scheme.nodes, self._outer_window, tau, taus)[1])
        known = self._outer_rows([*past, *rows])[-matrix.shape[1] :]
        filled = list(combine(matrix, torch.stack(known, self._axis), -1 - self._axis).unbind(self._axis))
        for row, full in zip(rows, filled, strict=True):
            full[(..., *self._inside)] = row[(..., *self._inside)]
        return filled

    def filled_state(self, state: State) -> State:
        """The state for other sweeps, to which rows that end with the block are of no use."""
        rows, defects = self._past(state)
        if not defects:
            return state
        *before, tau = state.taus
        rows, past = rows[-self.scheme.degree :], rows[: -self.scheme.degree]
        # Of the first element that knows defects all rows are whole.
        if before or self._elements_kept == 1:
            rows = self.filled(float(tau), rows, past, tuple(before))
        return State(state.time, state.modes, torch.stack(rows, self._axis), (tau,), state.count)

    def _tables(self, tau: float, taus: tuple[Time, ...], whole: bool) -> Tables:
        """The tables for this length and those of the elements before, computed again only when a length changes."""
        key, scheme = (tau, taus, whole), self.scheme
        if self._cached is None or self._cached[0] != key:
            widths = scheme.degree, scheme.window, self._outer_window
            nodes = tuple(range(scheme.degree)) if whole else scheme.nodes
            self._cached = key, make_tables(self.splitting, self._inside, nodes, widths, tau, taus)
        return self._cached[1]
