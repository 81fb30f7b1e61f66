"""Fused steppers: compiled twins of the torch ones, with the same answers to round-off, several times as fast.

`fused_stepper` gives the twin of a scheme where numba is installed and the problem fits, else None. Beyond the protocol
of steppers each has `prepare(tau)`, which builds the coefficients, and `run(start, tau, steps)`, the bare loop.
"""

from collections.abc import Sequence
from typing import Protocol, TypeGuard

from torch import Tensor

from ernest.phasefield.compiled.coarse import FusedCoarse
from ernest.phasefield.compiled.exponential import FusedETDRK4, FusedIMEXBDF4
from ernest.phasefield.compiled.transforms import Array
from ernest.phasefield.compiled.workspace import (
    LENGTHS_KEPT,
    FusedState,
    Memory,
    Recent,
    Workspace,
    last_rows,
    make_workspace,
    row_tables,
)
from ernest.phasefield.element import Element, Time
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.schemes.coarse import CoarseGaussSeidel
from ernest.phasefield.schemes.exponential import ETDRK4, IMEXBDF4
from ernest.phasefield.schemes.gaussseidel import GaussSeidel, window_matrices
from ernest.phasefield.schemes.splitting import one_length
from ernest.phasefield.stepping import Scheme, State, StepFacts, Stepper
from ernest.phasefield.timeelement import gauss

Compiled = GaussSeidel | CoarseGaussSeidel | ETDRK4 | IMEXBDF4


class FusedStepper(Stepper, Protocol):
    """A stepper for one field `[*points]` in float64."""

    def prepare(self, tau: float) -> None:
        """Build the coefficients for steps of one length, so that `run` finds them ready."""
        ...

    def run(self, start: Tensor, tau: float, steps: int) -> Tensor:
        """The field after so many steps from the field `start`."""
        ...


def fused_stepper(scheme: Scheme, flow: Flow, grid: Space, threads: int = 1) -> FusedStepper | None:
    """The compiled twin of `scheme.stepper(flow, grid, start)` for an unbatched float64 start, or None where there is none.

    `workspace.why_not_fused` tells why a problem does not fit. More than one thread pays from about 512 x 512 points on.
    """
    if not has_twin(scheme):
        return None
    workspace = make_workspace(flow, grid, scheme.stabilisation, threads)
    return None if workspace is None else twin(scheme, workspace)


def has_twin(scheme: Scheme) -> TypeGuard[Compiled]:
    """Whether there is a compiled stepper of the scheme."""
    return isinstance(scheme, Compiled) and not (isinstance(scheme, GaussSeidel) and scheme.shells)


def twin(scheme: Compiled, workspace: Workspace) -> FusedStepper:
    """The stepper on a workspace of the scheme's stabilisation, which several steppers may share: they use it in turn."""
    match scheme:
        case GaussSeidel():
            return FusedGaussSeidel(scheme, workspace)
        case CoarseGaussSeidel():
            return FusedCoarse(scheme, workspace)
        case ETDRK4():
            return FusedETDRK4(scheme, workspace)
        case IMEXBDF4():
            return FusedIMEXBDF4(scheme, workspace)


class FusedGaussSeidel:
    """The twin of GaussSeidelStepper; the memory of a state is the rows of N of the last elements, oldest first."""

    def __init__(self, scheme: GaussSeidel, workspace: Workspace) -> None:
        self.scheme, self.workspace, self.begin = scheme, workspace, workspace.begin
        self._points = gauss(scheme.degree)[0]
        self._nodal: Recent[float, list[tuple[Array, Array]]] = Recent(LENGTHS_KEPT)
        self._windows: Recent[tuple[Time, ...], list[Array]] = Recent(LENGTHS_KEPT + scheme.elements_kept)

    def prepare(self, tau: float) -> None:
        for past in range(self.scheme.elements_kept + 1):
            self._tables(tau, (tau,) * past)

    def run(self, start: Tensor, tau: float, steps: int) -> Tensor:
        u, rows = self.workspace.modes(start), []
        for done in range(steps):
            u, rows, _ = self._step(u, rows, tau, (tau,) * min(done, self.scheme.elements_kept), measured=False)
        return self.workspace.field_of(u)

    def advance(self, state: State, tau: Time) -> tuple[State, Element, StepFacts]:
        tau = one_length(tau, state.modes, self.workspace.grid)
        p, work = self.scheme.degree, self.workspace
        start = work.array(state.modes)
        u, rows, differences = self._step(start, work.recall(state).rows, tau, state.taus, measured=True)
        end, nodes = work.tensor(u), rows[-p:]

        taus = (*state.taus, tau)[-self.scheme.elements_kept :]
        after = FusedState(state.time + tau, end, taus, state.count + 1, Memory(tuple(rows)), work)
        element = Element(state.time, tau, state.modes, end, work.grid, lambda: work.coefficients(start, nodes, tau))
        return after, element, StepFacts(self.scheme.sweeps_after(len(state.taus)), tuple(differences))

    def _step(
        self, u: Array, past: Sequence[Array], tau: float, taus: tuple[Time, ...], measured: bool
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
        end, differences = work.rows(2 if measured else 1), []
        for _ in range(self.scheme.sweeps_after(len(taus)) - 1):
            if measured:
                combined(*nodal[p], fold, u, tuple(nodes), end[1])
            for i, row in enumerate(nodes):
                combined(*nodal[i], fold, u, tuple(nodes), buffer)
                work.explicit(row)
            if measured:
                combined(*nodal[p], fold, u, tuple(nodes), end[0])
                differences.append(work.rms(work.kernels.square_distance(end[0], end[1], work.grid.points[-1] // 2)))
        combined(*nodal[p], fold, u, tuple(nodes), end[0])
        return end[0], [*past, *nodes][-self.scheme.elements_kept * p :], differences

    def _tables(self, tau: float, taus: tuple[Time, ...]) -> tuple[list[tuple[Array, Array]], list[Array]]:
        """The element's table, and the windows' weights for elements before of lengths `taus`."""
        p, m = self.scheme.degree, self.scheme.window

        def windows() -> list[Array]:
            matrices = window_matrices(self._points, tau, taus, m)
            return [W for _, W in row_tables(self.workspace, tau, p, None, range(p), matrices, m)]

        nodal = self._nodal.get(tau, lambda: row_tables(self.workspace, tau, p, None, range(p + 1), None))
        return nodal, self._windows.get((tau, *taus), windows)
