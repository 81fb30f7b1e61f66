"""Solves a gradient flow from an initial field to an end time, choosing the scheme and the steps for a tolerance."""

import math
import tempfile
import time as clock
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import torch
from torch import Tensor

from ernest.device import HOST
from ernest.phasefield.evolution.flows import CoupledFlow, VariableFlow
from ernest.phasefield.evolution.run import solve_evolution
from ernest.phasefield.flows import Flow, check_flow
from ernest.phasefield.grid import Grid, Space
from ernest.phasefield.solver.checkpoint import (
    Checkpoint,
    check_ahead,
    check_checkpoint,
    check_problem,
    failed_path,
    load_run,
    problem_of,
    save_run,
)
from ernest.phasefield.solver.controller import Adaptive, Prescribed
from ernest.phasefield.solver.diagnostics import Diagnostics, StepRecord
from ernest.phasefield.solver.events import Event, EventOccurrence, check_events, find_events
from ernest.phasefield.solver.failures import RunFailed, RunInterrupted
from ernest.phasefield.solver.initial_step import first_step, graded_lengths, is_rough, stiff_imbalance, time_derivative
from ernest.phasefield.solver.progress import Progress, progress_bar
from ernest.phasefield.solver.resolution import UnresolvedInterface, is_unresolved, thin_interface
from ernest.phasefield.solver.scheme_selection import check_scheme, choose_schemes
from ernest.phasefield.solver.solution import DenseOutput, Solution
from ernest.phasefield.solver.state import AcceptedStep, RejectedStep, SolverState
from ernest.phasefield.solver.steady import Mode, is_steady
from ernest.phasefield.solver.steppers import Steppers
from ernest.phasefield.solver.try_step import after_rejection, initial_state, try_step
from ernest.phasefield.solver.units import Units, own_units
from ernest.phasefield.stepping import Scheme

SAVED = tuple(field.name for field in fields(SolverState) if field.name not in ("state", "controller"))
"""The fields of the solver's state that a checkpoint holds as they are."""


class EnergyRise(RuntimeWarning):
    """The energy rose in a step by more than round-off."""


@dataclass
class History:
    """Records of a run so far: its steps, its events, and whether it has warned of a rising energy."""

    records: list[StepRecord] = field(default_factory=list)
    occurrences: list[EventOccurrence] = field(default_factory=list)
    warned: bool = False

    def forget_after(self, time: float) -> None:
        """Drops what is later than `time`."""
        self.records = [record for record in self.records if record.time <= time]
        self.occurrences = [occurrence for occurrence in self.occurrences if occurrence.time <= time]


