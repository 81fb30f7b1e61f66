"""Decides when sweeps no longer suit a run: near rest, where only they hold the steps back, and with a steep potential.

Sweeps contract for steps of a few units of the flow's own time, however little moves. Where they have held back the steps for
a while, though the error would allow far longer ones, damped elements take over (`RadauElements`), which Newton's method
solves for every length; the steps then grow without bound, as long as no mode of the linearised flow could grow unseen within
one. Where the steps become short again the sweeps return. The stabilisation follows the range of the field meanwhile: a spike
in the first field that has decayed has no say any more.

A rough first field has the opposite trouble. Its stiff waves have to decay, which the sweeps' elements do not let them do: they
leave them ringing, and where that is most of the error it holds the steps down for ever. Then exponential elements, which are
exact for the linear part, take over until these waves are gone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.potentials import varies
from ernest.phasefield.schemes.exponential import ExponentialElements
from ernest.phasefield.schemes.radau import RadauElements
from ernest.phasefield.solver.controller import AIM, SLOW, Adaptive
from ernest.phasefield.solver.diagnostics import StepRecord
from ernest.phasefield.solver.error_estimate import span_of
from ernest.phasefield.solver.initial_step import (
    stabilisation_between,
    stabilisation_for,
    stiff_imbalance,
    time_derivative,
)
from ernest.phasefield.solver.stiff import nothing_grows_within
from ernest.phasefield.solver.units import Units

HELD = 8
"""So many steps in a row that sweeps hold back show that it is not for a moment."""
WORTH = 4.0
"""By how much longer the steps should be for damped elements, which cost more each, to be worth it."""
SETTLED = 0.3
"""Share of the square root of the tolerance by which a field changes at most in a step where it is nearly at rest."""
MOST_LENGTHENED = 25.0
"""How far an error estimate is trusted to tell how long a damped element may be."""
PATIENCE = 3
"""After so many damped elements: the first ones have to settle what the sweeps left ringing."""
LEFT_ALONE = 64
"""Where damped elements are dearer than sweeps they are tried again after so many steps, and twice as many every time .."""
MOST_ALONE = 512
""".. up to so many: three elements now and then cost nothing, and a run that comes to rest must not wait for thousands."""
ROUGH_DEGREE = 6
"""Degree of the exponential elements, which have two sweeps more."""
STUCK = 40
"""Lengths of a step that a run has lasted where waves that ring may be what holds it down; a decay alone takes 5 to 15."""
TIGHT = 1e-7
"""With a tolerance up to this ringing waves are met at once; above a looser one they soon fall below it."""
RINGING = 0.1
"""Share of their speed that waves leave as residual where they ring; those that follow leave a hundredth at most."""
SETTLING = 15
"""Lengths of a step after which the waves that are stiff for it have decayed."""
DEARER = 4
"""How much dearer exponential elements are, at least: in a run that ends within so many times these steps they gain nothing."""
INTERVAL = 8
"""Number of steps after which stability and stabilisation are looked at anew."""
MISFIT = 1.5
"""Ratio between the stabilisation in use and the one that fits the field from which on it is exchanged."""


@dataclass(frozen=True)
class Mode:
    """How the next steps are solved: by sweeps with a stabilisation S, or by damped elements, which took over at steps of the
    length `damped`.

    `held` counts the steps that the sweeps have held back lately, or those of damped elements; below zero it is a time in which
    sweeps are left alone, since damped elements were dearer. `cost` is the number of sweeps in a unit of time when these took
    over, and `failures` tells how often they were dearer. Since the time `ringing` exponential elements let
    waves decay.
    """

    stabilisation: float
    damped: float = 0.0
    held: int = 0
    cost: float = 0.0
    ringing: float | None = None
    failures: int = 0

    @property
    def kind(self) -> tuple[float, bool, bool]:
        """What of it decides whether the history of the steps before is of use."""
        return self.stabilisation, self.damped > 0, self.ringing is not None

    def scheme(self, tolerance: float, units: Units, epsilon: float) -> RadauElements | ExponentialElements | None:
        """The elements that are not solved by the sweeps of the run's own scheme; None where it is that.

        Newton's iterations settle the field to a hundredth of what may be lost in the shortest damped element.
        """
        if self.ringing is not None:
            return ExponentialElements(ROUGH_DEGREE, ROUGH_DEGREE + 2, self.stabilisation)
        if not self.damped:
            return None
        allowed = tolerance * min(1.0, self.damped / units.time)
        return RadauElements(3, self.stabilisation, units.field * max(0.01 * allowed, 100 * epsilon))


def is_nearly_at_rest(change: float, tolerance: float) -> bool:
    """Whether hardly anything moves: `change` is that of the field in a step, as a share, and `tolerance` is told in the flow's
    own units."""
    return change <= SETTLED * tolerance**0.5


def is_held_back(error: float, contraction: float, change: float, controller: Adaptive, tolerance: float) -> bool:
    """Whether the iteration forbids a longer step: it contracts slowly though the error would allow far more, or it stirs up as
    much as the tolerance admits though hardly anything moves.
    """
    return is_nearly_at_rest(change, tolerance) or (
        contraction > SLOW and error <= controller.tolerance * WORTH**-controller.order
    )


@dataclass(frozen=True)
class Problem:
    """What stays the same in a run, to the time `end`: `order` is that of its sweeps, and `tolerance` is told in the flow's own
    units; `diffusive` is the flow whose mobility grows with |k|^2."""

    flow: Flow
    grid: Space
    own_time: float
    tolerance: float
    order: int
    end: float
    diffusive: bool


@dataclass(frozen=True)
class Accepted:
    """A step that was accepted, the run's number `count`, and ended with the fields that `end` gives, whose least and greatest
    value `span` tells.

    `record` is its record, whose iterations are sweeps or evaluations of the equation, and `error` what it was judged by;
    `controller` was its control, and `wanted` is what that would go on with. `held` tells that sweeps held the step back, and
    `residual` gives the modes of u_t - F(u) at the end.
    """

    record: StepRecord
    error: float
    end: Callable[[], Tensor]
    count: int
    controller: Adaptive
    wanted: Adaptive
    held: bool
    residual: Callable[[], Tensor]
    span: Callable[[], tuple[float, float]]


def mode_after(mode: Mode, step: Accepted, problem: Problem) -> tuple[Mode, Adaptive]:
    """The mode and the control of the steps after an accepted one."""
    if mode.ringing is not None:
        return _after_ringing(mode, mode.ringing, step, problem)
    return _after_damped(mode, step, problem) if mode.damped else _after_sweeps(mode, step, problem)


def _after_ringing(mode: Mode, since: float, step: Accepted, problem: Problem) -> tuple[Mode, Adaptive]:
    """Exponential elements until the waves that elements of this length would leave ringing, tau Lambda > 2, have fallen by
    exp(-30)."""
    if step.record.time < since + SETTLING * step.wanted.tau:
        return mode, step.wanted
    settled = replace(mode, ringing=None, held=-_wait(mode), failures=mode.failures + 1)
    return settled, replace(step.wanted, order=problem.order)


def _wait(mode: Mode) -> int:
    """For how many steps sweeps are left alone after one more failure."""
    return min(LEFT_ALONE * 2**mode.failures, MOST_ALONE)


def _after_damped(mode: Mode, step: Accepted, problem: Problem) -> tuple[Mode, Adaptive]:
    """Damped elements until they are dearer than sweeps were, or become short again; they grow while nothing else can."""
    tau, u, wanted, controller = step.record.tau, step.end(), step.wanted, step.controller
    mode = replace(mode, held=mode.held + 1)
    longest = tau * min(max(step.error / (AIM * controller.tolerance), 1e-9) ** (-1 / controller.order), MOST_LENGTHENED)
    sweeps = Mode(stabilisation_for(problem.flow, u, problem.diffusive), failures=mode.failures)
    if mode.held >= PATIENCE and step.record.iterations > mode.cost * longest:
        again = replace(wanted, order=problem.order, tau=mode.damped)
        return replace(sweeps, held=-_wait(mode), failures=mode.failures + 1), again
    if wanted.tau < mode.damped / 2:
        return sweeps, replace(wanted, order=problem.order)
    grows, looks = wanted.tau > tau, step.count % INTERVAL == 0
    if (grows or looks) and not nothing_grows_within(wanted.tau, u, problem.flow, problem.grid):
        shorter = tau if grows and not looks else max(tau / 2, 0.6 * mode.damped)
        return mode, replace(wanted, tau=shorter)
    return mode, wanted


def _after_sweeps(mode: Mode, step: Accepted, problem: Problem) -> tuple[Mode, Adaptive]:
    """Sweeps until they have held back the steps for a while, or until waves ring; their stabilisation follows the field."""
    tau, wanted = step.record.tau, step.wanted
    held = mode.held + 1 if step.held or mode.held < 0 else max(mode.held - 1, 0)
    if held >= HELD:
        if nothing_grows_within(2 * tau, step.end(), problem.flow, problem.grid):
            return _damped(mode, replace(wanted, tau=tau), step.record.iterations / tau, step.end(), problem.flow)
        held = 0
    looks = step.count % INTERVAL == 0
    # Near rest damped elements end the ringing too, and take over soon.
    if looks and mode.held >= 0 and not step.held and rings(step, problem):
        return replace(mode, ringing=step.record.time, held=0), replace(wanted, order=ROUGH_DEGREE + 1)
    S = mode.stabilisation
    if looks and not varies(problem.flow.potential):
        fitting = stabilisation_between(problem.flow, *step.span(), problem.diffusive)
        S = fitting if max(S, fitting) > MISFIT * min(S, fitting) else S
    return replace(mode, held=held, stabilisation=S), wanted


def implicit_control(wanted: Adaptive, tau: float, u: Tensor, count: int, problem: Problem, own_time: float) -> Adaptive:
    """The control after an implicit element of length `tau`, the run's number `count`, that ended with the fields u.

    Its error is small at rest, also at a saddle, however long it is. Beyond the `own_time`, within which no mode grows much,
    elements are no longer than the fastest mode takes to grow.
    """
    grows, looks = wanted.tau > tau, count % INTERVAL == 0
    if wanted.tau <= own_time or not (grows or looks) or nothing_grows_within(wanted.tau, u, problem.flow, problem.grid):
        return wanted
    return replace(wanted, tau=tau if grows and not looks else max(tau / 2, own_time))


def rings(step: Accepted, problem: Problem) -> bool:
    """Whether a run is held down by waves with tau Lambda > 2 that are off their balance: about a tenth of what they are off
    counts as error in the time that errors add up in. Waves that follow a moving field are off as far, but u_t of the element
    follows too, while what rings leaves most of its speed as residual. Exponential elements, which would let it decay, know
    no forcing.
    """
    record, flow, grid = step.record, problem.flow, problem.grid
    lasted = problem.tolerance <= TIGHT or record.time > STUCK * record.tau
    lasts = problem.end - record.time > DEARER * SETTLING * record.tau
    if flow.forcing is not None or not lasted or not lasts or step.error <= 0.03 * step.controller.tolerance:
        return False
    residual = stiff_imbalance(flow, grid, step.residual(), record.tau)
    if residual <= 2 * RINGING * record.error * span_of(record.time, problem.own_time):
        return False
    speed = time_derivative(flow, grid, grid.modes(step.end()), record.time)
    return residual > RINGING * stiff_imbalance(flow, grid, speed, record.tau)


def first_mode(
    mode: Mode, controller: Adaptive, norms: tuple[Tensor, Tensor], u: Tensor, flow: Flow, grid: Space, own_time: float
) -> tuple[Mode, Adaptive]:
    """Damped elements for fields u at rest, whose u_t is round-off by the `norms` of both; else the mode as it is."""
    size, rate = (float(norm.max()) for norm in norms)
    k2, steepest = grid.squared_wavenumbers(u.dtype, u.device), float(flow.potential.df(u).abs().max())
    stiffest = max(float((flow.mobility(k2) * (flow.linear(k2) + steepest)).max()), 1 / own_time)
    at_rest = rate <= 100 * torch.finfo(u.dtype).eps * size * stiffest
    if not (at_rest and flow.forcing is None and nothing_grows_within(controller.tau, u, flow, grid)):
        return mode, controller
    return _damped(mode, controller, math.inf, u, flow)


def _damped(mode: Mode, controller: Adaptive, cost: float, u: Tensor, flow: Flow) -> tuple[Mode, Adaptive]:
    """Damped elements with the stabilisation that suits their linear systems, the midpoint of f' at the fields u."""
    slopes = flow.potential.df(u)
    middle = max(0.0, float(slopes.min() + slopes.max()) / 2)
    order = 2 * RadauElements.degree - 1
    return Mode(middle, controller.tau, cost=cost, failures=mode.failures), replace(controller, order=order)


def speed_of(modes: Tensor, time: float, flow: Flow, grid: Space) -> float:
    """Root of the mean square of u_t, the greatest of a batch."""
    return float(grid.norm(time_derivative(flow, grid, modes, time)).max())


def is_steady(
    bound: float, modes: Tensor, u: Tensor, time: float, rest: float, flow: Flow, grid: Space, amplitude: float
) -> bool:
    """Whether u_t is below the bound, and no mode grows within the time in which motion at the bound would cross the field's
    amplitude, or in the `rest` of the run.
    """
    if speed_of(modes, time, flow, grid) >= bound:
        return False
    time = min(rest, max(float(u.square().mean().sqrt()), amplitude) / bound)
    return time <= 0 or nothing_grows_within(time, u, flow, grid)
