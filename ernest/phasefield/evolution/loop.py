"""The loop over the elements of a run, for flows that vary and for systems: lengths, events, what is kept, interruptions."""

import math
import time as clock
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ernest.phasefield.element import Element
from ernest.phasefield.evolution.output import RefinedOutput, Refiner, events_in, is_terminal
from ernest.phasefield.evolution.step_control import factor_for, left_until_stop, next_length
from ernest.phasefield.solver.checkpoint import Checkpoint
from ernest.phasefield.solver.diagnostics import StepRecord
from ernest.phasefield.solver.events import Event, EventOccurrence
from ernest.phasefield.solver.failures import RunFailed, RunInterrupted, rescue
from ernest.phasefield.solver.progress import Progress, progress_bar
from ernest.phasefield.solver.solution import Solution
from ernest.phasefield.stepping import DivergenceError, State, StepStats

Step = tuple[State, Element, StepRecord]


@dataclass
class Run:
    """What a run has done so far. `at` is its state and the length to try next: once that is set a step is done."""

    at: tuple[State, float]
    records: list[StepRecord]
    occurrences: list[EventOccurrence] = field(default_factory=list)

    @property
    def state(self) -> State:
        return self.at[0]

    @property
    def tau(self) -> float:
        return self.at[1]

    def forget_after(self, time: float) -> None:
        """Drops what is later than `time`."""
        self.records = [record for record in self.records if record.time <= time]
        self.occurrences = [occurrence for occurrence in self.occurrences if occurrence.time <= time]


@dataclass
class Control:
    """What steps are chosen by: the error allowed per unit of time, which may grow with u, and given lengths and times.

    `own_time` is one in which u changes, however long the run is to be.
    """

    rate: float
    t1: float
    step: float | None
    max_step: float
    stops: tuple[float, ...]
    own_time: float = math.inf

    @property
    def end(self) -> float:
        """The time from which on the end of the run is reached but for round-off."""
        return self.t1 * (1 - 1e-14) if self.step is None else self.t1 - 1e-9 * self.step

    @property
    def shortest(self) -> float:
        """The length below which a run has failed."""
        return 1e-12 * min(self.t1, self.own_time) if self.step is None else self.step / 2**12

    def length(self, time: float, tau: float) -> float:
        """The length of the element that begins at `time`, where `tau` is wanted."""
        return next_length(tau, left_until_stop(time, self.stops, self.t1), self.step is not None)

    def after(self, length: float, tau: float, wanted: float) -> float:
        """The length to try after an element of some length that was to be `tau` long, where `wanted` would suit its error."""
        if self.step is not None:
            return min(self.step, 2 * tau)
        longest = min(wanted, self.max_step)
        return max(longest, tau) if length < 0.5 * tau else longest  # one cut short for a stop tells little


class Method(Protocol):
    """How the elements of a run are solved, judged and told. `order` is that of the error at their ends."""

    @property
    def stepper(self) -> Refiner: ...

    @property
    def control(self) -> Control: ...

    @property
    def order(self) -> int: ...

    def step(self, state: State, tau: float) -> tuple[State, Element, StepStats]:
        """One step. Raises DivergenceError: a shorter one may help."""
        ...

    def error(self, element: Element) -> float:
        """What the end of the last element errs by, per unit of time."""
        ...

    def longer(self, length: float, error: float) -> float:
        """The length that would suit, after one with an error that was accepted."""
        ...

    def record(self, element: Element, stats: StepStats, before: StepRecord, error: float, rejected: int) -> StepRecord:
        """The record of an element, after that of the step before."""
        ...

    def failure(self, run: Run, length: float, failure: DivergenceError | None) -> RunFailed:
        """The error of a run that no step takes further, its last good state saved."""
        ...


def march_run(
    method: Method,
    run: Run,
    events: tuple[Event, ...],
    output: RefinedOutput | None,
    progress: Progress,
    solution: Callable[[], Solution],
    checkpoint: Checkpoint | None = None,
    save: Callable[[], None] = lambda: None,
) -> Solution:
    """Takes the run to its end, or to an event that ends it, and returns the `solution` then.

    `save` writes the `checkpoint`. Raises RunFailed, and RunInterrupted with what was done up to the last whole step.
    """
    control = method.control
    saved, saved_at = run.state.count, clock.monotonic()

    def interrupted() -> RunInterrupted | None:
        run.forget_after(float(run.state.time))
        if output is not None:
            output.forget_after(float(run.state.time))
        if len(run.records) < 2:
            return None
        if checkpoint:
            save()
        return RunInterrupted(solution(), control.t1, Path(checkpoint.path) if checkpoint else None)

    ended = any(is_terminal(events, each.name) for each in run.occurrences)
    with (
        progress_bar(progress, float(run.state.time), control.t1) as show,
        rescue(interrupted, lambda: method.failure(run, run.tau, None).path),
    ):
        while not ended and float(run.state.time) < control.end:
            step, tau = _accepted(method, run)
            (state, element, record), found = _up_to_terminal(method, run, step, events)
            ended = any(is_terminal(events, each.name) for each in found)
            run.records.append(record)
            run.occurrences += found
            if output is not None:
                output.append(element)
            run.at = state, tau
            show(record)
            if checkpoint and checkpoint.due(state.count - saved, clock.monotonic() - saved_at):
                save()
                saved, saved_at = state.count, clock.monotonic()
    if checkpoint:
        save()
    return solution()


def _accepted(method: Method, run: Run) -> tuple[Step, float]:
    """The next step that meets the tolerance, and the length to try after it."""
    control, state, tau, rejected = method.control, run.state, run.tau, 0
    while True:
        length = control.length(float(state.time), tau)
        error, failure = math.inf, None
        try:
            after, element, stats = method.step(state, length)
            error = 0.0 if control.step is not None else method.error(element)
        except DivergenceError as stopped:
            failure = stopped
        else:
            if error <= control.rate:
                record = method.record(element, stats, run.records[-1], error, rejected)
                return (after, element, record), control.after(length, tau, method.longer(length, error))
        if length < control.shortest or float(state.time) + length == float(state.time):
            raise method.failure(run, length, failure) from failure
        rejected += 1
        tau = length * (factor_for(error, control.rate, method.order, 0.9) if math.isfinite(error) else 0.25)


def _up_to_terminal(method: Method, run: Run, step: Step, events: tuple[Event, ...]) -> tuple[Step, list[EventOccurrence]]:
    """The step and the events in it; where one of them ends the run, the step is taken anew, so that it ends there."""
    _, element, record = step
    found = events_in(events, method.stepper, element)
    last = next((each for each in found if is_terminal(events, each.name)), None)
    if last is None:
        return step, found
    if last.time < record.time and (tau := last.time - float(run.state.time)) > 0:
        after, element, stats = method.step(run.state, tau)
        step = after, element, method.record(element, stats, run.records[-1], record.error, record.rejected)
    return step, [each for each in found if each.time <= last.time]
