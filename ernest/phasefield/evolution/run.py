"""Solves a `VariableFlow` or `CoupledFlow` to a tolerance: what `solve` does with these flows.

Every element of degree p is solved again with degree p - 1, whose end is of order 2p - 2, and the distance of both ends bounds
the error of the run, which goes on with the better one. Between the ends an element is refined when it is asked for.
"""

import math
import time as clock
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ernest.phasefield.element import Element
from ernest.phasefield.evolution.elements import EnergeticElements, EnergeticStepper
from ernest.phasefield.evolution.flows import CoupledFlow, VariableFlow
from ernest.phasefield.evolution.linearised import growth
from ernest.phasefield.evolution.measure import Measure
from ernest.phasefield.evolution.output import RefinedOutput, events_in, is_terminal
from ernest.phasefield.evolution.resume import Run, failure_of, load, problem_of_run, save
from ernest.phasefield.evolution.step_control import distance, factor_for, first_length, left_until_stop, next_length
from ernest.phasefield.grid import Space
from ernest.phasefield.potentials import Potential
from ernest.phasefield.solver.checkpoint import Checkpoint
from ernest.phasefield.solver.diagnostics import StepRecord
from ernest.phasefield.solver.events import Event
from ernest.phasefield.solver.failures import RunInterrupted
from ernest.phasefield.solver.progress import Progress, progress_bar
from ernest.phasefield.solver.solution import Solution
from ernest.phasefield.solver.units import Units, field_range
from ernest.phasefield.stepping import DivergenceError, State


def scheme_for(tolerance: float, fixed: bool, noisy: bool) -> EnergeticElements:
    """The degree for a tolerance. With noise it is 1, which gives waves that are linear their exact variance at rest."""
    if noisy:
        return EnergeticElements(1)
    return EnergeticElements(3 if fixed or tolerance > 1e-5 else 4 if tolerance > 1e-9 else 5)


def solve_evolution(
    flow: VariableFlow | CoupledFlow,
    grid: Space,
    u0: Tensor,
    t1: float,
    tolerance: float,
    *,
    absolute_tolerance: float | None,
    units: Units | None,
    step: float | None,
    max_step: float,
    stops: Sequence[float],
    steady: float | None,
    scheme: Any,
    events: tuple[Event, ...],
    checkpoint: Checkpoint | None,
    resume: bool,
    dense: bool,
    memory: float,
    progress: Progress,
) -> Solution:
    """`solve` for these flows, its input checked already but for what only they have."""
    scheme = _scheme(scheme, flow, tolerance, step, steady)
    stepper: EnergeticStepper = scheme.stepper(flow, grid, u0)
    units = units or _units(stepper, u0, t1)
    rate = tolerance * units.speed if absolute_tolerance is None else absolute_tolerance
    least = 100 * torch.finfo(u0.dtype).eps
    if not least <= rate / units.speed < 1:
        raise ValueError(f"tolerance: expected {least:.1e} (the round-off of {u0.dtype}) to 1, got {rate / units.speed:.1e}")
    problem = problem_of_run(
        stepper, u0, {"tolerance": rate, "step": step, "max_step": max_step, "stops": stops, "scheme": scheme}
    )
    measure = Measure(stepper, u0)
    first = step or min(t1, max_step, first_length(stepper, u0, rate, units, t1))
    run = Run(stepper.init(u0), first, [measure.record(u0, 0.0)])
    if resume and checkpoint is not None and Path(checkpoint.path).exists():
        run = load(checkpoint.path, problem, u0, t1)
    end = t1 * (1 - 1e-14) if step is None else t1 - 1e-9 * step
    began, output = grid.field(run.state.modes), RefinedOutput(stepper, memory) if dense else None
    saved, saved_at = run.state.count, clock.monotonic()

    def solution() -> Solution:
        last = grid.field(run.state.modes)
        return Solution(flow, grid, scheme, began, last, tuple(run.records), tuple(run.occurrences), output, units)  # pyright: ignore

    ended = False
    with progress_bar(progress, float(run.state.time), t1) as show:
        try:
            while not ended and float(run.state.time) < end:
                state, element, record, run.tau = _accepted(
                    stepper, measure, run, t1, rate, step, max_step, stops, checkpoint, problem
                )
                found = events_in(events, stepper, element)
                last = next((each for each in found if is_terminal(events, each.name)), None)
                if last is not None and last.time < record.time and (tau := last.time - float(run.state.time)) > 0:
                    state, element, stats = stepper.step(run.state, tau)
                    record = measure.record(element.end, float(state.time), element, stats.iterations, run.records[-1])
                    found = [each for each in found if each.time <= last.time]
                ended = last is not None
                run.state = state
                run.records.append(record)
                run.occurrences += found
                if output is not None:
                    output.append(element)
                show(record)
                if checkpoint and checkpoint.due(state.count - saved, clock.monotonic() - saved_at):
                    save(checkpoint.path, problem, run)
                    saved, saved_at = state.count, clock.monotonic()
        except KeyboardInterrupt as stop:
            if len(run.records) < 2:
                raise
            if checkpoint:
                save(checkpoint.path, problem, run)
            raise RunInterrupted(solution(), t1, Path(checkpoint.path) if checkpoint else None) from stop
    if checkpoint:
        save(checkpoint.path, problem, run)
    return solution()


