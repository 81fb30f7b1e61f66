"""A run of `solve` on its way: what it has done so far, how that is saved, and what is handed back of it."""

import tempfile
import time as clock
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from ernest.phasefield.solver.checkpoint import Checkpoint, failed_path
from ernest.phasefield.solver.events import EventOccurrence
from ernest.phasefield.solver.failures import RunFailed, RunInterrupted
from ernest.phasefield.solver.history import History, save_solver
from ernest.phasefield.solver.solution import DenseOutput, Solution
from ernest.phasefield.solver.state import AcceptedStep, RejectedStep, SolverState
from ernest.phasefield.solver.steppers import Steppers
from ernest.phasefield.stepping import State


@dataclass
class Run:
    """What a run has done so far. `current` is the state after its last whole step.

    `problem` makes the digests of what decides the steps, which only a checkpoint asks for. `first` are the fields
    `[..., *points]` that a resumed run began with, `output` the elements for times between steps, if they are kept, and
    `steady_at` the time since which nothing moves.
    """

    steppers: Steppers
    u0: Tensor
    current: SolverState
    history: History
    first: Tensor | None
    output: DenseOutput | None
    checkpoint: Checkpoint | None
    problem: Callable[[], dict[str, str]]
    steady_at: float | None = None
    saved: int = field(init=False)
    saved_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.saved, self.saved_at = self.current.state.count, clock.monotonic()

    @property
    def time(self) -> float:
        return float(self.current.state.time)

    def add(self, step: AcceptedStep, occurrences: list[EventOccurrence]) -> None:
        """Adds a step and the events in it."""
        after, element, record = step
        self.history.records.append(record)
        self.history.occurrences += occurrences
        if self.output is not None:
            self.output.append(element)
        self.current = after  # from here on the step is done, whatever interrupts the run

    def solution(self) -> Solution:
        """The run up to its last whole step."""
        # As all fields of the solution do, the first one comes from its modes: made last, it takes no memory in the run.
        flow, grid = self.steppers.flow, self.steppers.grid
        start = grid.field(grid.modes(self.u0)) if self.first is None else self.first
        end = grid.field(self.current.state.modes)
        records, occurrences = tuple(self.history.records), tuple(self.history.occurrences)
        scheme, units = self.steppers.choice.scheme, self.steppers.units
        return Solution(flow, grid, scheme, start, end, records, occurrences, self.output, units, self.steady_at)

    def interrupted(self) -> RunInterrupted | None:
        """What has been done up to the last whole step, which is saved; None where that is nothing."""
        self.history.forget_after(self.time)
        if self.output is not None:
            self.output.forget_after(self.time)
        if len(self.history.records) < 2:
            return None
        self.save()
        path = Path(self.checkpoint.path) if self.checkpoint else None
        return RunInterrupted(self.solution(), self.steppers.t1, path)

    def save(self) -> None:
        """Writes the checkpoint, if the run has one."""
        if self.checkpoint:
            self._save_to(Path(self.checkpoint.path))

    def save_if_due(self) -> None:
        """Writes the checkpoint where enough has been done since the last one."""
        steps, seconds = self.current.state.count - self.saved, clock.monotonic() - self.saved_at
        if self.checkpoint and self.checkpoint.due(steps, seconds):
            self.save()
            self.saved, self.saved_at = self.current.state.count, clock.monotonic()

    def save_aside(self) -> Path:
        """Writes the last good state into a temporary file, and says where that is."""
        path = Path(tempfile.mkdtemp(prefix="phasefield-")) / "failed.safetensors"
        self._save_to(path)
        return path

    def failure(self, rejected: RejectedStep) -> RunFailed:
        """The error of a run that no step takes further, its last good state saved beside the checkpoint, or aside."""
        if self.checkpoint:
            path = failed_path(Path(self.checkpoint.path))
            self._save_to(path)
        else:
            path = self.save_aside()
        return RunFailed(self.time, self.current.state.count + 1, rejected.iteration, self.current.controller.tau, path)

    def let_steppers_go(self) -> None:
        """Gives the last state memory of its own, so that all that the steppers held is free before the fields are made."""
        state = self.current.state
        self.current = replace(self.current, state=State(state.time, state.modes.clone(), count=state.count))

    def _save_to(self, path: Path) -> None:
        save_solver(path, self.problem(), self.current, self.history)