def solve(
    flow: Flow | VariableFlow | CoupledFlow,
    grid: Space,
    u0: Tensor,
    t1: float,
    tolerance: float = 1e-6,
    *,
    absolute_tolerance: float | None = None,
    units: Units | None = None,
    step: float | None = None,
    max_step: float = math.inf,
    stops: Sequence[float] = (),
    steady: float | None = None,
    scheme: Scheme | None = None,
    strict: bool = False,
    events: Event | Sequence[Event] = (),
    checkpoint: Checkpoint | None = None,
    resume: bool = False,
    dense: bool = True,
    memory: float = 4e9,
    progress: Progress = True,
) -> Solution:
    """Solves the flow from the fields `u0` `[..., *points]` at time 0 to the time `t1`; leading axes are an ensemble with
    common steps.

    The scheme, its stabilisation, short first steps for a rough u0 and the lengths of all steps are chosen such that the error
    (root of the mean square over the box) stays below `tolerance` times the field's amplitude times the number of the flow's own
    times that have passed. Both are found by `own_units`, or are the `units` given; `absolute_tolerance` is what the error may
    grow by in a unit of time, in the numbers that u and t are told in. With `step` the steps have that length, with `scheme`
    they are that scheme's, and `strict` asks for the implicit scheme, whose energy law is exact.

    A forcing is part of the estimate: its jumps are found, and elements end there. What happens in less than a thousandth of the
    run may be missed; `max_step` bounds the lengths of the steps, and at the times `stops` elements end exactly.

    As the motion ends the steps grow without bound, as long as the field is stable: where some mode can still grow, they stay
    below its time. With `steady` the run ends when the speed, the root of the mean square of u_t, is below that bound and no
    mode grows within the time in which such a speed would change the field; `Solution.steady_at` says when.

    The solution can be evaluated at any time. Beyond `memory` bytes its oldest elements are kept in temporary files, and with
    `dense=False` only the fields at both ends are kept. With `resume` a run continues from its checkpoint if there is one:
    its steps and fields are bit for bit those of a run that never stopped, and the solution covers the time from there.
    `progress` tells on stderr how far the run is; a function is called with the record of every step instead.

    Raises ValueError for input that does not fit together, RunFailed where no step length works, and RunInterrupted, which
    holds what was done, when the run is interrupted. Warns of a rising energy, and of interfaces too thin for the grid.
    """
    events = (events,) if isinstance(events, Event) else tuple(events)
    t1, tolerance, step = float(t1), float(tolerance), None if step is None else float(step)
    stops = _check_times(t1, step, max_step, stops)
    check_scheme(scheme, strict)
    check_checkpoint(checkpoint, resume)
    _check_input(flow, grid, u0, t1, step, events, steady)
    if isinstance(flow, VariableFlow | CoupledFlow):
        tells = {"absolute_tolerance": absolute_tolerance, "units": units, "step": step, "max_step": max_step, "stops": stops}
        keeps = {"checkpoint": checkpoint, "resume": resume, "dense": dense, "memory": memory, "progress": progress}
        return solve_evolution(flow, grid, u0, t1, tolerance, steady=steady, scheme=scheme, events=events, **tells, **keeps)
    given, units = units, units or own_units(flow, grid, u0, t1)
    tolerance = _relative_tolerance(tolerance, absolute_tolerance, units, u0)
    choice = choose_schemes(flow, grid, u0, tolerance, scheme, strict)
    steppers, diagnostics = Steppers(choice, flow, grid, u0, t1, tolerance, units, dense), Diagnostics(flow, grid, u0)
    choices = {"tolerance": tolerance, "units": given, "step": step, "max_step": max_step, "stops": stops}
    problem = problem_of(flow, grid, u0, scheme=scheme, strict=strict, **choices)
    if resume and checkpoint is not None and Path(checkpoint.path).exists():
        current, history = _load(checkpoint.path, problem, u0)
        check_ahead(checkpoint.path, current.state, t1)
    else:
        current, record = initial_state(steppers, diagnostics, u0, _controller(steppers, u0, t1, step, max_step), stops)
        history = History([record])
    first, dense_output = grid.field(current.state.modes), DenseOutput(steppers.splitting, memory) if dense else None
    shortest, end = _shortest_and_end(units, t1, step)
    saved, saved_at, steady_at = current.state.count, clock.monotonic(), None

    def solution() -> Solution:
        last, records, occurrences = grid.field(current.state.modes), tuple(history.records), tuple(history.occurrences)
        return Solution(flow, grid, choice.scheme, first, last, records, occurrences, dense_output, units, steady_at)

    def interrupted() -> RunInterrupted | None:
        """What has been done up to the last whole step; None where that is nothing."""
        history.forget_after(float(current.state.time))
        if dense_output is not None:
            dense_output.forget_after(float(current.state.time))
        if len(history.records) < 2:
            return None
        if checkpoint:
            _save(checkpoint.path, problem, current, history)
        return RunInterrupted(solution(), t1, Path(checkpoint.path) if checkpoint else None)

    thin = _warn_of_thin_interface(thin_interface(flow, grid), grid, current)
    with progress_bar(progress, float(current.state.time), t1) as show, _rescue(interrupted):
        while not _ended(events, history) and steady_at is None and float(current.state.time) < end:
            outcome = try_step(steppers, diagnostics, current, current.controller.propose(steppers.until_stop(current)))
            if isinstance(outcome, RejectedStep):
                current = after_rejection(current, outcome)
                if current.controller.tau < shortest:
                    raise _failure(checkpoint, problem, current, history, outcome)
                continue
            (after, element, record), occurrences = _up_to_terminal(steppers, diagnostics, current, outcome, events)
            history.records.append(record)
            history.occurrences += occurrences
            if dense_output is not None:
                dense_output.append(element)
            current = after  # from here on the step is done, whatever interrupts the run
            _warn_of_rise(history, diagnostics, current.noise)
            if steady is not None:
                rests = is_steady(steady, element.end_modes, element.end, record.time, t1 - record.time, flow, grid, units.field)
                steady_at = record.time if rests else None
            show(record)
            if checkpoint and checkpoint.due(current.state.count - saved, clock.monotonic() - saved_at):
                _save(checkpoint.path, problem, current, history)
                saved, saved_at = current.state.count, clock.monotonic()
    if checkpoint:
        _save(checkpoint.path, problem, current, history)
    _warn_of_thin_interface(thin, grid, current)
    return solution()