def _scheme(
    scheme: Any, flow: VariableFlow | CoupledFlow, tolerance: float, step: float | None, steady: float | None
) -> EnergeticElements:
    if scheme is not None and not isinstance(scheme, EnergeticElements):
        raise ValueError(f"scheme: a {type(flow).__name__} is solved by EnergeticElements, got {scheme!r}")
    if steady is not None:
        raise ValueError(f"steady: not known for a {type(flow).__name__}; give an event instead, or leave it out")
    if flow.noise is not None and step is None:
        raise ValueError("noise: a run with noise has no error that a tolerance could bound; give step=")
    if scheme is not None and step is None and scheme.degree < 2:
        raise ValueError("scheme degree: steps are chosen by the next lower degree; expected 2 or more, or give step=")
    return scheme or scheme_for(tolerance, step is not None, flow.noise is not None)


def evolution_units(flow: VariableFlow | CoupledFlow, grid: Space, u0: Tensor, span: float) -> Units:
    """`own_units` of these flows. Raises ValueError for fields that do not fit."""
    flow.check_on(grid, u0)
    return _units(EnergeticElements().stepper(flow, grid, u0), u0, span)


def _units(stepper: EnergeticStepper, u0: Tensor, span: float) -> Units:
    """The flow's own time, by the fastest wave that grows about fields like u0, and half the range of the widest field."""
    fields = u0.unsqueeze(-1 - stepper.grid.dimensions) if stepper.single else u0
    rate = growth(stepper.operators, fields)
    axes = tuple(range(-stepper.grid.dimensions, 0))
    amplitude = float((fields.amax(axes) - fields.amin(axes)).max()) / 2
    if isinstance(stepper.operators.flow.potential, Potential):
        low, high = field_range(stepper.operators.flow.potential, u0)
        amplitude = (high - low) / 2
    return Units(1 / rate if rate > 0 else span, amplitude or float(u0.abs().max()) or 1.0)


def _accepted(
    stepper: EnergeticStepper,
    measure: Measure,
    run: Run,
    t1: float,
    rate: float,
    step: float | None,
    max_step: float,
    stops: Sequence[float],
    checkpoint: Checkpoint | None,
    problem: dict[str, str],
) -> tuple[State, Element, StepRecord, float]:
    """The next step that meets the tolerance, and the length to try after it."""
    state, time, rejected, tau = run.state, float(run.state.time), 0, run.tau
    order = max(2 * stepper.scheme.degree - 2, 1)
    while True:
        length = next_length(tau, left_until_stop(time, stops, t1), step is not None)
        try:
            after, element, stats = stepper.step(state, length)
            error = 0.0 if step is not None else distance(stepper, element, rate)
        except DivergenceError as failure:
            after = element = stats = None
            error = math.inf
            if length < 1e-11 * t1 or (step is not None and length < step / 2**12):
                raise failure_of(time, state.count, failure, checkpoint, problem, run) from failure
        if after is not None and element is not None and stats is not None and error <= rate:
            record = measure.record(element.end, float(after.time), element, stats.iterations, run.records[-1], error, rejected)
            if step is not None:
                return after, element, record, min(step, 2 * tau)
            longest = max(min(length * factor_for(error, rate, order), max_step), 1e-12 * t1)
            return after, element, record, max(longest, tau) if length < 0.5 * tau else longest
        rejected += 1
        tau = length * (0.25 if math.isinf(error) else factor_for(error, rate, order, 0.9))
        if tau < 1e-12 * t1:
            raise failure_of(time, state.count, None, checkpoint, problem, run)
