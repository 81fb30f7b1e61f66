"""The compiled stepper of CoarseGaussSeidel, fused with numba; blocks of modes are used in place in the rows of the full grid."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ernest.device import HOST
from ernest.phasefield.compiled.inspection import Everywhere, FusedElement
from ernest.phasefield.compiled.transforms import Array, Plan, fastest_plan
from ernest.phasefield.compiled.workspace import (
    LENGTHS_KEPT,
    FusedState,
    LRUCache,
    Memory,
    Workspace,
    fold_rows,
    last_rows,
    row_tables,
)
from ernest.phasefield.element import Element, Time
from ernest.phasefield.schemes.coarse import CoarseGaussSeidel, CoarseStepper, level_sweeps, node_modes, sampling
from ernest.phasefield.schemes.coarsening import defect_weights, fill_matrix, outer_matrices
from ernest.phasefield.schemes.gaussseidel import window_matrices
from ernest.phasefield.schemes.settling import Settling
from ernest.phasefield.schemes.splitting import one_length
from ernest.phasefield.stepping import State, StepStats
from ernest.phasefield.timeelement import gauss


@dataclass(frozen=True)
class Level:
    """A coarse grid: for each of its rows of modes, `fold` is the row of the block's tables, `inside` of the fine grid,
    and `within` of the first level; -1 for its edges. `scale` takes its modes to the scale of the fine grid; `fields` are U_i.
    """

    plan: Plan
    real: Array
    modes: Array
    fold: Array
    inside: Array
    within: Array
    scale: float
    fields: list[Array]


@dataclass(frozen=True)
class Tables:
    """Per node and, last, for the end: (a, W) on the full grid, on the block, and the weights of the windows of both.

    `defects[i]` is the pair of `coarse.defect_weights`, and `fill` `[p, w]` takes the last rows of the full grid to all nodes.
    """

    nodal_a: list[Array]
    end: Array
    block: list[tuple[Array, Array]]
    windows: list[Array]
    outer: list[Array]
    defects: list[tuple[Array, Array]]
    fill: Array | None


@dataclass(frozen=True)
class ElementTables:
    """Tables that depend on the element's length alone: (a, W) of its end, and of its nodes and its end on the block."""

    end: tuple[Array, Array]
    block: list[tuple[Array, Array]]


