"""The state of the solver between two steps, and what becomes of a step that was tried."""

from dataclasses import dataclass, field

from ernest.phasefield.element import Element
from ernest.phasefield.solver.controller import GUESSED_CONTRACTION, Adaptive, Prescribed
from ernest.phasefield.solver.diagnostics import StepRecord, Value
from ernest.phasefield.solver.steady import Mode
from ernest.phasefield.stepping import State


@dataclass(frozen=True)
class SolverState:
    """State of the solver between two steps; with the `History` of the run it is all that a checkpoint holds.

    `energy` is that of the fields in `state`, and `noise` the rise of the energy that counts as round-off. `contraction` is the
    ratio of the changes by the last two sweeps of the step before, and `caution` how many times its error counted. `level` tells
    how much runs on coarse grids (`scheme_selection.FULL`, ..); where too much was missed there, `failures` times of late, more
    is tried again from the run's element number `retry` on. `misses` counts how often the most of all missed too much.
    `rejected` counts the steps rejected since the last accepted one, and `saved` is what the steps so far have left of the error
    that they were allowed. At the times `stops`, those of the user and jumps that were found, elements end.
    """

    state: State
    controller: Adaptive | Prescribed
    energy: Value
    noise: float
    contraction: float = GUESSED_CONTRACTION
    caution: float = 1.0
    level: int = 0
    failures: int = 0
    retry: int = 0
    misses: int = 0
    rejected: int = 0
    saved: float = 0.0
    stops: tuple[float, ...] = ()
    mode: Mode = field(default_factory=lambda: Mode(0.0))


@dataclass(frozen=True)
class RejectedStep:
    """A rejected step: the controller with a shorter length, and the iteration that failed. Where it was rejected because the
    forcing jumps inside, the length stays, and the next step ends at the `jump`. `diverged` tells that the sweeps failed. With
    `finer` the step is to be tried again with less of it on coarse grids, where too much was missed; unless sweeps there had all
    but `settled` it, with nothing on coarse grids.
    """

    controller: Adaptive | Prescribed
    iteration: int
    jump: float | None = None
    diverged: bool = False
    finer: bool = False
    settled: bool = True


AcceptedStep = tuple[SolverState, Element, StepRecord]
"""The state after a step, its element and its record."""
