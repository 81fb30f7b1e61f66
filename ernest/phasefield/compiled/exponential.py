"""The compiled steppers of ETDRK4 and IMEX-BDF4, with the same transforms and workspace as those of the energetic schemes."""

import time as clock
from collections.abc import Sequence

from torch import Tensor

from ernest.phasefield.compiled.gaussseidel import FusedGaussSeidel
from ernest.phasefield.compiled.tables import LRUCache
from ernest.phasefield.compiled.transforms import Array
from ernest.phasefield.compiled.workspace import FusedState, Memory, Workspace
from ernest.phasefield.element import Element, Time
from ernest.phasefield.schemes.exponential import ETDRK4, IMEXBDF4, bdf4_tables, etdrk4_tables, hermite
from ernest.phasefield.schemes.gaussseidel import GaussSeidel
from ernest.phasefield.schemes.splitting import one_length
from ernest.phasefield.stepping import State, StepStats


class FusedETDRK4:
    """Fused counterpart of ETDRK4Stepper. The rows of N are scratch, since no state refers to them."""

    def __init__(self, scheme: ETDRK4, workspace: Workspace) -> None:
        self.scheme, self.workspace, self.init = scheme, workspace, workspace.init
        self._Nv, self._Na, self._Nb, self._Nc, self._a = workspace.rows(5)
        self._kept: LRUCache[float, list[Array]] = LRUCache(1)

    def prepare(self, tau: float) -> None:
        self._tables(tau)

    def run(self, u0: Tensor, tau: float, steps: int) -> Tensor:
        tables, v, other = self._tables(tau), self.workspace.modes(u0), self.workspace.rows(1)[0]
        self.workspace.buffer[...] = v
        for _ in range(steps):
            self._step(tables, v, other)
            v, other = other, v
        return self.workspace.field_of(v)

    def step(self, state: State, tau: Time) -> tuple[State, Element, StepStats]:
        work = self.workspace
        tau = one_length(tau, state.modes, work.grid)
        v, end = work.array(state.modes), work.rows(1)[0]
        work.buffer[...] = v
        self._step(self._tables(tau), v, end)
        after = work.tensor(end)
        element = Element(
            state.time, tau, state.modes, after, work.grid, lambda: hermite(work.splitting, state.modes, after, tau)
        )
        return State(state.time + tau, after, count=state.count + 1), element, StepStats(1)

    def _step(self, tables: list[Array], v: Array, end: Array) -> None:
        """From v, which is also in the plan's buffer, to `end`, and that into the buffer."""
        work, (E, half, Q, f1, f2, f3) = self.workspace, tables
        kernels, fold, buffer = work.kernels, work.fold, work.buffer
        work.explicit(self._Nv)
        kernels.etd_stage(half, Q, fold, v, self._Nv, buffer, self._a)
        work.explicit(self._Na)
        kernels.etd_second(half, Q, fold, v, self._Na, buffer)
        work.explicit(self._Nb)
        kernels.etd_third(half, Q, fold, self._a, self._Nb, self._Nv, buffer)
        work.explicit(self._Nc)
        kernels.etd_end(E, f1, f2, f3, fold, v, self._Nv, self._Na, self._Nb, self._Nc, end, buffer)

    def _tables(self, tau: float) -> list[Array]:
        return self._kept.get(tau, lambda: self.workspace.symbol_tables(etdrk4_tables, tau))


class FusedIMEXBDF4:
    """Fused counterpart of IMEXBDF4Stepper; a state's memory is the rows of the last times, u then N, newest first.

    `start_seconds` is the processor time that the start values of the last `run` took.
    """

    def __init__(self, scheme: IMEXBDF4, workspace: Workspace) -> None:
        self.scheme, self.workspace, self.init, self.start_seconds = scheme, workspace, workspace.init, 0.0
        self._starter = FusedGaussSeidel(GaussSeidel(3, 3, 2, scheme.stabilisation), workspace)
        self._kept: LRUCache[float, list[Array]] = LRUCache(1)

    def prepare(self, tau: float) -> None:
        self._tables(tau)
        self._starter.prepare(tau)

    def run(self, u0: Tensor, tau: float, steps: int) -> Tensor:
        tables, work, began = self._tables(tau), self.workspace, clock.process_time()
        state = self.init(u0)
        for _ in range(min(3, steps)):
            state, _, _ = self.step(state, tau)
        self.start_seconds = clock.process_time() - began
        if steps <= 3:
            return work.field_of(work.array(state.modes))
        memory = work.memory_of(state).rows
        # A ring of five rows of each kind: four that are needed, and the one that is written.
        us, Ns = (
            [work.array(state.modes), *memory[:3], *work.rows(1)],
            [work.explicit_of(work.array(state.modes)), *memory[3:], *work.rows(1)],
        )
        for done in range(steps - 3):
            self._step(tables, us[:4], Ns[:4], us[4])
            us = [us[4], *us[:4]]
            if done < steps - 4:
                work.explicit(Ns[4])
                Ns = [Ns[4], *Ns[:4]]
        return work.field_of(us[0])

    def step(self, state: State, tau: Time) -> tuple[State, Element, StepStats]:
        work = self.workspace
        tau = one_length(tau, state.modes, work.grid)
        known = work.memory_of(state).rows if all(length == tau for length in state.taus) else ()
        u, middle = work.array(state.modes), len(known) // 2
        us, Ns = [u, *known[:middle]], [work.explicit_of(u), *known[middle:]]
        if len(us) < 4:
            started, element, stats = self._starter.step(State(state.time, state.modes), tau)
            end = started.modes
        else:
            row = work.rows(1)[0]
            self._step(self._tables(tau), us, Ns, row)
            end, stats = work.tensor(row), StepStats(1)
            element = Element(
                state.time, tau, state.modes, end, work.grid, lambda: hermite(work.splitting, state.modes, end, tau)
            )
        memory = Memory((*us[:3], *Ns[:3]))
        after = FusedState(state.time + tau, end, (tau,) * len(us[:3]), state.count + 1, memory, work)
        return after, element, stats

    def _tables(self, tau: float) -> list[Array]:
        return self._kept.get(tau, lambda: self.workspace.symbol_tables(bdf4_tables, tau))

    def _step(self, tables: list[Array], us: Sequence[Array], Ns: Sequence[Array], end: Array) -> None:
        work, (inverse, drive) = self.workspace, tables
        work.kernels.bdf4(inverse, drive, work.fold, tuple(us), tuple(Ns), end, work.buffer)
