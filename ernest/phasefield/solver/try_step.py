"""Tries one step of a run, and accepts it or rejects it with a shorter length to try next."""

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ernest.phasefield.compiled.stepper import FusibleScheme, is_fusible, make_fused
from ernest.phasefield.compiled.workspace import Workspace, make_workspace
from ernest.phasefield.element import Element
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.schemes.coarse import CoarseGaussSeidel
from ernest.phasefield.schemes.exponential import ExponentialElements
from ernest.phasefield.schemes.gaussseidel import GaussSeidel
from ernest.phasefield.schemes.implicit import Implicit
from ernest.phasefield.schemes.splitting import split
from ernest.phasefield.solver.controller import SLOW, Adaptive, Prescribed, contraction_of, error_rate
from ernest.phasefield.solver.diagnostics import Diagnostics, StepRecord, Value
from ernest.phasefield.solver.error_estimate import Truncation, span_of
from ernest.phasefield.solver.forcing import ForcingEstimate
from ernest.phasefield.solver.scheme_selection import IMPLICIT_SWEEPS, SchemeChoice, use_coarse
from ernest.phasefield.solver.steady import Mode, first_mode, is_held_back, mode_after
from ernest.phasefield.solver.stiff import damped_error_rate, exponential_error_rate
from ernest.phasefield.solver.units import Units, share_grown, unstable_state
from ernest.phasefield.stepping import DivergenceError, Scheme, State, Stepper, StepStats

MOST_EXTRA_SWEEPS = 2
SPECTRUM_INTERVAL = 8
"""Number of steps after which the spectrum decides anew whether sweeps on coarse grids suffice."""
CAUTION_AT_START = 10.0
"""The error of the first element counts so many times: what is allowed grows from nothing in it, also between its ends."""
MOST_MISSED = 0.5
"""Coarse sweeps whose unsettled part takes more than this share of the tolerance give way to full ones."""
INSTANT = 1e-4
"""The share of the flow's own time in which rough fields take some dozens of elements."""
BLOW_UP = 0.02
"""With prescribed steps: a step that raises the energy by more than this fraction is halved and retried; a smaller rise is
only reported."""
SAME_TIME = 1e-11
"""Times nearer to each other than this share of the flow's own time, or of the run if that is shorter, are one."""
MOST_ENERGY_REJECTIONS = 6
"""With adaptive steps: a step that raises the energy is rejected at most this many times in a row, then accepted."""


@dataclass(frozen=True)
class SolverState:
    """State of the solver between two steps; with the `History` of the run it is all that a checkpoint holds.

    `energy` is that of the fields in `state`, and `noise` the rise of the energy that counts as round-off. `extra_sweeps` are
    added because the iteration contracts slowly, `coarse` tells whether sweeps run on coarse grids, and `rejected` counts the
    steps rejected since the last accepted one. At the times `stops`, those of the user and jumps that were found, elements end.
    """

    state: State
    controller: Adaptive | Prescribed
    energy: Value
    noise: float
    extra_sweeps: int = 0
    coarse: bool = False
    rejected: int = 0
    stops: tuple[float, ...] = ()
    mode: Mode = field(default_factory=lambda: Mode(0.0))


@dataclass(frozen=True)
class RejectedStep:
    """A rejected step: the controller with a shorter length, and the iteration that failed. Where it was rejected because the
    forcing jumps inside, the length stays, and the next step ends at the `jump`. `diverged` tells that the sweeps failed. With
    `full` the step is to be tried again with full sweeps, since coarse ones miss too much.
    """

    controller: Adaptive | Prescribed
    iteration: int
    jump: float | None = None
    diverged: bool = False
    full: bool = False


AcceptedStep = tuple[SolverState, Element, StepRecord]
"""The state after a step, its element and its record."""


