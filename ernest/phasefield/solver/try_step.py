"""One element of a run: tried with the scheme that the moment asks for, judged, and accepted or thrown away."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ernest.phasefield.compiled.stepper import has_twin, twin
from ernest.phasefield.compiled.workspace import make_workspace
from ernest.phasefield.element import Element
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.schemes.exponential import ExponentialElements
from ernest.phasefield.schemes.implicit import Implicit
from ernest.phasefield.solver.controller import SLOW, Adaptive, Prescribed, contraction_of, error_rate
from ernest.phasefield.solver.diagnostics import Gauge, Row, Value
from ernest.phasefield.solver.error_estimate import Truncation
from ernest.phasefield.solver.scheme_selection import IMPLICIT_SWEEPS, Plan, coarsens
from ernest.phasefield.stepping import DivergenceError, Scheme, State, StepFacts, Stepper

MOST_EXTRA_SWEEPS = 2
LOOK_AGAIN = 8
"""So many elements pass before the spectrum is asked again whether coarse sweeps will do."""
BLOW_UP = 0.02
"""A prescribed element that raises the energy by more than this share of it is cut; one that raises it by less is told of."""
ENERGY_CUTS = 6
"""An adaptive element that raises the energy is cut this many times in a row before it is taken as it is."""


@dataclass(frozen=True)
class Standing:
    """Where a run stands between two elements: with what it has seen so far, all that a checkpoint holds.

    `extra` counts the sweeps added because the iteration contracts slowly, `coarse` tells whether they run on coarse grids,
    `rejected` counts the elements thrown away since the last accepted one, and `noise` is the rise of the energy that counts
    as round-off.
    """

    state: State
    controller: Adaptive | Prescribed
    energy: Value
    noise: float
    extra: int = 0
    coarse: bool = False
    rejected: int = 0


@dataclass(frozen=True)
class Setback:
    """An element that was thrown away: the controller with a shorter length, and the iteration that failed."""

    controller: Adaptive | Prescribed
    iteration: int


class Crew:
    """The steppers of one run, each made when it is first needed."""

    def __init__(self, plan: Plan, flow: Flow, grid: Space, like: Tensor, tolerance: float) -> None:
        self.plan, self.flow, self.grid, self.tolerance, self._like = plan, flow, grid, tolerance, like
        self.truncation = Truncation(flow, grid, plan.stabilisation, like)
        self._steppers: dict[Scheme, Stepper] = {}
        fits = like.ndim == grid.dimensions and like.dtype == torch.float64 and like.device.type == "cpu"
        # The schemes of a plan have one stabilisation.
        self._workspace = make_workspace(flow, grid, plan.scheme.stabilisation, 1) if fits and has_twin(plan.scheme) else None

    def scheme(self, standing: Standing) -> Scheme:
        """The scheme of the next element."""
        controller = standing.controller
        if isinstance(controller, Prescribed) and controller.exponential and controller.graded:
            return ExponentialElements(stabilisation=self.plan.stabilisation)
        return self.plan.scheme_for(standing.coarse, standing.extra)

    def stepper(self, scheme: Scheme) -> Stepper:
        """The compiled stepper where there is one for the problem, else the scheme's own."""
        workspace = self._workspace
        if scheme not in self._steppers:
            if workspace is not None and has_twin(scheme):
                self._steppers[scheme] = twin(scheme, workspace)
            else:
                self._steppers[scheme] = scheme.stepper(self.flow, self.grid, self._like)
        return self._steppers[scheme]

    def coarsens(self, state: State) -> bool:
        """Whether the elements from here on take coarse sweeps."""
        return coarsens(self.plan, state.modes, self.grid, self.tolerance)


def attempt(crew: Crew, gauge: Gauge, standing: Standing, tau: float) -> tuple[Standing, Element, Row] | Setback:
    """Tries one element of length `tau` after `standing`."""
    controller = standing.controller
    scheme = crew.scheme(standing)
    try:
        after, element, facts = crew.stepper(scheme).advance(standing.state, tau)
    except DivergenceError as error:
        return Setback(controller.cut(tau, math.inf), error.iteration)
    size, epsilon = gauge.norm(after.modes), torch.finfo(element.start_modes.dtype).eps
    differences = facts.differences[:IMPLICIT_SWEEPS] if isinstance(scheme, Implicit) else facts.differences
    error = error_rate(differences, crew.truncation.rate(element, gauge), tau, size, epsilon)
    if not controller.accepts(error) or _diverges(facts, size):
        return Setback(controller.cut(tau, error if math.isfinite(size) else math.inf), facts.iterations)
    energy = gauge.energy(element.end, after.modes)
    if _rises_too_much(gauge, standing, energy):
        return Setback(controller.cut(tau, math.inf), facts.iterations)
    row = Row(
        time=float(after.time),
        tau=tau,
        energy=energy.tolist(),
        mass=gauge.mass(element.end).tolist(),
        largest=gauge.largest(element.end).tolist(),
        defect=gauge.defect(element, standing.energy, energy),
        iterations=facts.iterations,
        contraction=facts.contraction,
        error=error,
        rejected=standing.rejected,
    )
    contraction = contraction_of(differences, size, epsilon)
    extra = _extra_sweeps(standing.extra, contraction) if crew.plan.free and standing.state.remembers else 0
    coarse = crew.coarsens(after) if after.count % LOOK_AGAIN == 0 else standing.coarse
    accepted = Standing(after, controller.advanced(tau, error, contraction), row.energy, standing.noise, extra, coarse)
    return accepted, element, row


def _diverges(facts: StepFacts, size: float) -> bool:
    """Whether the fields are no longer numbers, or the sweeps drive them apart."""
    if not math.isfinite(size):
        return True
    return (facts.contraction or 0.0) > 1 and facts.differences[-1] > 0.1 * size


def _rises_too_much(gauge: Gauge, standing: Standing, energy: Tensor) -> bool:
    """Whether the energy rises so that a shorter element should be tried.

    Adaptive steps are cut for any rise beyond round-off, prescribed ones only where the run blows up.
    """
    if not gauge.falls:
        return not bool(torch.isfinite(energy).all())
    rise = float((energy - torch.as_tensor(standing.energy, dtype=energy.dtype, device=energy.device)).max())
    if isinstance(standing.controller, Adaptive):
        return not rise <= standing.noise and standing.rejected < ENERGY_CUTS
    return not rise <= standing.noise + BLOW_UP * float(energy.abs().max())


def _extra_sweeps(extra: int, contraction: float) -> int:
    """One sweep more where the last one still left half of the change, one fewer where it left next to nothing."""
    if contraction > SLOW:
        return min(extra + 1, MOST_EXTRA_SWEEPS)
    return max(extra - 1, 0) if contraction < 0.05 else extra


def begin(crew: Crew, gauge: Gauge, start: Tensor, controller: Adaptive | Prescribed) -> tuple[Standing, Row]:
    """The standing and the row of the start."""
    state = crew.stepper(crew.plan.scheme).begin(start)
    energy = gauge.energy(start, state.modes).tolist()
    row = Row(
        time=float(state.time),
        tau=0.0,
        energy=energy,
        mass=gauge.mass(start).tolist(),
        largest=gauge.largest(start).tolist(),
    )
    return Standing(state, controller, energy, gauge.noise(start, state.modes), coarse=crew.coarsens(state)), row


def more_patient(standing: Standing, setback: Setback) -> Standing:
    """The standing after an element was thrown away."""
    return replace(standing, controller=setback.controller, rejected=standing.rejected + 1)