class FusedCoarse:
    """Fused counterpart of CoarseStepper."""

    def __init__(self, scheme: CoarseGaussSeidel, workspace: Workspace) -> None:
        self.scheme, self.workspace, self.init = scheme, workspace, workspace.init
        self._points = gauss(scheme.degree)[0]
        points = workspace.grid.points
        sizes = scheme.level_points(points)
        self._outer_window, self._elements_kept = scheme.outer_rows(points), scheme.elements_kept(points)
        self._levels = [_level(workspace, scheme.degree, sizes[0], size) for size in sizes]
        half = self._levels[0]
        self._block = np.full(workspace.shape[0], -1, dtype=np.int64)
        self._block[half.inside[half.inside >= 0]] = np.flatnonzero(half.inside >= 0)
        self._split = np.where(self._block >= 0, 2 * (half.modes.shape[1] - 1), 0)
        self._kept = [np.zeros(half.modes.shape, complex) for _ in range(scheme.degree + 1)]
        self._deltas = tuple(np.zeros_like(kept) for kept in self._kept[:-1])
        self._nodes, self._sparse, self._sampled = scheme.nodes, scheme.sparse, sampling(scheme, points)
        self._field_lines = [field.reshape(-1, sizes[0][-1]) for field in half.fields]
        self._real_lines = workspace.plan.real.reshape(-1, points[-1])
        self._level_line = _every_second_line(points[:-1])
        low = (*(slice(0, n // 2) for n in sizes[0]),)
        halves = tuple(n // 2 + 1 for n in points)
        self._block_symbols = (
            np.ascontiguousarray(workspace.stiffness.reshape(halves)[low].reshape(-1, sizes[0][-1] // 2)),
            np.ascontiguousarray(workspace.mobility.reshape(halves)[low].reshape(-1, sizes[0][-1] // 2)),
        )
        self._lengths: LRUCache[float, ElementTables] = LRUCache(LENGTHS_KEPT)
        self._tables_kept: LRUCache[tuple[Time, ...], Tables] = LRUCache(LENGTHS_KEPT + self._elements_kept)

    @cached_property
    def _torch(self) -> CoarseStepper:
        """The torch stepper, which interpolates the coefficients of elements with sparse nodes."""
        return CoarseStepper(self.scheme, self.workspace.splitting, torch.empty(0, dtype=torch.float64, device=HOST))

    def prepare(self, tau: float) -> None:
        for past in range(self._elements_kept + 1):
            self._tables(tau, (tau,) * past)

    def run(self, u0: Tensor, tau: float, steps: int) -> Tensor:
        u, memory = self.workspace.modes(u0), Memory()
        for done in range(steps):
            u, _, memory, _ = self._step(u, memory, tau, (tau,) * min(done, self._elements_kept))
        return self.workspace.field_of(u)

    def step(self, state: State, tau: Time, settling: Settling | None = None) -> tuple[State, Element, StepStats]:
        work = self.workspace
        tau = one_length(tau, state.modes, work.grid)
        past = work.memory_of(state, len(state.taus) * self.scheme.degree)
        u, rows, memory, differences = self._step(work.array(state.modes), past, tau, state.taus, settling)
        end, taus = work.tensor(u), (*state.taus, tau)[-self._elements_kept :]
        after = FusedState(state.time + tau, end, taus, state.count + 1, memory, work)

        def coefficients() -> Tensor:
            if not self._sparse or not state.taus:
                return work.coefficients(work.array(state.modes), rows, tau)
            now, before = ([work.tensor(row) for row in some] for some in (rows, past.rows))
            return self._torch.coefficients(state, tau, now, before)

        known = self._everywhere(past, rows, tau, state.taus) if state.taus and self._sparse else None
        element = FusedElement(
            *(state.time, tau, state.modes, end, work.grid, coefficients, tuple(rows), self.scheme.judged_node, known)
        )

        def unsettled() -> Tensor:
            node = self.scheme.judged_node
            known = work.tensor(rows[node])
            if self._sparse and state.taus:
                now, before = ([work.tensor(row) for row in some] for some in (rows, past.rows))
                known = self._torch.filled(tau, now, before, state.taus)[node]
            return work.tensor(work.explicit_of(work.array(node_modes(element, node)))) - known

        return after, element, StepStats(1 + len(differences), tuple(differences), unsettled)

    def _step(
        self, u: Array, past: Memory, tau: float, taus: tuple[Time, ...], settling: Settling | None = None
    ) -> tuple[Array, list[Array], Memory, list[float]]:
        """Modes at the end, this element's rows of N, the memory after it, and how far each coarse sweep moved the last node."""
        scheme, tables = self.scheme, self._tables(tau, taus)
        # Rows of nodes that miss the full grid stay zero outside of the block.
        rows = self.workspace.rows(scheme.degree, "sparse" if taus and self._sparse else "full")
        defects = self._first_sweep(u, past, rows, tables, starting=not taus)
        counts = level_sweeps(scheme.sweeps(len(taus)), len(self._levels), settling)
        differences = self._coarse_sweeps(u, rows, tables, counts, settling)
        end = self._end(u, past, rows, tables, starting=not taus)
        kept = self._elements_kept
        memory = Memory((*past.rows, *rows)[-kept * scheme.degree :], (*past.defects, *defects)[-kept * len(self._nodes) :])
        return end, rows, memory, differences

    def _first_sweep(self, u: Array, past: Memory, rows: list[Array], tables: Tables, starting: bool) -> list[Array]:
        """Fills the rows of this element, `kept` and the fields of the first level; the defects, if the scheme needs them."""
        scheme, work, half = self.scheme, self.workspace, self._levels[0]
        kernels, scale = work.kernels, work.scale
        known = [*past.rows, *rows] if past.rows else [work.explicit_of(u), *rows]
        defects = work.rows(len(self._nodes), "defects") if self._sparse else []
        found = 0
        for i, row in enumerate(rows):
            before = known[: len(known) - scheme.degree + i]
            window = last_rows(before, scheme.window)
            fine = starting or i in self._nodes
            outer = window if starting else last_rows(self._outer(before), self._outer_window)
            a, W, weights = tables.nodal_a[i], tables.outer[i], tables.windows[i]
            if fine and self._sampled:
                kernels.combine_both(
                    a, W, work.fold, weights, half.fold, self._block, u, outer, window, self._kept[i], work.buffer
                )
                work.plan.inverse()
                kernels.react_and_sample(self._real_lines, self._level_line, scale, work.reaction, self._field_lines[i])
            else:
                kernels.combine_block(tables.block[i][0], weights, half.fold, half.inside, u, window, self._kept[i], half.modes)
                half.plan.inverse()
                np.multiply(half.real, scale, out=half.fields[i])
                if fine:
                    kernels.combine_outside(a, W, work.fold, self._block, u, outer, self._kept[i], work.buffer)
                    work.plan.inverse()
                    kernels.react(work.real, scale, work.reaction)
            if fine:
                work.forward(row)
            if self._sparse and (not fine or i in self._nodes):
                kernels.react(half.real, scale, work.reaction)
                half.plan.forward()
                if fine:
                    kernels.find_defect(half.modes, half.scale, half.inside, row, defects[found])
                else:
                    weights = tables.defects[i][0]
                    predicted = last_rows([*past.defects, *defects[:found]], len(weights))
                    kernels.place(half.modes, half.scale, half.inside, weights, predicted, row)
            found += i in self._nodes
        if self._sparse and not starting:
            self._renew_defects(rows, [*past.defects, *defects], tables)
        return defects

    def _renew_defects(self, rows: list[Array], defects: list[Array], tables: Tables) -> None:
        """At the nodes that missed the full grid, exchange the defects predicted for those interpolated."""
        scheme, half = self.scheme, self._levels[0]
        for i in set(range(scheme.degree)) - set(self._nodes):
            weights = np.zeros(len(defects))
            before = len(defects) - sum(node > i for node in self._nodes)
            predicted, interpolated = tables.defects[i]
            weights[before - len(predicted) : before] -= predicted
            weights[len(defects) - len(interpolated) :] += interpolated
            self.workspace.kernels.renew(half.modes.shape[1] - 1, half.inside, weights, tuple(defects), rows[i])

    def _coarse_sweeps(
        self, u: Array, rows: list[Array], tables: Tables, counts: Sequence[int], settling: Settling | None
    ) -> list[float]:
        work, kernels, differences = self.workspace, self.workspace.kernels, []
        everything, moved, settled = tuple(rows), 0.0, False
        for number, (level, sweeps) in enumerate(zip(self._levels, counts, strict=True)):
            if number and sweeps:
                self._restrict(self._levels[number - 1], level)
            last = not any(counts[number + 1 :])
            for _ in range(sweeps):
                if last and settling and settling.ends(differences):
                    break
                for i, row in enumerate(rows):
                    a, W = tables.block[i]
                    if settled:
                        moved = kernels.respond(W, level.fold, level.within, self._deltas, level.modes)
                    else:
                        moved = kernels.residual(a, W, level.fold, level.inside, u, everything, self._kept[i], level.modes)
                    level.plan.inverse()
                    kernels.increment(level.real, work.scale, level.fields[i], work.reaction)
                    level.plan.forward()
                    kernels.absorb(level.modes, level.scale, level.inside, level.within, row, self._deltas[i])
                differences.append(work.rms(moved))
                settled = True
        return differences

    def _restrict(self, finer: Level, coarser: Level) -> None:
        """The fields of a level are every second point of those of the level before."""
        every_second = (slice(None, None, 2),) * self.workspace.grid.dimensions
        for field, restricted in zip(finer.fields, coarser.fields, strict=True):
            restricted.reshape(coarser.plan.real.shape)[...] = field.reshape(finer.plan.real.shape)[every_second]

    def _end(self, u: Array, past: Memory, rows: list[Array], tables: Tables, starting: bool) -> Array:
        work, kernels, half = self.workspace, self.workspace.kernels, self._levels[0]
        (end,) = work.rows(1)
        if starting or not self._sparse:
            kernels.combine(tables.nodal_a[-1], tables.end, work.fold, u, tuple(rows), end)
            return end
        a, W = tables.block[-1]
        kernels.combine_block(a, W, half.fold, half.inside, u, tuple(rows), self._kept[-1], half.modes)
        outer = last_rows(self._outer([*past.rows, *rows]), len(tables.outer[-1]))
        kernels.combine_outside(tables.nodal_a[-1], tables.outer[-1], work.fold, self._block, u, outer, self._kept[-1], end)
        return end

    def _everywhere(self, past: Memory, rows: list[Array], tau: float, taus: tuple[Time, ...]) -> Everywhere:
        """What is known outside of the block, at all nodes."""
        fill = self._tables(tau, taus).fill
        assert fill is not None
        return Everywhere(tuple(self._outer([*past.rows, *rows])[-fill.shape[1] :]), fill, self._split)

    def _outer(self, rows: Sequence[Array]) -> list[Array]:
        """The rows that are known on the full grid."""
        if not self._sparse:
            return list(rows)
        return [row for j, row in enumerate(rows) if j % self.scheme.degree in self._nodes]

    def _tables(self, tau: float, taus: tuple[Time, ...]) -> Tables:
        """The tables for this length and those of the elements before."""
        return self._tables_kept.get((tau, *taus), lambda: self._make_tables(tau, taus))

    def _make_tables(self, tau: float, taus: tuple[Time, ...]) -> Tables:
        scheme, work, p = self.scheme, self.workspace, self.scheme.degree
        inner = window_matrices(self._points, tau, taus, scheme.window)
        outer = outer_matrices(self._points, self._nodes, scheme.window, self._outer_window, tau, taus)
        width = self._outer_window if taus else scheme.window
        of_length = self._lengths.get(tau, lambda: self._element_tables(tau))
        nodal = row_tables(work, tau, p, None, range(p), outer[:p], width)
        windows = row_tables(work, tau, p, self._block_symbols, range(p), inner, scheme.window)
        end_a, end = of_length.end
        last = row_tables(work, tau, p, None, [p], outer[p:])[0][1] if taus and self._sparse else end
        pairs = defect_weights(self._points, self._nodes, self._outer_window, tau, taus) if self._sparse else []
        return Tables(
            [a for a, _ in nodal] + [end_a],
            end,
            of_length.block,
            [W for _, W in windows],
            [W for _, W in nodal] + [last],
            [(a.numpy(), b.numpy()) for a, b in pairs],
            fill_matrix(self._points, self._nodes, self._outer_window, tau, taus).numpy() if taus and self._sparse else None,
        )

    def _element_tables(self, tau: float) -> ElementTables:
        work, p = self.workspace, self.scheme.degree
        (end,) = row_tables(work, tau, p, None, [p], None)
        return ElementTables(end, row_tables(work, tau, p, self._block_symbols, range(p + 1), None))


def _level(workspace: Workspace, degree: int, first: tuple[int, ...], points: tuple[int, ...]) -> Level:
    """The level with these points, on a fine grid whose first level has the points `first`."""
    grid = workspace.grid
    plan = fastest_plan(points, workspace.threads)
    leading = math.prod(points[:-1])
    inside, within = (_rows_of_block(points, larger) for larger in (grid.points, first))
    return Level(
        plan=plan,
        real=plan.real.reshape(-1),
        modes=plan.modes.reshape(leading, -1),
        fold=fold_rows(points, tuple(n // 2 for n in first)),
        inside=inside,
        within=within,
        scale=math.prod(grid.points) / math.prod(points),
        fields=[np.zeros(math.prod(points)) for _ in range(degree)],
    )


def _every_second_line(leading: tuple[int, ...]) -> Array:
    """For each line of a field, the `leading` axes made one, its number among the lines that are even on all of them; else -1."""
    lines, odd = np.zeros(leading, dtype=np.int64), np.zeros(leading, dtype=bool)
    for n, index in zip(leading, np.indices(leading), strict=True):
        lines = lines * (n // 2) + index // 2
        odd |= index % 2 == 1
    return np.where(odd, -1, lines).reshape(-1)


def _rows_of_block(points: tuple[int, ...], larger: tuple[int, ...]) -> Array:
    """For each row of modes of a grid, the leading axes made one, that of a larger grid with the same k; -1 on an edge."""
    rows, edge = np.zeros(points[:-1], dtype=np.int64), np.zeros(points[:-1], dtype=bool)
    for n, m, index in zip(points[:-1], larger[:-1], np.indices(points[:-1]), strict=True):
        rows = rows * m + np.where(index < n / 2, index, index - n + m)
        edge |= index == n // 2
    return np.where(edge, -1, rows).reshape(-1)