class Steppers:
    """The steppers of one run, one for each scheme, made when the scheme is first used."""

    def __init__(
        self, choice: SchemeChoice, flow: Flow, grid: Space, u0: Tensor, t1: float, tolerance: float, units: Units
    ) -> None:
        self.choice, self.flow, self.grid, self._like = choice, flow, grid, u0
        self.t1, self.tolerance, self.units = t1, tolerance, units
        self.splitting = split(flow, grid, choice.stabilisation, u0)
        self.forcing = ForcingEstimate(flow, grid, choice.stabilisation, u0, t1, tolerance * units.speed)
        self._unstable_state = unstable_state(flow, grid, u0)
        self._steppers: dict[Scheme, Stepper] = {}
        self._fits = u0.ndim == grid.dimensions and u0.dtype == torch.float64 and u0.is_cpu
        self._workspaces: dict[float | None, Workspace | None] = {}
        self._truncations: dict[float, Truncation] = {}

    def scheme(self, current: SolverState) -> Scheme:
        """The scheme of the next step."""
        controller = current.controller
        if isinstance(controller, Prescribed) and controller.exponential and controller.graded:
            return ExponentialElements(stabilisation=self.choice.stabilisation)
        special = current.mode.scheme(self.tolerance, self.units, torch.finfo(self._like.dtype).eps)
        if special is not None:
            return special
        scheme = self.choice.scheme_for(current.coarse, current.extra_sweeps)
        if current.mode.stabilisation == self.choice.stabilisation:
            return scheme
        assert isinstance(scheme, GaussSeidel | CoarseGaussSeidel)
        return replace(scheme, stabilisation=current.mode.stabilisation)

    def stepper(self, scheme: Scheme) -> Stepper:
        """The compiled stepper where there is one for the problem, else the scheme's own."""
        if scheme not in self._steppers:
            fused = self._fused(scheme) if self._fits and is_fusible(scheme) else None
            self._steppers[scheme] = fused or scheme.stepper(self.flow, self.grid, self._like)
        return self._steppers[scheme]

    def _fused(self, scheme: FusibleScheme) -> Stepper | None:
        """The compiled stepper; those with one stabilisation share their memory. None if the problem is not for them."""
        S = scheme.stabilisation
        if S not in self._workspaces:
            self._workspaces[S] = make_workspace(self.flow, self.grid, S, 1)
        workspace = self._workspaces[S]
        return None if workspace is None else make_fused(scheme, workspace)

    def truncation(self, mode: Mode) -> Truncation:
        """The estimate for the sweeps' elements with the mode's stabilisation."""
        S = mode.stabilisation
        if S not in self._truncations:
            self._truncations[S] = Truncation(self.flow, self.grid, S, self._like, self.units.time)
        return self._truncations[S]

    def error_of(self, current: SolverState, element: Element, diagnostics: Diagnostics) -> float:
        """The estimated error per unit time that the element's polynomial cannot follow."""
        if current.mode.damped:
            return damped_error_rate(element, self.flow)
        if current.mode.ringing is not None:
            span = span_of(float(element.time), self.units.time)
            return exponential_error_rate(element, self.flow, current.mode.stabilisation, span)
        return self.truncation(current.mode).rate(element, diagnostics)

    def caution(self, current: SolverState, u: Tensor) -> float:
        """How many times the error of a step to the fields u counts: what it may still grow by, at most exp(time / own time)."""
        remaining = (self.t1 - float(current.state.time)) / self.units.time
        growth = 1 / share_grown(u, self._unstable_state, self.grid, self.units.field)
        return min(growth, math.exp(min(remaining, 10.0))) * (1 if current.state.count else CAUTION_AT_START)

    def same_time(self, time: float) -> float:
        """Times nearer to this one are the same: what is short for the flow and for the run, or is round-off."""
        return SAME_TIME * min(self.units.time, self.t1) + 8 * math.ulp(time)

    def until_stop(self, current: SolverState) -> float:
        """How long it is to the next time that an element has to end at: a stop, or the end of the run."""
        time, last = float(current.state.time), self.t1 - self.same_time(self.t1)
        ahead = [stop - time for stop in current.stops if stop - time > self.same_time(time) and stop < last]
        return min([*ahead, self.t1 - time])

    def use_coarse(self, state: State) -> bool:
        """Whether the steps from here on sweep on coarse grids."""
        return use_coarse(self.choice, state.modes, self.grid, self.tolerance * self.units.field)


