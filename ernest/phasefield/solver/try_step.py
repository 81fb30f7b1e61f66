"""Tries one step of a run, and accepts it or rejects it with a shorter length to try next."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ernest.phasefield.schemes.implicit import Implicit
from ernest.phasefield.schemes.settling import Settling
from ernest.phasefield.solver.controller import SLOW, Adaptive, Prescribed, contraction_of, error_rate, granted_rate, whole_rate
from ernest.phasefield.solver.diagnostics import Diagnostics, StepRecord, Value, greatest_rise
from ernest.phasefield.solver.forcing import ForcingError
from ernest.phasefield.solver.measurement import Measurement, measure
from ernest.phasefield.solver.scheme_selection import COARSE, FULL, IMPLICIT_SWEEPS, SPARSE
from ernest.phasefield.solver.state import AcceptedStep, RejectedStep, SolverState
from ernest.phasefield.solver.steady import (
    Accepted,
    Mode,
    first_mode,
    implicit_control,
    is_held_back,
    is_nearly_at_rest,
    mode_after,
)
from ernest.phasefield.solver.steppers import Steppers
from ernest.phasefield.stepping import DivergenceError, State, StepStats

SPECTRUM_INTERVAL = 8
"""Number of steps after which the spectrum decides anew whether sweeps on coarse grids suffice."""
MOST_MISSED = 0.5
"""Coarse sweeps whose unsettled part takes more than this share of the tolerance give way to finer ones: in the next element
where the whole error of this one is allowed and that part is within the tolerance, else in this one."""
MOST_MISSES = 2
"""How often elements whose first sweep runs on a coarse grid at most nodes may miss too much until they are given up."""
INSTANT = 1e-4
"""The share of the flow's own time in which rough fields take some dozens of elements."""
BLOW_UP = 0.02
"""With prescribed steps: a step that raises the energy by more than this fraction is halved and retried; a smaller rise is
only reported."""
MOST_ENERGY_REJECTIONS = 6
"""With adaptive steps: a step that raises the energy is rejected at most this many times in a row, then accepted."""


@dataclass(frozen=True)
class Judgement:
    """What is known of the error of one element, all per unit of time.

    `error` is the whole of it and `steering` the part that a shorter element would mend: what sweeps leave when they have settled
    is not. `missed` is the part that sweeps on coarse grids cannot settle. Each counts `caution` times. `contraction` is the
    ratio of the changes by the last two sweeps, `change` how far the field moves, as a share, and `jump` the time at which the
    forcing jumps inside.
    """

    error: float
    steering: float
    missed: float
    caution: float
    contraction: float
    size: float
    change: float
    jump: float | None


def try_step(steppers: Steppers, diagnostics: Diagnostics, current: SolverState, tau: float) -> AcceptedStep | RejectedStep:
    """Tries one step of length `tau` from `current`."""
    controller = current.controller
    try:
        after, element, stats, settling = steppers.step(current, tau)
    except DivergenceError as error:
        return RejectedStep(controller.after_rejected(tau, math.inf), error.iteration, diverged=True)
    measured = measure(steppers, diagnostics, current, element, stats)
    element = measured.element
    found = _judge(steppers, current, measured, stats, settling)
    rejected = rejection(current, tau, stats, found, steppers.tolerance)
    if rejected is not None:
        return rejected
    energy = measured.energy
    if _rises_too_much(diagnostics, current, energy):
        return RejectedStep(controller.after_rejected(tau, math.inf), stats.iterations, diverged=True)
    record = StepRecord(
        time=float(after.time),
        tau=tau,
        energy=energy,
        mass=measured.mass,
        largest=measured.largest,
        defect=diagnostics.defect(current.energy, energy, measured.dissipated) if diagnostics.dissipative else None,
        iterations=stats.iterations,
        contraction=stats.contraction,
        error=found.error,
        rejected=current.rejected,
    )
    return _state_after(steppers, current, after, measured, record, found), element, record


