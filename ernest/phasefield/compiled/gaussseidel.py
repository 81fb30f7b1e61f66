"""The compiled stepper of GaussSeidel: sweeps on the full grid, fused with numba."""

from collections.abc import Sequence

from torch import Tensor

from ernest.phasefield.compiled.inspection import FusedElement
from ernest.phasefield.compiled.tables import LRUCache, last_rows, lengths_kept, row_tables, window_tables
from ernest.phasefield.compiled.transforms import Array
from ernest.phasefield.compiled.workspace import FusedState, Memory, Workspace
from ernest.phasefield.element import Element, Time
from ernest.phasefield.schemes.gaussseidel import GaussSeidel, window_arrays
from ernest.phasefield.schemes.settling import Settling
from ernest.phasefield.schemes.splitting import one_length
from ernest.phasefield.stepping import State, StepStats
from ernest.phasefield.timeelement import gauss


class FusedGaussSeidel:
    """Fused counterpart of GaussSeidelStepper; a state's memory is the rows of N of the last elements, oldest first."""

    def __init__(self, scheme: GaussSeidel, workspace: Workspace) -> None:
        self.scheme, self.workspace, self.init = scheme, workspace, workspace.init
        self._points = gauss(scheme.degree)[0].numpy()
        self._nodal: LRUCache[float, dict[int, tuple[Array, Array]]] = LRUCache(lengths_kept(workspace))
        self._windows: LRUCache[tuple[Time, ...], dict[int, Array]] = LRUCache(lengths_kept(workspace, scheme.elements_kept))

    def prepare(self, tau: float) -> None:
        for past in range(self.scheme.elements_kept + 1):
            self._tables(tau, (tau,) * past)

    def run(self, u0: Tensor, tau: float, steps: int) -> Tensor:
        u, rows = self.workspace.modes(u0), []
        for done in range(steps):
            u, rows, _ = self._step(u, rows, tau, (tau,) * min(done, self.scheme.elements_kept), measured=False)
        return self.workspace.field_of(u)

    def step(self, state: State, tau: Time, settling: Settling | None = None) -> tuple[State, Element, StepStats]:
        tau = one_length(tau, state.modes, self.workspace.grid)
        p, work = self.scheme.degree, self.workspace
        start = work.array(state.modes)
        u, rows, differences = self._step(start, work.memory_of(state).rows, tau, state.taus, True, settling)
        end, nodes = work.tensor(u), rows[-p:]

        taus = (*state.taus, tau)[-self.scheme.elements_kept :]
        after = FusedState(state.time + tau, end, taus, state.count + 1, Memory(tuple(rows)), work)
        element = FusedElement(
            state.time, tau, state.modes, end, work.grid, lambda: work.coefficients(start, nodes, tau), tuple(nodes)
        )
        return after, element, StepStats(1 + len(differences), tuple(differences))

    def _step(
        self,
        u: Array,
        past: Sequence[Array],
        tau: float,
        taus: tuple[Time, ...],
        measured: bool,
        settling: Settling | None = None,
    ) -> tuple[Array, list[Array], list[float]]:
        """Modes at the end, the rows of N that the next step needs, and the differences between sweeps if `measured`."""
        work, p, m = self.workspace, self.scheme.degree, self.scheme.window
        nodal, windows = self._tables(tau, taus)
        buffer, fold, combined = work.buffer, work.fold, work.kernels.combine
        nodes = work.rows(p)
        known = [*past, *nodes] if past else [work.explicit_of(u), *nodes]
        for i, row in enumerate(nodes):
            combined(nodal[i][0], windows[i], fold, u, last_rows(known[: len(known) - p + i], m), buffer)
            work.explicit(row)
        (end,), differences = work.rows(1), []
        if measured:
            combined(*nodal[p], fold, u, tuple(nodes), end)
        for _ in range(self.scheme.sweeps_after(len(taus)) - 1 + (settling.further if settling else 0)):
            if settling and settling.ends(differences):
                break
            for i, row in enumerate(nodes):
                combined(*nodal[i], fold, u, tuple(nodes), buffer)
                work.explicit(row)
            if measured:
                squares = work.kernels.renew(*nodal[p], fold, u, tuple(nodes), work.grid.points[-1] // 2, end)
                differences.append(work.rms(squares))
        if not measured:
            combined(*nodal[p], fold, u, tuple(nodes), end)
        return end, [*past, *nodes][-self.scheme.elements_kept * p :], differences

    def _tables(self, tau: float, taus: tuple[Time, ...]) -> tuple[dict[int, tuple[Array, Array]], dict[int, Array]]:
        """The element's table, and the windows' weights for elements before of lengths `taus`."""
        p, m = self.scheme.degree, self.scheme.window

        def windows() -> dict[int, Array]:
            matrices = window_arrays(self._points, tau, taus, m)
            return window_tables(self.workspace, tau, p, None, matrices, m)

        nodal = self._nodal.get(tau, lambda: row_tables(self.workspace, tau, p, None, range(p + 1), None))
        return nodal, self._windows.get((tau, *taus), windows)
