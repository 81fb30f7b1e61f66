"""Solves a gradient flow from an initial field to an end time, choosing the scheme and the steps for a tolerance."""

import math
import warnings
from collections.abc import Sequence
from contextlib import closing
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ernest.phasefield.evolution.flows import CoupledFlow, VariableFlow
from ernest.phasefield.evolution.run import solve_evolution
from ernest.phasefield.flows import Flow
from ernest.phasefield.gradients import outside_inference_mode, plain
from ernest.phasefield.grid import Grid, Space
from ernest.phasefield.numeric import end_time, number, number_or_none
from ernest.phasefield.solver.checkpoint import Checkpoint, check_ahead, check_checkpoint, problem_of
from ernest.phasefield.solver.controller import Adaptive, Prescribed
from ernest.phasefield.solver.diagnostics import Diagnostics, greatest_rise
from ernest.phasefield.solver.events import Event, EventOccurrence, events_of, find_events, may_end
from ernest.phasefield.solver.failures import rescue
from ernest.phasefield.solver.given import check_input, check_times, check_units, relative_tolerance
from ernest.phasefield.solver.history import History, load_solver
from ernest.phasefield.solver.initial_step import (
    first_step,
    graded_lengths,
    is_rough,
    stiff_imbalance,
    time_derivative,
    turnover,
)
from ernest.phasefield.solver.own_units import units_of
from ernest.phasefield.solver.progress import Progress, progress_bar
from ernest.phasefield.solver.resolution import UnresolvedInterface, is_unresolved, thin_interface
from ernest.phasefield.solver.run import Run
from ernest.phasefield.solver.scheme_selection import check_scheme, choose_schemes
from ernest.phasefield.solver.solution import DenseOutput, Solution
from ernest.phasefield.solver.state import AcceptedStep, RejectedStep, SolverState
from ernest.phasefield.solver.steady import is_steady
from ernest.phasefield.solver.steppers import Steppers
from ernest.phasefield.solver.try_step import after_rejection, initial_state, try_step
from ernest.phasefield.solver.units import Units
from ernest.phasefield.stepping import Scheme

BOLD = 2.0
"""The first element of a smooth start is tried with so many times the length of a plain rule: what it errs by tells the right
one, and a run that begins with short ones needs many until they are long."""


class EnergyRise(RuntimeWarning):
    """The energy rose in a step by more than round-off."""