@contextmanager
def _rescue(interrupted: Callable[[], RunInterrupted | None]) -> Iterator[None]:
    """Raises what `interrupted` returns in place of an interruption."""
    try:
        yield
    except KeyboardInterrupt as stop:
        done = interrupted()
        if done is None:
            raise
        raise done from stop


def _check_input(
    flow: Flow | VariableFlow | CoupledFlow,
    grid: Space,
    u0: Tensor,
    t1: float,
    step: float | None,
    events: tuple[Event, ...],
    steady: float | None,
) -> None:
    """Raise ValueError, before any work, for input that would fail later or give nonsense."""
    check_flow(flow, grid, u0)
    check_events(events, grid)
    if not 0 < t1 < math.inf:
        raise ValueError(f"t1: expected a time after 0, got {t1}")
    if step is not None and not 0 < step <= t1:
        raise ValueError(f"step: expected a length between 0 and t1 = {t1}, got {step}")
    if steady is not None and not steady > 0:
        raise ValueError(f"steady: expected a positive bound of the speed, got {steady}")


def _check_times(t1: float, step: float | None, max_step: float, stops: Sequence[float]) -> tuple[float, ...]:
    """The stops as numbers in the order of time. Raises ValueError for times and lengths that are none."""
    if not max_step > 0:
        raise ValueError(f"max_step: expected a positive length, got {max_step}")
    if step is not None and step > max_step:
        raise ValueError(f"step: expected a length of at most max_step = {max_step}, got {step}")
    times = tuple(sorted(float(stop) for stop in stops))
    if not all(map(math.isfinite, times)):
        raise ValueError(f"stops: expected times from 0 to t1 = {t1}, got {list(times)}")
    return times


def _relative_tolerance(tolerance: float, absolute: float | None, units: Units, u0: Tensor) -> float:
    """The tolerance in the problem's units. Raises ValueError for one that is beyond the precision of u0."""
    least = 100 * torch.finfo(u0.dtype).eps
    if absolute is None and not least <= tolerance < 1:
        raise ValueError(f"tolerance: expected {least:.1e} (the round-off of {u0.dtype}) to 1, got {tolerance}")
    if absolute is not None and not least <= absolute / units.speed < 1:
        span = f"{least * units.speed:.1e} (the round-off of {u0.dtype}) to {units.speed:.1e}"
        raise ValueError(f"absolute_tolerance: expected {span}, got {absolute}")
    return tolerance if absolute is None else absolute / units.speed


def _shortest_and_end(units: Units, t1: float, step: float | None) -> tuple[float, float]:
    """The length of a step below which a run has failed, and the time from which on its end is reached but for round-off."""
    if step is not None:
        return step / 2**16, t1 - 1e-9 * step
    return 1e-11 * min(units.time, t1), t1 * (1 - 8 * torch.finfo(torch.float64).eps)


def _controller(steppers: Steppers, u0: Tensor, t1: float, step: float | None, max_step: float) -> Adaptive | Prescribed:
    """The control of the step lengths; adaptive steps begin short, and prescribed ones do so where u0 is rough."""
    flow, grid, order = steppers.flow, steppers.grid, steppers.choice.order if step is None else 0
    tolerance, units = steppers.tolerance, steppers.units
    modes = grid.modes(u0)
    speed = time_derivative(flow, grid, modes, 0.0)
    first = first_step(grid, modes, speed, t1)
    if step is None:
        # An element of this order errs by about the tolerance where the fields change by this share; a rough u0 begins shorter.
        share, whole = min(tolerance ** (1 / (order + 1)), 0.25), first_step(grid, modes, speed, 8 * t1, 1.0)
        smooth = not is_rough(flow, grid, modes, speed, t1)
        longest = min(share * whole / 2, t1) if smooth else first
        return Adaptive(tolerance * units.speed, order, min(longest, max_step), max_step)
    rough = stiff_imbalance(flow, grid, speed, step) > tolerance * units.field
    return Prescribed(step, *graded_lengths(step, first, flow.forcing is not None)) if rough else Prescribed(step)


