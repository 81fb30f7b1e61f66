"""Solves a dynamical system from an initial state to an end time, choosing the steps for a tolerance."""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ernest.phasefield.element import Element
from ernest.phasefield.evolution.loop import Control, Run, march_run
from ernest.phasefield.evolution.output import RefinedOutput
from ernest.phasefield.evolution.step_control import factor_for
from ernest.phasefield.gradients import outside_inference_mode, plain
from ernest.phasefield.numeric import end_time, number, number_or_none
from ernest.phasefield.solver.checkpoint import save_run
from ernest.phasefield.solver.diagnostics import StepRecord
from ernest.phasefield.solver.events import Event, check_events, events_of, may_end
from ernest.phasefield.solver.failures import RunFailed
from ernest.phasefield.solver.given import check_times, check_units
from ernest.phasefield.solver.progress import Progress
from ernest.phasefield.solver.solution import Solution
from ernest.phasefield.solver.units import Units
from ernest.phasefield.stepping import DivergenceError, State, StepStats
from ernest.phasefield.systems.elements import Norm, SystemElements
from ernest.phasefield.systems.stepper import SystemStepper
from ernest.phasefield.systems.system import DynamicalSystem

LONGER = 4.0
"""Most by which an element is longer than the one before."""
KEPT = 1.3
"""Lengths that would grow by less than this stay, and with them the factors of the linear systems."""
SOLVED = 0.01
"""Share of what a step may err by that Newton's method may leave."""


@outside_inference_mode
def solve_system(
    system: DynamicalSystem,
    u0: Tensor,
    t1: float,
    tolerance: float = 1e-6,
    *,
    units: Units | None = None,
    sizes: Tensor | None = None,
    step: float | None = None,
    max_step: float = math.inf,
    stops: Sequence[float] = (),
    scheme: SystemElements | None = None,
    events: Event | Sequence[Event] = (),
    dense: bool = True,
    memory: float = 4e9,
    progress: Progress = False,
) -> Solution:
    """Solves u_t = f(t, u) from the state `u0` `[n]` at time 0 to the time `t1`, by energetic elements of order 2p.

    The steps are chosen such that what they add to the error, as the root of the mean square over the unknowns, stays below
    `tolerance` times the greatest size that u has had, over the whole run, in even shares over time; a system that amplifies
    its errors amplifies these. `units` tell the tolerance otherwise: it is what the error may grow by, in `units.field`, in every
    `units.time` that passes. With `sizes` `[n]` each unknown is taken as a share of its own. With `step` the steps have that
    length.

    Degree, quadrature and damping are those of `scheme`; without, undamped elements of degree 3 to 5, by the tolerance.
    Elements are solved by Newton's method, to a hundredth of what they may err by; df/du and its factors are kept for as many
    elements as they serve. At the times `stops` elements end exactly: name there where f jumps in time.

    The solution can be evaluated at any time, as exactly as at the ends of the steps, and finds `events` there; beyond `memory`
    bytes its oldest elements are kept in temporary files, and with `dense=False` only both ends are kept. `progress` tells on
    stderr how far the run is; a function is called with the record of every step instead.

    Raises ValueError for input that does not fit together, RunFailed where no step length works, and RunInterrupted, which
    holds what was done, when the run is interrupted.
    """
    u0 = plain(u0)
    t1, tolerance, max_step = end_time(t1), number("tolerance", tolerance), number("max_step", max_step)
    step, sizes = number_or_none("step", step), None if sizes is None else _sizes(sizes, u0)
    events = events_of(events)
    stops = check_times(t1, step, max_step, stops, may_end(events))
    check_units(units)
    if not isinstance(system, DynamicalSystem):
        raise ValueError(f"system: expected DynamicalSystem(rate), got {system!r}")
    system.check_state(u0)
    scheme = scheme or SystemElements(3 if tolerance > 1e-4 else 4 if tolerance > 1e-8 else 5)
    _check(u0, t1, tolerance, step, scheme)
    stepper = SystemStepper(system, scheme, u0, _norm(sizes))
    fixed, units = units is not None, units or Units(t1, _size(stepper, u0, t1))
    check_events(events, stepper.grid, u0)
    control = Control(tolerance * units.speed, t1, step, max_step, stops)
    method = SystemMethod(stepper, control, 0.0 if fixed else tolerance / t1)
    first = step or _first_length(stepper, u0, control)
    control.own_time = first
    run = Run((stepper.init(u0), first), [_record(stepper, u0, 0.0)])
    output, began = RefinedOutput(stepper, memory) if dense else None, u0.clone()

    def solution() -> Solution:
        method.look_at(run.state)
        last, records, occurrences = run.state.modes, tuple(run.records), tuple(run.occurrences)
        told = units if fixed else Units(t1, control.rate * t1 / tolerance)
        return Solution(system, stepper.grid, scheme, began, last, records, occurrences, output, told)  # pyright: ignore[reportArgumentType]

    return march_run(method, run, events, output, progress, solution)


