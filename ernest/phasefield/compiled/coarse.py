"""The compiled stepper of CoarseGaussSeidel, fused with numba; blocks of modes are used in place in the rows of the full grid."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ernest.phasefield.compiled.inspection import Everywhere, FusedElement
from ernest.phasefield.compiled.levels import Level, block_rows, every_second_line, make_level
from ernest.phasefield.compiled.tables import LRUCache, last_rows, lengths_kept, row_tables, window_tables
from ernest.phasefield.compiled.transforms import Array
from ernest.phasefield.compiled.workspace import FusedState, Memory, Workspace
from ernest.phasefield.element import Element, Time
from ernest.phasefield.schemes.coarse import CoarseGaussSeidel
from ernest.phasefield.schemes.coarsening import (
    defect_weights,
    first_matrices,
    known_matrices,
    level_sweeps,
    node_modes,
    outer_matrices,
)
from ernest.phasefield.schemes.gaussseidel import window_arrays
from ernest.phasefield.schemes.settling import Settling
from ernest.phasefield.schemes.splitting import one_length
from ernest.phasefield.stepping import State, StepStats
from ernest.phasefield.timeelement import gauss


@dataclass(frozen=True)
class Tables:
    """By node: a and the weights of the window on the full grid, `outer`, where the node visits it; (a, W) and the weights of the
    window on the block. `end` has those of `outer` for the end, whose number is the degree, `block` has it too.

    `defects[i]` is the pair of `coarsening.defect_weights`, and `fill` `[p, w]` takes the last rows of the full grid to all
    nodes, None where all of them are known.
    """

    outer: dict[int, tuple[Array, Array]]
    end: dict[int, tuple[Array, Array]]
    block: dict[int, tuple[Array, Array]]
    windows: dict[int, Array]
    defects: list[tuple[Array, Array]]
    fill: Array | None


class FusedCoarse:
    """Fused counterpart of CoarseStepper."""

    def __init__(self, scheme: CoarseGaussSeidel, workspace: Workspace) -> None:
        self.scheme, self.workspace, self.init = scheme, workspace, workspace.init
        self._points = gauss(scheme.degree)[0].numpy()
        points = workspace.grid.points
        sizes = scheme.level_points(points)[: 2 if scheme.quarter_sweeps else 1]
        self._outer_window, self._elements_kept = scheme.outer_rows(points), scheme.elements_kept(points)
        self._levels = [make_level(workspace, scheme.degree, sizes[0], size) for size in sizes]
        half = self._levels[0]
        self._block = np.full(workspace.shape[0], -1, dtype=np.int64)
        self._block[half.inside[half.inside >= 0]] = np.flatnonzero(half.inside >= 0)
        self._split = np.where(self._block >= 0, 2 * (half.modes.shape[1] - 1), 0)
        # That of the end is asked for where nodes miss the full grid.
        self._kept = [np.zeros(half.modes.shape, complex) for _ in range(scheme.degree + scheme.sparse)]
        # A node's value of the first sweep is asked for once, by the coarse sweep that then leaves its change of N.
        self._deltas = tuple(self._kept[: scheme.degree])
        self._nodes, self._sparse, self._sampled = scheme.nodes, scheme.sparse, scheme.samples(points)
        self._judged = scheme.judged_node
        self._field_lines = [field.reshape(-1, sizes[0][-1]) for field in half.fields]
        self._level_line = every_second_line(points[:-1])
        low, columns = block_rows(workspace, sizes[0]), sizes[0][-1] // 2
        stiffness, mobility = (symbols[low, :columns].copy() for symbols in (workspace.stiffness, workspace.mobility))
        self._block_symbols = stiffness, mobility
        self._ends: LRUCache[float, dict[int, tuple[Array, Array]]] = LRUCache(lengths_kept(workspace))
        self._blocks: LRUCache[float, dict[int, tuple[Array, Array]]] = LRUCache(lengths_kept(workspace))
        self._tables_kept: LRUCache[tuple[Time, ...], Tables] = LRUCache(lengths_kept(workspace, self._elements_kept))

    def prepare(self, tau: float) -> None:
        for past in range(self._elements_kept + 1):
            self._tables(tau, (tau,) * past, not (past and self._sparse))

    def run(self, u0: Tensor, tau: float, steps: int) -> Tensor:
        u, memory = self.workspace.modes(u0), Memory()
        for done in range(steps):
            u, _, memory, _ = self._step(u, memory, tau, (tau,) * min(done, self._elements_kept))
        return self.workspace.field_of(u)

    def step(self, state: State, tau: Time, settling: Settling | None = None) -> tuple[State, Element, StepStats]:
        work = self.workspace
        tau = one_length(tau, state.modes, work.grid)
        past = work.memory_of(state, len(state.taus) * self.scheme.degree)
        whole = self._is_whole(past)
        u, rows, memory, differences = self._step(work.array(state.modes), past, tau, state.taus, settling)
        end, taus = work.tensor(u), (*state.taus, tau)[-self._kept_after(whole) :]
        after = FusedState(state.time + tau, end, taus, state.count + 1, memory, work)

        known = None if whole else self._everywhere(past.rows, rows, tau, state.taus)

        def coefficients() -> Tensor:
            return work.coefficients(work.array(state.modes), self._filled(rows, known), tau)

        element = FusedElement(*(state.time, tau, state.modes, end, work.grid, coefficients, tuple(rows), self._judged, known))

        def unsettled() -> Tensor:
            right = work.explicit_of(work.array(node_modes(element, self._judged)))
            return work.tensor(right) - work.tensor(self._filled(rows, known)[self._judged])

        return after, element, StepStats(1 + len(differences), tuple(differences), unsettled)

    def _step(
        self, u: Array, past: Memory, tau: float, taus: tuple[Time, ...], settling: Settling | None = None
    ) -> tuple[Array, list[Array], Memory, list[float]]:
        """Modes at the end, this element's rows of N, the memory after it, and how far each coarse sweep moved the last node."""
        scheme, whole = self.scheme, self._is_whole(past)
        tables = self._tables(tau, taus, whole)
        # Rows of nodes that miss the full grid stay zero outside of the block.
        rows = self.workspace.rows(scheme.degree, "" if whole else "sparse")
        defects = self._first_sweep(u, past, rows, tables, whole)
        counts = level_sweeps(scheme.sweeps(len(taus)), len(self._levels), settling)
        differences = self._coarse_sweeps(u, rows, tables, counts, settling)
        end = self._end(u, past, rows, tables, whole)
        kept = self._kept_after(whole)
        memory = Memory((*past.rows, *rows)[-kept * scheme.degree :], (*past.defects, *defects)[-kept * len(self._nodes) :])
        return end, rows, memory, differences

    def filled_state(self, state: State) -> State:
        """The state for other sweeps, to which rows that end with the block are of no use."""
        p, work = self.scheme.degree, self.workspace
        known = work.memory_of(state, len(state.taus) * p)
        if not known.defects:
            return state
        *before, tau = state.taus
        past, rows = known.rows[:-p], known.rows[-p:]
        # Of the first element that knows defects all rows are whole.
        if before or self._elements_kept == 1:
            rows = self._filled(rows, self._everywhere(past, rows, float(tau), tuple(before)))
        return FusedState(state.time, state.modes, (tau,), state.count, Memory(tuple(rows)), work)

    def _filled(self, rows: Sequence[Array], known: Everywhere | None) -> Sequence[Array]:
        """The rows of N at the nodes; outside of the block they are interpolated from what is known there, if not all are."""
        if known is None:
            return rows
        filled, outer = self.workspace.rows(len(rows)), tuple(row.view(np.float64) for row in known.rows)
        for row, weights, full in zip(rows, known.fill, filled, strict=True):
            self.workspace.kernels.fill_up(known.split, outer, weights, row.view(np.float64), full.view(np.float64))
        return filled

    def _is_whole(self, past: Memory) -> bool:
        """Whether all nodes visit the full grid: none may miss it where no defects are known."""
        return not (self._sparse and past.defects)

    def _kept_after(self, whole: bool) -> int:
        """How many elements are of use after one; those before the first that knows defects are not."""
        return 1 if self._sparse and whole else self._elements_kept

    def _first_sweep(self, u: Array, past: Memory, rows: list[Array], tables: Tables, whole: bool) -> list[Array]:
        """Fills the rows of this element, `kept` and the fields of the first level; the defects, if the scheme needs them."""
        scheme, work, half = self.scheme, self.workspace, self._levels[0]
        kernels, scale = work.kernels, work.scale
        known = [*past.rows, *rows] if past.rows else [work.explicit_of(u), *rows]
        defects = work.rows(len(self._nodes), "defects") if self._sparse else []
        found = 0
        for i, row in enumerate(rows):
            before = known[: len(known) - scheme.degree + i]
            window = last_rows(before, scheme.window)
            fine, weights = whole or i in self._nodes, tables.windows[i]
            a, W = tables.outer[i] if fine else tables.block[i]
            outer = last_rows(before if whole else self._outer(before), len(W))
            if fine and self._sampled:
                kernels.combine_both(
                    a, W, work.fold, weights, half.fold, self._block, u, outer, window, self._kept[i], work.buffer
                )
                work.plan.inverse()
                kernels.react_and_sample(work.lines, self._level_line, scale, work.reaction, self._field_lines[i])
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
        if not whole:
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
            self.workspace.kernels.exchange(half.modes.shape[1] - 1, half.inside, weights, tuple(defects), rows[i])

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

    def _end(self, u: Array, past: Memory, rows: list[Array], tables: Tables, whole: bool) -> Array:
        work, kernels, half = self.workspace, self.workspace.kernels, self._levels[0]
        (end,) = work.rows(1)
        a, W = tables.end[self.scheme.degree]
        if whole:
            kernels.combine(a, W, work.fold, u, tuple(rows), end)
            return end
        kernels.combine_block(
            *tables.block[self.scheme.degree], half.fold, half.inside, u, tuple(rows), self._kept[-1], half.modes
        )
        outer = last_rows(self._outer([*past.rows, *rows]), len(W))
        kernels.combine_outside(a, W, work.fold, self._block, u, outer, self._kept[-1], end)
        return end

    def _everywhere(self, past: Sequence[Array], rows: Sequence[Array], tau: float, taus: tuple[Time, ...]) -> Everywhere:
        """What is known outside of the block, at all nodes."""
        fill = self._tables(tau, taus, False).fill
        assert fill is not None
        return Everywhere(tuple(self._outer([*past, *rows])[-fill.shape[1] :]), fill, self._split)

    def _outer(self, rows: Sequence[Array]) -> list[Array]:
        """The rows that are known on the full grid."""
        return [row for j, row in enumerate(rows) if j % self.scheme.degree in self._nodes]

    def _tables(self, tau: float, taus: tuple[Time, ...], whole: bool) -> Tables:
        """The tables for this length and those of the elements before."""
        return self._tables_kept.get((tau, *taus, float(whole)), lambda: self._make_tables(tau, taus, whole))

    def _make_tables(self, tau: float, taus: tuple[Time, ...], whole: bool) -> Tables:
        scheme, work, p = self.scheme, self.workspace, self.scheme.degree
        nodes, symbols = tuple(range(p)) if whole else self._nodes, self._block_symbols
        known = known_matrices(self._points, nodes, self._outer_window, tau, taus) if taus else None
        outer = first_matrices(self._points, scheme.window) if known is None else outer_matrices(known, nodes)
        width = self._outer_window if taus else scheme.window
        if whole:
            on_grid = row_tables(work, tau, p, None, nodes, outer[:p], width)
            end = self._ends.get(tau, lambda: row_tables(work, tau, p, None, [p], None))
        else:
            end = on_grid = row_tables(work, tau, p, None, (*nodes, p), [outer[i] for i in (*nodes, p)], width)
        inner = window_arrays(self._points, tau, taus, scheme.window)
        return Tables(
            on_grid,
            end,
            self._blocks.get(tau, lambda: row_tables(work, tau, p, symbols, range(p + 1), None)),
            window_tables(work, tau, p, symbols, inner, scheme.window),
            [] if whole or known is None else defect_weights(known),
            None if whole else outer[p],
        )