def _judge(
    steppers: Steppers,
    current: SolverState,
    measured: Measurement,
    stats: StepStats,
    settling: Settling | None,
) -> Judgement:
    """The estimated error of an element."""
    element = measured.element
    start, tau = float(current.state.time), float(element.tau)
    size, epsilon = measured.size, torch.finfo(element.start_modes.dtype).eps
    differences = () if current.mode.damped else stats.differences  # Newton's method ends far below the tolerance
    if isinstance(steppers.choice.scheme, Implicit):
        differences = differences[:IMPLICIT_SWEEPS]
    # At first the tolerance allows less than the round-off of the amplitude, which is granted to these few elements.
    shown = max(size, steppers.units.field) if start < INSTANT * steppers.units.time else size
    truncation, missed = measured.truncation, measured.missed
    # Without a forcing nobody asks for the degree, and so for the coefficients.
    forced = steppers.forcing.look(start, tau, element.degree, current.state.count) if steppers.flow.forcing else ForcingError()
    truncation += forced.rate
    error = error_rate(differences, truncation, tau, shown, epsilon) + missed
    settled = settling is not None and settling.ends(differences)
    steering = error_rate((), truncation, tau, shown, epsilon) + missed if settled else error
    # What is granted to round-off may be used up by a real error, which would be far too much in the next longer element.
    allowed, granted = steppers.tolerance * steppers.units.speed, granted_rate(tau, shown, epsilon)
    whole = whole_rate(() if settled else differences, truncation, tau, shown, epsilon)
    used = allowed * whole / (allowed + granted)
    contraction = contraction_of(differences, size, epsilon)
    if settling is not None and len(differences) == 1:
        contraction = current.contraction
    caution = steppers.caution(current, measured.grown) if math.isfinite(size) else current.caution
    same, jump = steppers.same_time(start + tau), forced.jump
    inside = jump is not None and start + same < jump < start + tau - same
    steering, change = max(steering, used / caution), measured.change / max(size, 1e-300)
    return Judgement(error, steering, missed, caution, contraction, size, change, jump if inside else None)


def rejection(current: SolverState, tau: float, stats: StepStats, found: Judgement, tolerance: float) -> RejectedStep | None:
    """The rejection of a step of length tau, or None where nothing speaks against it; `tolerance` is told in the flow's own
    units."""
    controller = current.controller
    if isinstance(controller, Adaptive) and found.jump is not None:
        return RejectedStep(controller, stats.iterations, found.jump)
    judged, diverges = found.caution * found.error, _diverges(stats, found.size)
    # What earlier steps have left is not for later ones where errors still grow, and near rest sweeps would only stir things up.
    sweeps = not current.mode.damped and current.mode.ringing is None
    moves = sweeps and not is_nearly_at_rest(found.change, tolerance)
    saved = current.saved / found.caution**2 if moves else 0.0
    if controller.accepts(judged, tau, saved) and not diverges and not _misses(current, found, 1.0):
        return None
    if _misses(current, found, MOST_MISSED):
        return RejectedStep(controller, stats.iterations, finer=True, settled=found.contraction <= SLOW)
    shorter = controller.after_rejected(tau, judged if math.isfinite(found.size) else math.inf)
    return RejectedStep(shorter, stats.iterations, diverged=diverges)


def _misses(current: SolverState, found: Judgement, share: float) -> bool:
    """Whether coarse sweeps leave more than this share of the tolerance of an element whose length is chosen."""
    controller = current.controller
    if not (current.level and isinstance(controller, Adaptive)):
        return False
    return found.caution * found.missed > share * controller.tolerance


def _state_after(
    steppers: Steppers,
    current: SolverState,
    after: State,
    measured: Measurement,
    record: StepRecord,
    found: Judgement,
) -> SolverState:
    """The solver's state after an accepted step: how long the next one should be, and how it is solved."""
    element, misses = measured.element, _misses(current, found, MOST_MISSED)
    # What is missed here is not in the next element, which is done on finer grids.
    judged, remaining = found.caution * (found.steering - (found.missed if misses else 0.0)), steppers.t1 - record.time
    coarse, mode = current.level > FULL, current.mode
    # An implicit element is iterated to its end: slow iterations cost time alone, and less than short elements do.
    implicit = isinstance(steppers.choice.scheme, Implicit)
    contraction = 0.0 if implicit else found.contraction
    controller = current.controller.after_accepted(record.tau, judged, contraction, remaining, coarse)
    if implicit and isinstance(controller, Adaptive):
        controller = implicit_control(controller, record.tau, element.end, after.count, steppers.problem, steppers.own_time)
    adaptive = isinstance(controller, Adaptive)
    if isinstance(controller, Adaptive) and isinstance(current.controller, Adaptive) and steppers.choice.may_add_sweeps:
        held = is_held_back(judged, found.contraction, found.change, current.controller, steppers.tolerance)
        step = Accepted(
            record,
            judged,
            lambda: element.end,
            after.count,
            current.controller,
            controller,
            held,
            lambda: steppers.residual(element),
            lambda: measured.span,
        )
        mode, controller = mode_after(mode, step, steppers.problem)
    allowed = steppers.tolerance * steppers.units.speed
    if misses:
        current = _finer(current, after.count)
    else:
        settles = current.level and found.caution * found.missed < MOST_MISSED**2 * allowed
        level, failures = _level_after(steppers, current, after, adaptive), 0 if settles else current.failures
        current = replace(current, level=level, failures=failures)
    left = allowed - found.caution * found.error if adaptive else 0.0
    stops = tuple(stop for stop in current.stops if stop - record.time > steppers.same_time(record.time))
    if stops != current.stops or mode.kind != current.mode.kind:
        # What was known of N before a jump, or with another stabilisation, is no guide to what comes after it.
        after = State(after.time, after.modes, count=after.count)
    return replace(
        current,
        state=after,
        controller=controller,
        energy=record.energy,
        contraction=found.contraction,
        caution=found.caution,
        rejected=0,
        saved=current.saved + left * record.tau,
        stops=stops,
        mode=mode,
    )


