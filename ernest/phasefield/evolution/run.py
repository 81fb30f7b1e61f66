"""Solves a `VariableFlow` or `CoupledFlow` to a tolerance: what `solve` does with these flows.

Every element of degree p is solved again with degree p - 1, whose end is of order 2p - 2, and the distance of both ends bounds
the error of the run, which goes on with the better one. Between the ends an element is refined when it is asked for.
"""

import hashlib
import math
import tempfile
import time as clock
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ernest.phasefield.element import Element
from ernest.phasefield.evolution.elements import EnergeticElements, EnergeticStepper
from ernest.phasefield.evolution.flows import CoupledFlow, VariableFlow
from ernest.phasefield.grid import Space
from ernest.phasefield.potentials import Potential
from ernest.phasefield.solver.checkpoint import Checkpoint, check_ahead, check_problem, load_run, save_run
from ernest.phasefield.solver.diagnostics import StepRecord
from ernest.phasefield.solver.events import Event, EventOccurrence, find_events
from ernest.phasefield.solver.progress import Progress, progress_bar
from ernest.phasefield.solver.solution import DenseOutput, Solution
from ernest.phasefield.solver.units import Units
from ernest.phasefield.stepping import DivergenceError, State

SAFETY, LEAST_FACTOR, MOST_FACTOR = 0.9, 0.2, 2.0


class RefinedOutput(DenseOutput):
    """The elements of a run, refined by their own stepper."""

    def __init__(self, stepper: EnergeticStepper, memory: float) -> None:
        super().__init__(stepper, memory)  # pyright: ignore[reportArgumentType]
        self._stepper = stepper

    def covering(self, time: float) -> Element:
        """The element that `time` lies in, as exact between its ends as there."""
        index = self._index(time)
        return self._refined.get(index, lambda: self._stepper.refined(self._element(index)))


@dataclass
class Run:
    """What a run has done so far."""

    state: State
    tau: float
    records: list[StepRecord]
    occurrences: list[EventOccurrence] = field(default_factory=list)


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
    units = units or evolution_units(stepper, u0, t1)
    rate = tolerance * units.speed if absolute_tolerance is None else absolute_tolerance
    least = 100 * torch.finfo(u0.dtype).eps
    if not least <= rate / units.speed < 1:
        raise ValueError(f"tolerance: expected {least:.1e} (the round-off of {u0.dtype}) to 1, got {rate / units.speed:.1e}")
    problem = _problem(stepper, u0, {"tolerance": rate, "step": step, "max_step": max_step, "stops": stops, "scheme": scheme})
    measure = Measure(stepper, u0)
    first = step or min(t1, max_step, _first_length(stepper, u0, rate, units, t1))
    run = Run(stepper.init(u0), first, [measure.record(u0, 0.0)])
    if resume and checkpoint is not None and Path(checkpoint.path).exists():
        run = _load(checkpoint.path, problem, u0, t1)
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
                found = _events(events, stepper, element)
                last = next((each for each in found if _terminal(events, each.name)), None)
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
                    _save(checkpoint.path, problem, run)
                    saved, saved_at = state.count, clock.monotonic()
        except KeyboardInterrupt as stop:
            from ernest.phasefield.solver.solve import RunInterrupted

            if len(run.records) < 2:
                raise
            if checkpoint:
                _save(checkpoint.path, problem, run)
            raise RunInterrupted(solution(), t1, Path(checkpoint.path) if checkpoint else None) from stop
    if checkpoint:
        _save(checkpoint.path, problem, run)
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


def evolution_units(stepper: EnergeticStepper, u0: Tensor, span: float) -> Units:
    """The flow's own time, by the fastest wave that grows about fields like u0, and half the range of the widest field."""
    fields = u0.unsqueeze(-1 - stepper.grid.dimensions) if stepper.single else u0
    growth = stepper.operators.growth(fields)
    axes = tuple(range(-stepper.grid.dimensions, 0))
    amplitude = float((fields.amax(axes) - fields.amin(axes)).max()) / 2
    if isinstance(stepper.operators.flow.potential, Potential):
        from ernest.phasefield.solver.units import _range

        low, high = _range(stepper.operators.flow.potential, u0)
        amplitude = (high - low) / 2
    return Units(1 / growth if growth > 0 else span, amplitude or float(u0.abs().max()) or 1.0)