@outside_inference_mode
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
    holds what was done, when the run is interrupted; any other error has a note that says where the last good state is. Warns of
    a rising energy, and of interfaces too thin for the grid. No gradients pass through; `march` lets them.
    """
    events, u0 = events_of(events), plain(u0)
    t1, tolerance, max_step = end_time(t1), number("tolerance", tolerance), number("max_step", max_step)
    step, steady = number_or_none("step", step), number_or_none("steady", steady)
    absolute_tolerance = number_or_none("absolute_tolerance", absolute_tolerance)
    stops = check_times(t1, step, max_step, stops, steady is not None or may_end(events))
    check_units(units)
    check_scheme(scheme, strict)
    check_checkpoint(checkpoint, resume)
    check_input(flow, grid, u0, t1, step, events, steady)
    if isinstance(flow, VariableFlow | CoupledFlow):
        tells = {"absolute_tolerance": absolute_tolerance, "units": units, "step": step, "max_step": max_step, "stops": stops}
        keeps = {"checkpoint": checkpoint, "resume": resume, "dense": dense, "memory": memory, "progress": progress}
        return solve_evolution(flow, grid, u0, t1, tolerance, steady=steady, scheme=scheme, events=events, **tells, **keeps)
    given, units = units, units or units_of(flow, grid, u0, t1)
    tolerance = relative_tolerance(tolerance, absolute_tolerance, units, u0)
    choice = choose_schemes(flow, grid, u0, tolerance, scheme, strict)
    steppers, diagnostics = Steppers(choice, flow, grid, u0, t1, tolerance, units, dense), Diagnostics(flow, grid, u0)
    choices = {"tolerance": tolerance, "units": given, "step": step, "max_step": max_step, "stops": stops}
    problem = cache(lambda: problem_of(flow, grid, u0, scheme=scheme, strict=strict, **choices))
    output = DenseOutput(steppers.splitting, memory) if dense else None
    if resume and checkpoint is not None and Path(checkpoint.path).exists():
        run = Run(steppers, u0, *_load(steppers, u0, checkpoint.path, problem()), output, checkpoint, problem)
    else:
        run = Run(steppers, u0, *_begin(steppers, u0, step, max_step, stops), None, output, checkpoint, problem)
    shortest, end = _shortest_and_end(units, t1, step)

    thin = _warn_of_thin_interface(thin_interface(flow, grid), grid, run.current)
    words = steppers.words if progress is True else ""
    with progress_bar(progress, run.time, t1, words) as show, rescue(run.interrupted, run.save_aside), closing(steppers):
        while not _ended(events, run.history) and run.steady_at is None and run.time < end:
            tau = run.current.controller.propose(steppers.until_stop(run.current))
            outcome = try_step(steppers, diagnostics, run.current, tau)
            if isinstance(outcome, RejectedStep):
                run.current = after_rejection(run.current, outcome)
                if run.current.controller.tau < shortest:
                    raise run.failure(outcome)
                continue
            outcome, occurrences = _up_to_terminal(steppers, diagnostics, run.current, outcome, events)
            run.add(outcome, occurrences)
            after, element, record = outcome
            _warn_of_rise(run.history, diagnostics, after.noise)
            if steady is not None:
                rests = is_steady(steady, element.end_modes, element.end, record.time, t1 - record.time, flow, grid, units.field)
                run.steady_at = record.time if rests else None
            show(record)
            run.save_if_due()
            del outcome, after, element  # what they alone refer to is room for the next step
    run.save()
    _warn_of_thin_interface(thin, grid, run.current)
    run.let_steppers_go()
    return run.solution()


def _load(steppers: Steppers, u0: Tensor, path: Path | str, problem: dict[str, str]) -> tuple[SolverState, History, Tensor]:
    """The state and the history of a checkpoint, and the fields that it holds."""
    current, history = load_solver(path, problem, u0)
    check_ahead(path, current.state, steppers.t1)
    return current, history, steppers.grid.field(current.state.modes)


def _begin(
    steppers: Steppers, u0: Tensor, step: float | None, max_step: float, stops: tuple[float, ...]
) -> tuple[SolverState, History]:
    """The state at the start and the history that begins there; what that is measured with is let go."""
    flow, grid = steppers.flow, steppers.grid
    start = grid.modes(u0)
    speed = time_derivative(flow, grid, start, 0.0, u0)
    size, rate = grid.norm(start), grid.norm(speed)
    controller = _controller(steppers, size, rate, speed, step, max_step)
    current, record = initial_state(steppers, Diagnostics(flow, grid, u0), u0, (size, rate), controller, stops)
    return current, History([record])


def _shortest_and_end(units: Units, t1: float, step: float | None) -> tuple[float, float]:
    """The length of a step below which a run has failed, and the time from which on its end is reached but for round-off."""
    if step is not None:
        return step / 2**16, t1 - 1e-9 * step
    return 1e-11 * min(units.time, t1), t1 * (1 - 8 * torch.finfo(torch.float64).eps)


def _controller(
    steppers: Steppers, size: Tensor, rate: Tensor, speed: Tensor, step: float | None, max_step: float
) -> Adaptive | Prescribed:
    """The control of the step lengths; adaptive steps begin short, and prescribed ones do so where u0 is rough.

    `size` and `rate` are the norms of u0 and of its u_t, whose modes are `speed`.
    """
    flow, grid, order = steppers.flow, steppers.grid, steppers.choice.order if step is None else 0
    tolerance, units, t1, lasts = steppers.tolerance, steppers.units, steppers.t1, turnover(size, rate)
    first = first_step(lasts, t1)
    if step is None:
        # An element of this order errs by about the tolerance where the fields change by this share; a rough u0 begins shorter.
        share, whole = min(tolerance ** (1 / (order + 1)), 0.25), first_step(lasts, 8 * t1, 1.0)
        smooth = not is_rough(flow, grid, size, speed, first_step(lasts, t1, 1.0))
        # Where diffusion drives the motion the plain rule is already bold, and a first element that fails costs several others.
        bold = 0.25 if steppers.choice.diffusive else BOLD
        longest = min(bold * share * whole, t1) if smooth else first
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
    rise = greatest_rise(*(record.energy for record in history.records[-2:]))
    if rise > noise:
        history.warned = True
        record = history.records[-1]
        span = f"from time {record.time - record.tau:.9g} to {record.time:.9g}"
        warnings.warn(f"the energy rises by {rise:.2e} {span}; shorter steps would help", EnergyRise, stacklevel=3)