def try_step(steppers: Steppers, diagnostics: Diagnostics, current: SolverState, tau: float) -> AcceptedStep | RejectedStep:
    """Tries one step of length `tau` from `current`."""
    controller = current.controller
    scheme = steppers.scheme(current)
    try:
        after, element, stats = steppers.stepper(scheme).step(current.state, tau)
    except DivergenceError as error:
        return RejectedStep(controller.after_rejected(tau, math.inf), error.iteration, diverged=True)
    size, epsilon = diagnostics.norm(after.modes), torch.finfo(element.start_modes.dtype).eps
    differences = stats.differences[:IMPLICIT_SWEEPS] if isinstance(scheme, Implicit) else stats.differences
    special = current.mode.damped or current.mode.ringing is not None
    if current.mode.damped:
        differences = ()  # Newton's method ends far below the tolerance
    start = float(current.state.time)
    # At first the tolerance allows less than the round-off of the amplitude, which is granted to these few elements.
    shown = max(size, steppers.units.field) if start < INSTANT * steppers.units.time else size
    error = error_rate(differences, steppers.error_of(current, element, diagnostics), tau, shown, epsilon)
    forced = steppers.forcing.look(start, tau, element.degree, current.state.count)
    same = steppers.same_time(start + tau)
    if isinstance(controller, Adaptive) and forced.jump is not None and start + same < forced.jump < start + tau - same:
        return RejectedStep(controller, stats.iterations, forced.jump)
    missed = _missed_by_coarse_sweeps(steppers, diagnostics, current, element, stats)
    caution = steppers.caution(current, element.end)
    if current.coarse and isinstance(controller, Adaptive) and caution * missed > MOST_MISSED * controller.tolerance:
        return RejectedStep(controller, stats.iterations, full=True)
    error += missed + forced.rate
    judged = caution * error
    if not controller.accepts(judged) or _diverges(stats, size):
        shorter = controller.after_rejected(tau, judged if math.isfinite(size) else math.inf)
        return RejectedStep(shorter, stats.iterations, diverged=_diverges(stats, size))
    energy = diagnostics.energy(element.end, after.modes)
    if _rises_too_much(diagnostics, current, energy):
        return RejectedStep(controller.after_rejected(tau, math.inf), stats.iterations, diverged=True)
    record = StepRecord(
        time=float(after.time),
        tau=tau,
        energy=energy.tolist(),
        mass=diagnostics.mass(element.end).tolist(),
        largest=diagnostics.largest(element.end).tolist(),
        defect=diagnostics.defect(element, current.energy, energy),
        iterations=stats.iterations,
        contraction=stats.contraction,
        error=error,
        rejected=current.rejected,
    )
    contraction = contraction_of(differences, size, epsilon)
    adds_sweeps = steppers.choice.may_add_sweeps and current.state.has_history
    extra = _extra_sweeps(current.extra_sweeps, contraction) if adds_sweeps and not special else 0
    coarse = steppers.use_coarse(after) if after.count % SPECTRUM_INTERVAL == 0 else current.coarse
    controller, mode = controller.after_accepted(tau, judged, contraction), current.mode
    if isinstance(controller, Adaptive) and isinstance(current.controller, Adaptive) and steppers.choice.may_add_sweeps:
        change = diagnostics.norm(after.modes - element.start_modes) / max(size, 1e-300)
        held = is_held_back(judged, contraction, change, current.controller, steppers.tolerance)
        problem = (element.end, steppers.flow, steppers.grid, steppers.units.time, steppers.tolerance)
        order, before = steppers.choice.order, current.controller
        mode, controller = mode_after(mode, held, record, judged, before, controller, order, after.count, *problem)
    stops = tuple(stop for stop in current.stops if stop - record.time > steppers.same_time(record.time))
    if stops != current.stops or mode.kind != current.mode.kind:
        # What was known of N before a jump, or with another stabilisation, is no guide to what comes after it.
        after, extra = State(after.time, after.modes, count=after.count), 0
    return SolverState(after, controller, record.energy, current.noise, extra, coarse, stops=stops, mode=mode), element, record