def _first_length(stepper: EnergeticStepper, u0: Tensor, rate: float, units: Units, t1: float) -> float:
    """A length in which the fields change by a small share, to begin with; what is wrong with it is found by the estimate."""
    _, element, _ = _tried(stepper, stepper.init(u0), min(1e-6 * units.time, t1))
    speed = float(stepper.grid.norm(element.end_modes - element.start_modes).max()) / float(element.tau)
    share = min((rate / units.speed) ** (1 / (2 * stepper.scheme.degree - 1)), 0.1)
    return max(share * units.field / speed if speed > 0 else t1, 1e-9 * t1)


def _tried(stepper: EnergeticStepper, state: State, tau: float) -> tuple[State, Element, Any]:
    """A step, shorter where sweeps diverge; DivergenceError where none works."""
    for _ in range(40):
        try:
            return stepper.step(state, tau)
        except DivergenceError:
            tau /= 4
    return stepper.step(state, tau)


def _accepted(
    stepper: EnergeticStepper,
    measure: "Measure",
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
        left = min((stop for stop in (*stops, t1) if stop > time * (1 + 1e-12)), default=t1) - time
        length = _next_length(tau, left, step is not None)
        try:
            after, element, stats = stepper.step(state, length)
            error = 0.0 if step is not None else _distance(stepper, element, rate)
        except DivergenceError as failure:
            after = element = stats = None
            error = math.inf
            if length < 1e-11 * t1 or (step is not None and length < step / 2**12):
                raise _failure(time, state.count, failure, checkpoint, problem, run) from failure
        if after is not None and element is not None and stats is not None and error <= rate:
            record = measure.record(element.end, float(after.time), element, stats.iterations, run.records[-1], error, rejected)
            if step is not None:
                return after, element, record, min(step, 2 * tau)
            factor = SAFETY * (rate / max(error, 1e-300)) ** (1 / order)
            longest = max(min(length * min(max(factor, LEAST_FACTOR), MOST_FACTOR), max_step), 1e-12 * t1)
            return after, element, record, max(longest, tau) if length < 0.5 * tau else longest
        rejected += 1
        factor = 0.25 if math.isinf(error) else min(max(SAFETY * (rate / error) ** (1 / order), LEAST_FACTOR), 0.9)
        tau = length * factor
        if tau < 1e-12 * t1:
            raise _failure(time, state.count, None, checkpoint, problem, run)


def _next_length(tau: float, left: float, prescribed: bool) -> float:
    """The length of the next element where so much is `left` to a time that one has to end at."""
    if prescribed:
        return left if left < tau * (1 - 1e-9) else tau
    return left if left < 1.0001 * tau else left / 2 if left < 1.8 * tau else tau


def _distance(stepper: EnergeticStepper, element: Element, rate: float) -> float:
    """How far the end of the element of one degree less lies, per unit of time; 0 where that is round-off."""
    d, grid, tau = stepper.grid.dimensions, stepper.grid, float(element.tau)
    p, dissipated = element.degree, stepper.dissipated
    start, c = element.start_modes, element.coefficients
    if stepper.single:
        start, c = start.unsqueeze(-1 - d), c.unsqueeze(-2 - d)
    size = max(float(grid.norm(start).max()), 1e-300)
    enough = max(0.02 * rate * tau / size, stepper.scheme.tolerance)
    lower, _ = stepper.solve(start, c.narrow(-1 - d, 0, p - 1), float(element.time), tau, p - 1, enough=enough)
    stepper.dissipated = dissipated
    distance = 2 * float(grid.norm(lower.select(-1 - d, 0) - c.select(-1 - d, 0)).max())
    return 0.0 if distance < 100 * torch.finfo(start.real.dtype).eps * size else distance / tau


class Measure:
    """Measures the fields of a run at the ends of its steps."""

    def __init__(self, stepper: EnergeticStepper, u0: Tensor) -> None:
        self._stepper, self._grid, self._d = stepper, stepper.grid, stepper.grid.dimensions
        self.dissipative = stepper.operators.dissipative(self._nodes(u0))

    def _nodes(self, u: Tensor) -> Tensor:
        return (u.unsqueeze(-1 - self._d) if self._stepper.single else u).unsqueeze(-1 - self._d)

    def record(
        self,
        u: Tensor,
        time: float,
        element: Element | None = None,
        iterations: int = 0,
        before: StepRecord | None = None,
        error: float = 0.0,
        rejected: int = 0,
    ) -> StepRecord:
        """The record of fields u, at the end of an element."""
        at = torch.tensor([time], dtype=u.dtype, device=u.device)
        energy, defect = self._stepper.operators.energy(self._nodes(u), at).squeeze(-1), None
        if element is not None and before is not None and self.dissipative:
            past = torch.as_tensor(before.energy, dtype=u.dtype, device=u.device)
            defect = (energy - past + self._stepper.dissipated).tolist()
        largest = u.abs().amax(tuple(range(-self._d, 0)))
        return StepRecord(
            time=time,
            tau=float(element.tau) if element is not None else 0.0,
            energy=energy.tolist(),
            mass=self._grid.integral(u).tolist(),
            largest=largest.tolist(),
            defect=defect,
            iterations=iterations,
            error=error,
            rejected=rejected,
        )


def _events(events: tuple[Event, ...], stepper: EnergeticStepper, element: Element) -> list[EventOccurrence]:
    found = find_events(events, element)
    if not found:
        return found
    names = {each.name for each in found}
    return find_events([event for event in events if event.name in names], stepper.refined(element))


def _terminal(events: tuple[Event, ...], name: str) -> bool:
    return any(event.terminal and event.name == name for event in events)


def _failure(
    time: float, count: int, failure: Any, checkpoint: Checkpoint | None, problem: dict[str, str], run: Run
) -> Exception:
    from ernest.phasefield.solver.solve import RunFailed, failed_path

    beside = Path(checkpoint.path) if checkpoint else Path(tempfile.mkdtemp(prefix="phasefield-")) / "run.safetensors"
    path = failed_path(beside)
    _save(path, problem, run)
    return RunFailed(time, count + 1, getattr(failure, "iteration", 0), getattr(failure, "tau", run.tau), path)


def _problem(stepper: EnergeticStepper, u0: Tensor, choices: dict[str, Any]) -> dict[str, str]:
    """Digests of all that decides the steps of a run."""
    operators, d = stepper.operators, stepper.grid.dimensions
    nodes = (u0.unsqueeze(-1 - d) if stepper.single else u0).unsqueeze(-1 - d)
    digest = hashlib.sha256()
    for time in (0.0, 1 / math.pi):
        at = torch.tensor([time], dtype=u0.dtype, device=u0.device)
        mu = operators.variation(nodes, stepper.grid.modes(nodes), at)
        forced = operators.forcing(at, nodes)
        for tensor in (mu, operators.rate(stepper.grid.field(mu), nodes, at), *([] if forced is None else [forced])):
            digest.update(tensor.detach().cpu().resolve_conj().numpy().tobytes())
    start = hashlib.sha256(u0.detach().cpu().contiguous().numpy().tobytes()).hexdigest()[:16]
    noise = repr(operators.flow.noise)
    return {"grid": repr(stepper.grid), "flow": digest.hexdigest()[:16], "noise": noise, "u0": start} | {
        name: repr(value) for name, value in choices.items()
    }


def _save(path: Path | str, problem: dict[str, str], run: Run) -> None:
    history = {"records": [asdict(record) for record in run.records], "occurrences": [asdict(each) for each in run.occurrences]}
    save_run(path, run.state, {"problem": problem, "tau": run.tau}, history)


def _load(path: Path | str, problem: dict[str, str], u0: Tensor, t1: float) -> Run:
    state, facts, history = load_run(path, u0.device)
    check_problem(path, facts["problem"], problem)
    check_ahead(path, state, t1)
    records = [StepRecord(**record) for record in history["records"]]
    return Run(state, facts["tau"], records, [EventOccurrence(**each) for each in history["occurrences"]])