@dataclass(frozen=True)
class SystemMethod:
    """Elements of a system. What they may err by per unit of time is `share` of the greatest size of u so far, at least."""

    stepper: SystemStepper
    control: Control
    share: float

    @property
    def order(self) -> int:
        return self.stepper.scheme.order

    def look_at(self, state: State) -> None:
        """Takes note of the size of u, and of a time at which f may jump."""
        self.control.rate = max(self.control.rate, self.share * self.stepper.norm(state.modes[None]))
        if any(math.isclose(float(state.time), stop, rel_tol=1e-12) for stop in self.control.stops):
            self.stepper.forget_slope()

    def step(self, state: State, tau: float) -> tuple[State, Element, StepStats]:
        self.look_at(state)
        return self.stepper.step(state, tau, self._goal(tau, state.modes))

    def _goal(self, tau: float, u: Tensor) -> float:
        """What Newton's method may leave of the equations of an element."""
        if self.stepper.scheme.accuracy is not None:
            return self.stepper.scheme.accuracy * self.stepper.norm(u[None])
        return 0.0 if self.control.step is not None else SOLVED * self.control.rate * tau

    def error(self, element: Element) -> float:
        return self.stepper.error(element) / float(element.tau)

    def longer(self, length: float, error: float) -> float:
        factor = factor_for(error, self.control.rate, self.order, LONGER)
        return length * (1.0 if 1 <= factor < KEPT else factor)

    def record(self, element: Element, stats: StepStats, before: StepRecord, error: float, rejected: int) -> StepRecord:
        end = float(element.time) + float(element.tau)
        return _record(self.stepper, element.end, end, element, stats, error, rejected)

    def failure(self, run: Run, length: float, failure: DivergenceError | None) -> RunFailed:
        path = Path(tempfile.mkdtemp(prefix="phasefield-")) / "run-failed.safetensors"
        save_run(path, run.state, {}, {})
        return RunFailed(float(run.state.time), run.state.count + 1, failure.iteration if failure else 0, length, path)


def _sizes(sizes: Any, u0: Any) -> Tensor:
    """Sizes as numbers of u0's type. Raises ValueError for what is none, or not one for each unknown."""
    try:
        found = torch.as_tensor(sizes, dtype=u0.dtype, device=u0.device)
    except (TypeError, ValueError, RuntimeError, AttributeError):
        found = None
    if found is None or found.shape != u0.shape or not bool((found > 0).all()):
        got = sizes if found is None else list(found.shape) if found.shape != u0.shape else found.tolist()
        raise ValueError(f"sizes: expected positive numbers {list(u0.shape)}, one for each unknown, got {got}")
    return found


def _check(u0: Tensor, t1: float, tolerance: float, step: float | None, scheme: SystemElements) -> None:
    least = 100 * torch.finfo(u0.dtype).eps
    if not 0 < t1 < math.inf:
        raise ValueError(f"t1: expected a time after 0, got {t1}")
    if not least <= tolerance < 1:
        raise ValueError(f"tolerance: expected {least:.1e} (the round-off of {u0.dtype}) to 1, got {tolerance}")
    if step is not None and not 0 < step <= t1:
        raise ValueError(f"step: expected a length between 0 and t1 = {t1}, got {step}")
    if not isinstance(scheme, SystemElements):
        raise ValueError(f"scheme: a DynamicalSystem is solved by SystemElements, got {scheme!r}")
    if step is None and scheme.degree < 2:
        raise ValueError("scheme degree: expected 2 or more where steps are chosen, or give step=")


def _size(stepper: SystemStepper, u0: Tensor, t1: float) -> float:
    """The size of u0, or, where that is zero, of what f would make of it by t1."""
    return stepper.norm(u0[None]) or t1 * stepper.norm(stepper.slope(0.0, u0)[None]) or 1.0


def _norm(sizes: Tensor | None) -> Norm:
    """The greatest root of the mean square of vectors `[m, n]`, as shares of the sizes of the unknowns."""
    if sizes is None:
        return lambda vectors: float(torch.linalg.vector_norm(vectors, dim=-1).max()) / math.sqrt(vectors.shape[-1])
    return lambda vectors: float((vectors / sizes).square().mean(-1).sqrt().max())


def _first_length(stepper: SystemStepper, u0: Tensor, control: Control) -> float:
    """A length in which f changes u, and itself, by no more than a small share, as far as two evaluations tell."""
    rate = stepper.slope(0.0, u0)
    speed, size = stepper.norm(rate[None]), max(stepper.norm(u0[None]), control.rate * control.t1)
    trial = min(0.01 * size / speed if speed > 0 else 1e-6 * control.t1, control.t1)
    moved = stepper.system.rate(u0.new_tensor([trial]), u0 + trial * rate)
    turning = stepper.norm((moved - rate)[None]) / trial
    share = min((control.rate * control.t1 / size) ** (1 / (stepper.scheme.order + 1)), 0.1)
    lengths = [share * size / speed if speed > 0 else math.inf, share * math.sqrt(size / turning) if turning > 0 else math.inf]
    return min(*lengths, control.max_step, control.t1)


def _record(
    stepper: SystemStepper,
    u: Tensor,
    time: float,
    element: Element | None = None,
    stats: StepStats | None = None,
    error: float = 0.0,
    rejected: int = 0,
) -> StepRecord:
    invariant = stepper.system.invariant
    return StepRecord(
        time=time,
        tau=float(element.tau) if element is not None else 0.0,
        energy=math.nan if invariant is None else float(invariant(u)),
        mass=float(u.sum()),
        largest=float(u.abs().max()),
        iterations=stats.iterations if stats is not None else 0,
        error=error,
        rejected=rejected,
    )