def _level_after(steppers: Steppers, current: SolverState, after: State, adaptive: bool) -> int:
    """How much of the next step runs on coarse grids: as much as in this one, but the spectrum of the field is looked at now and
    then, and after steps that are judged wherever more could be done there; not so soon after too much was missed."""
    highest = min(steppers.choice.highest, SPARSE if current.misses < MOST_MISSES else COARSE)
    could_do_more = adaptive and current.level < highest and after.count >= current.retry
    if after.count % SPECTRUM_INTERVAL and not could_do_more:
        return current.level
    level = min(steppers.level(after, adaptive), highest)
    return level if after.count >= current.retry else min(level, current.level)


def _diverges(stats: StepStats, size: float) -> bool:
    """Whether the fields are no longer finite, or the sweeps drive them apart."""
    if not math.isfinite(size):
        return True
    return (stats.contraction or 0.0) > 1 and stats.differences[-1] > 0.1 * size


def _rises_too_much(diagnostics: Diagnostics, current: SolverState, energy: Value) -> bool:
    """Whether the energy rises so much that a shorter step should be tried.

    Adaptive steps are rejected for any rise beyond round-off, prescribed ones only where the run blows up.
    """
    if not (math.isfinite(energy) if isinstance(energy, float) else np.isfinite(energy).all()):
        return True
    if not diagnostics.dissipative:
        return False
    rise = greatest_rise(current.energy, energy)
    if isinstance(current.controller, Adaptive):
        return not rise <= current.noise and current.rejected < MOST_ENERGY_REJECTIONS
    return not rise <= current.noise + BLOW_UP * float(np.abs(energy).max())


def initial_state(
    steppers: Steppers,
    diagnostics: Diagnostics,
    u0: Tensor,
    norms: tuple[Tensor, Tensor],
    controller: Adaptive | Prescribed,
    stops: tuple[float, ...] = (),
) -> tuple[SolverState, StepRecord]:
    """The solver's state and the record of the initial fields `u0` `[..., *points]`; `norms` are those of u0 and of its u_t."""
    state = steppers.stepper(steppers.choice.scheme).init(u0)
    first_energy, noise = diagnostics.energy_and_noise(u0, state.modes)
    energy, choice = first_energy.tolist(), steppers.choice
    record = StepRecord(
        time=float(state.time),
        tau=0.0,
        energy=energy,
        mass=diagnostics.mass(u0).tolist(),
        largest=diagnostics.largest(u0).tolist(),
    )
    mode = Mode(choice.stabilisation)
    if isinstance(controller, Adaptive) and choice.may_add_sweeps:
        flow, grid, own_time = steppers.flow, steppers.grid, steppers.units.time
        mode, controller = first_mode(mode, controller, norms, u0, flow, grid, own_time)
    current = SolverState(
        state,
        controller,
        energy,
        noise,
        level=steppers.level(state, isinstance(controller, Adaptive)),
        stops=stops,
        mode=mode,
    )
    return replace(current, caution=steppers.caution(current, steppers.share_grown(u0))), record


def after_rejection(current: SolverState, rejected: RejectedStep) -> SolverState:
    """The solver's state after a rejected step."""
    stops = current.stops if rejected.jump is None else (*current.stops, rejected.jump)
    mode = replace(current.mode, held=current.mode.held + rejected.diverged)
    after = replace(current, controller=rejected.controller, rejected=current.rejected + 1, stops=stops, mode=mode)
    if not rejected.finer:
        return after
    return _finer(after, current.state.count, rejected.settled)


def _finer(current: SolverState, count: int, settled: bool = True) -> SolverState:
    """The state with less on coarse grids, where too much was missed, from the run's element number `count` on."""
    # The first time one element is enough, for its successors may be shorter; then two, four, ..
    level = current.level - 1 if settled else FULL
    if current.level == SPARSE:
        return replace(current, level=level, misses=current.misses + 1, retry=count + 2**current.misses)
    return replace(current, level=level, failures=current.failures + 1, retry=count + 2**current.failures)
