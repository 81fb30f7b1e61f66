"""Solves a `VariableFlow` or `CoupledFlow` to a tolerance: what `solve` does with these flows.

Every element of degree p is solved again with degree p - 1, whose end is of order 2p - 2, and the distance of both ends bounds
the error of the run, which goes on with the better one. Between the ends an element is refined when it is asked for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ernest.phasefield.element import Element
from ernest.phasefield.evolution.elements import EnergeticElements, EnergeticStepper
from ernest.phasefield.evolution.flows import CoupledFlow, VariableFlow
from ernest.phasefield.evolution.linearised import growth
from ernest.phasefield.evolution.loop import Control, Run, march_run
from ernest.phasefield.evolution.measure import Measure
from ernest.phasefield.evolution.output import RefinedOutput
from ernest.phasefield.evolution.resume import failure_of, load, problem_of_run, save
from ernest.phasefield.evolution.step_control import distance, factor_for, first_length
from ernest.phasefield.grid import Space
from ernest.phasefield.potentials import Potential
from ernest.phasefield.solver.checkpoint import Checkpoint
from ernest.phasefield.solver.diagnostics import StepRecord
from ernest.phasefield.solver.events import Event
from ernest.phasefield.solver.failures import RunFailed
from ernest.phasefield.solver.progress import Progress
from ernest.phasefield.solver.solution import Solution
from ernest.phasefield.solver.units import Units, field_range
from ernest.phasefield.stepping import DivergenceError, State, StepStats


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
    control = Control(rate, t1, step, max_step, tuple(stops), units.time)
    choices = {"tolerance": rate, "step": step, "max_step": max_step, "stops": stops, "scheme": scheme}
    problem = cache(lambda: problem_of_run(stepper, u0, choices, stops))  # which only a checkpoint asks for
    method = VaryingMethod(stepper, control, units.field, Measure(stepper, u0), checkpoint, problem)
    first = step or min(t1, max_step, first_length(stepper, u0, rate, units, t1))
    run = Run((stepper.init(u0), first), [method.measure.record(u0, 0.0)])
    if resume and checkpoint is not None and Path(checkpoint.path).exists():
        run = load(checkpoint.path, problem(), u0, t1)
    began, output = grid.field(run.state.modes), RefinedOutput(stepper, memory) if dense else None

    def solution() -> Solution:
        last = grid.field(run.state.modes)
        return Solution(flow, grid, scheme, began, last, tuple(run.records), tuple(run.occurrences), output, units)  # pyright: ignore[reportArgumentType]

    keep = (lambda: save(checkpoint.path, problem(), run)) if checkpoint else lambda: None
    return march_run(method, run, events, output, progress, solution, checkpoint, keep)


@dataclass(frozen=True)
class VaryingMethod:
    """Elements of these flows, judged by those of one degree less."""

    stepper: EnergeticStepper
    control: Control
    amplitude: float
    measure: Measure
    checkpoint: Checkpoint | None
    problem: Callable[[], dict[str, str]]

    @property
    def order(self) -> int:
        """That of the ends of elements of one degree less."""
        return max(2 * self.stepper.scheme.degree - 2, 1)

    def step(self, state: State, tau: float) -> tuple[State, Element, StepStats]:
        return self.stepper.step(state, tau)

    def error(self, element: Element) -> float:
        return distance(self.stepper, element, self.control.rate, self.amplitude)

    def longer(self, length: float, error: float) -> float:
        return max(length * factor_for(error, self.control.rate, self.order), self.control.shortest)

    def record(self, element: Element, stats: StepStats, before: StepRecord, error: float, rejected: int) -> StepRecord:
        end = float(element.time) + float(element.tau)
        return self.measure.record(element.end, end, element, stats.iterations, before, error, rejected)

    def failure(self, run: Run, length: float, failure: DivergenceError | None) -> RunFailed:
        return failure_of(run, length, failure, self.checkpoint, self.problem())


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
    """`own_units` of these flows."""
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