def _missed_by_coarse_sweeps(
    steppers: Steppers, diagnostics: Diagnostics, current: SolverState, element: Element, stats: StepStats
) -> float:
    """The rate of the error by what the sweeps on coarse grids miss; prescribed steps do not ask for it."""
    if stats.unsettled is None or isinstance(current.controller, Prescribed):
        return 0.0
    return steppers.truncation(current.mode).unsettled_rate(element, stats.unsettled(), diagnostics)


def _diverges(stats: StepStats, size: float) -> bool:
    """Whether the fields are no longer finite, or the sweeps drive them apart."""
    if not math.isfinite(size):
        return True
    return (stats.contraction or 0.0) > 1 and stats.differences[-1] > 0.1 * size


def _rises_too_much(diagnostics: Diagnostics, current: SolverState, energy: Tensor) -> bool:
    """Whether the energy rises so much that a shorter step should be tried.

    Adaptive steps are rejected for any rise beyond round-off, prescribed ones only where the run blows up.
    """
    if not bool(torch.isfinite(energy).all()):
        return True
    if not diagnostics.dissipative:
        return False
    rise = float((energy - torch.as_tensor(current.energy, dtype=energy.dtype, device=energy.device)).max())
    if isinstance(current.controller, Adaptive):
        return not rise <= current.noise and current.rejected < MOST_ENERGY_REJECTIONS
    return not rise <= current.noise + BLOW_UP * float(energy.abs().max())


def _extra_sweeps(extra: int, contraction: float) -> int:
    """One sweep more where the last one still left half of the change, one fewer where it left next to nothing."""
    if contraction > SLOW:
        return min(extra + 1, MOST_EXTRA_SWEEPS)
    return max(extra - 1, 0) if contraction < 0.05 else extra


def initial_state(
    steppers: Steppers,
    diagnostics: Diagnostics,
    u0: Tensor,
    controller: Adaptive | Prescribed,
    stops: tuple[float, ...] = (),
) -> tuple[SolverState, StepRecord]:
    """The solver's state and the record of the initial fields `u0` `[..., *points]`."""
    state = steppers.stepper(steppers.choice.scheme).init(u0)
    energy = diagnostics.energy(u0, state.modes).tolist()
    record = StepRecord(
        time=float(state.time),
        tau=0.0,
        energy=energy,
        mass=diagnostics.mass(u0).tolist(),
        largest=diagnostics.largest(u0).tolist(),
    )
    noise, choice = diagnostics.noise(u0, state.modes), steppers.choice
    mode = Mode(choice.stabilisation)
    if isinstance(controller, Adaptive) and choice.may_add_sweeps:
        flow, grid, own_time = steppers.flow, steppers.grid, steppers.units.time
        mode, controller = first_mode(mode, controller, state.modes, u0, flow, grid, own_time)
    return SolverState(state, controller, energy, noise, coarse=steppers.use_coarse(state), stops=stops, mode=mode), record


def after_rejection(current: SolverState, rejected: RejectedStep) -> SolverState:
    """The solver's state after a rejected step."""
    stops = current.stops if rejected.jump is None else (*current.stops, rejected.jump)
    mode, coarse = replace(current.mode, held=current.mode.held + rejected.diverged), current.coarse and not rejected.full
    again = current.rejected + 1
    return replace(current, controller=rejected.controller, rejected=again, stops=stops, mode=mode, coarse=coarse)