def _up_to_terminal(
    steppers: Steppers, diagnostics: Diagnostics, current: SolverState, step: AcceptedStep, events: tuple[Event, ...]
) -> tuple[AcceptedStep, list[EventOccurrence]]:
    """The step and the events in it; where one of them ends the run, the step is taken anew, so that it ends there."""
    occurrences = find_events(events, step[1], steppers.splitting)
    terminal = {event.name for event in events if event.terminal}
    last = next((occurrence.time for occurrence in occurrences if occurrence.name in terminal), math.inf)
    if last < math.inf and (tau := last - float(current.state.time)) > 0:
        shorter = try_step(steppers, diagnostics, current, tau)
        step = step if isinstance(shorter, RejectedStep) else shorter
    return step, [occurrence for occurrence in occurrences if occurrence.time <= last]


def _warn_of_thin_interface(thin: str | None, grid: Space, current: SolverState) -> str | None:
    """Warns if interfaces are too thin for the grid and the field shows it; returns what remains to be warned of."""
    if thin is None or not isinstance(grid, Grid) or not is_unresolved(grid, current.state.modes):
        return thin
    warnings.warn(thin, UnresolvedInterface, stacklevel=3)
    return None


def _ended(events: tuple[Event, ...], history: History) -> bool:
    """Whether a terminal event has occurred."""
    terminal = {event.name for event in events if event.terminal}
    return any(occurrence.name in terminal for occurrence in history.occurrences)


def _warn_of_rise(history: History, diagnostics: Diagnostics, noise: float) -> None:
    """Warns of the first rise of the energy in a run."""
    if history.warned or not diagnostics.dissipative:
        return
    before, after = (torch.as_tensor(record.energy, dtype=torch.float64, device=HOST) for record in history.records[-2:])
    rise = float((after - before).max())
    if rise > noise:
        history.warned = True
        record = history.records[-1]
        span = f"from time {record.time - record.tau:.9g} to {record.time:.9g}"
        warnings.warn(f"the energy rises by {rise:.2e} {span}; shorter steps would help", EnergyRise, stacklevel=3)


def _save(path: Path | str, problem: dict[str, str], current: SolverState, history: History) -> None:
    facts = {
        "problem": problem,
        "adaptive": isinstance(current.controller, Adaptive),
        "controller": asdict(current.controller),
        **{name: getattr(current, name) for name in SAVED},
        "mode": asdict(current.mode),
    }
    save_run(path, current.state, facts, asdict(history))


def _load(path: Path | str, problem: dict[str, str], u0: Tensor) -> tuple[SolverState, History]:
    state, facts, history = load_run(path, u0.device)
    check_problem(path, facts["problem"], problem)
    if facts["adaptive"]:
        controller = Adaptive(**facts["controller"])
    else:
        controller = Prescribed(**facts["controller"] | {"graded": tuple(facts["controller"]["graded"])})
    records = [StepRecord(**record) for record in history["records"]]
    occurrences = [EventOccurrence(**occurrence) for occurrence in history["occurrences"]]
    saved = {name: facts[name] for name in SAVED}
    saved["stops"], saved["mode"] = tuple(saved["stops"]), Mode(**saved["mode"])
    current = SolverState(state, controller, **saved)
    return current, History(records, occurrences, history["warned"])


def _failure(
    checkpoint: Checkpoint | None, problem: dict[str, str], current: SolverState, history: History, rejected: RejectedStep
) -> RunFailed:
    """Writes the last good state beside the checkpoint, or into a temporary file."""
    if checkpoint is None:
        path = Path(tempfile.mkdtemp(prefix="phasefield-")) / "failed.safetensors"
    else:
        path = failed_path(Path(checkpoint.path))
    _save(path, problem, current, history)
    return RunFailed(float(current.state.time), current.state.count + 1, rejected.iteration, current.controller.tau, path)
