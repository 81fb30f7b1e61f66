"""The steppers of one run, and what judges their steps: made when they are first asked for, and kept."""

import math
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from ernest.phasefield.compiled.coarse import FusedCoarse
from ernest.phasefield.compiled.gaussseidel import FusedGaussSeidel
from ernest.phasefield.compiled.inspection import FusedElement, Look
from ernest.phasefield.compiled.kit import Kit, put_back, take
from ernest.phasefield.compiled.stepper import FusibleScheme, is_fusible
from ernest.phasefield.compiled.transforms import Array
from ernest.phasefield.compiled.workspace import FusedState
from ernest.phasefield.element import Element
from ernest.phasefield.flow_terms import forcing_modes
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.schemes.coarse import CoarseGaussSeidel, CoarseStepper
from ernest.phasefield.schemes.exponential import ExponentialElements
from ernest.phasefield.schemes.gaussseidel import GaussSeidel, GaussSeidelStepper
from ernest.phasefield.schemes.settling import Settling
from ernest.phasefield.schemes.splitting import default_stabilisation, split
from ernest.phasefield.solver.controller import ROUND_OFF, Adaptive, Prescribed
from ernest.phasefield.solver.diagnostics import Diagnostics
from ernest.phasefield.solver.error_estimate import (
    CHANGES,
    Truncation,
    error_tables,
    nearby,
    peak,
    size_of_slope,
    span_of,
)
from ernest.phasefield.solver.forcing import ForcingEstimate
from ernest.phasefield.solver.own_units import units_of
from ernest.phasefield.solver.scheme_selection import COARSE, SchemeChoice, level_for
from ernest.phasefield.solver.state import SolverState
from ernest.phasefield.solver.steady import Mode, Problem
from ernest.phasefield.solver.stiff import damped_error_rate, exponential_error_rate
from ernest.phasefield.solver.units import Units, share_grown, share_of, unstable_state
from ernest.phasefield.stepping import Scheme, State, Stepper, StepStats

CAUTION_AT_START = 10.0
"""The error of the first element counts so many times: what is allowed grows from nothing in it, also between its ends."""
GROWTH, MOST_GROWN = 2, 33.0
"""Errors are carried by the waves that grow fastest, and the field by its own, which are taken to grow half as fast: where the
field grows g-fold, errors grow g^2-fold. More than so many times is not asked for."""
SAME_TIME = 1e-11
"""Times nearer to each other than this share of the flow's own time, or of the run if that is shorter, are one."""
TRIED = 10.0
"""How many times the amplitude that coarse grids are forecast to carry may be tried where what they miss is looked at."""
SETTLED_SHARE = 0.2
"""What sweeps may leave unsettled, as a share of the tolerance."""
FURTHER_SWEEPS, FURTHER_ON_QUARTER = 3, 6
"""The most sweeps beyond a scheme's own number; where these do not settle an element it has to be shorter. On a quarter of the
points of each axis twice as many still cost less than one element more."""


COMPILING = "compiling the loops of the solver, once for this processor: some twenty seconds"


class Steppers:
    """The steppers of one run, one for each scheme, made when the scheme is first used."""

    def __init__(
        self,
        choice: SchemeChoice,
        flow: Flow,
        grid: Space,
        u0: Tensor,
        t1: float,
        tolerance: float,
        units: Units,
        keep: bool = True,
    ) -> None:
        """With `keep` the coefficients of elements are kept, for the times between their ends."""
        self.choice, self.flow, self.grid, self._like = choice, flow, grid, u0
        self.t1, self.tolerance, self.units = t1, tolerance, units
        self.splitting = split(flow, grid, choice.stabilisation, u0)
        self.forcing = ForcingEstimate(flow, grid, choice.stabilisation, u0, t1, tolerance * units.speed)
        self._unstable_state = unstable_state(flow, grid, u0)
        self._steppers: dict[Scheme, Stepper] = {}
        self._fits = u0.ndim == grid.dimensions and u0.dtype == torch.float64 and u0.is_cpu
        self._kits: dict[float | None, Kit | None] = {}
        self._truncations: dict[float, Truncation] = {}
        self._slopes: dict[float, float] = {}
        self._keep = keep

    @cached_property
    def problem(self) -> Problem:
        """What decides on the mode of a step and stays the same in the run."""
        diffusive = self.choice.diffusive
        return Problem(self.flow, self.grid, self.units.time, self.tolerance, self.choice.order, self.t1, diffusive)

    @cached_property
    def own_time(self) -> float:
        """The flow's own time, whatever units the tolerance is told in."""
        return units_of(self.flow, self.grid, self._like, self.t1).time

    def scheme(self, current: SolverState) -> Scheme:
        """The scheme of the next step."""
        controller = current.controller
        if isinstance(controller, Prescribed) and controller.exponential and controller.graded:
            return ExponentialElements(stabilisation=self.choice.stabilisation)
        special = current.mode.scheme(self.tolerance, self.units, torch.finfo(self._like.dtype).eps)
        if special is not None:
            return special
        scheme = self.choice.scheme_for(current.level)
        if current.mode.stabilisation == self.choice.stabilisation:
            return scheme
        assert isinstance(scheme, GaussSeidel | CoarseGaussSeidel)
        return replace(scheme, stabilisation=current.mode.stabilisation)

    def stepper(self, scheme: Scheme) -> Stepper:
        """The compiled stepper where there is one for the problem, else the scheme's own."""
        fused = self._fused(scheme) if self._fits and is_fusible(scheme) else None
        if fused is not None:
            return fused
        if scheme not in self._steppers:
            self._steppers[scheme] = scheme.stepper(self.flow, self.grid, self._like)
        return self._steppers[scheme]

    @property
    def words(self) -> str:
        """What there is to tell before the first step: that its loops are compiled, which takes a while."""
        if not any(self._kits.values()):
            return ""
        from ernest.phasefield.compiled.kernels import compiles

        return COMPILING if compiles() else ""

    def step(self, current: SolverState, tau: float) -> tuple[State, Element, StepStats, Settling | None]:
        """One step of length `tau`, with as many sweeps as settle it, and what that was judged by; None where a scheme of the
        user's keeps its number of sweeps, or where it has none. Steps whose length is prescribed have that number at least."""
        scheme = self.scheme(current)
        stepper, controller, state = self.stepper(scheme), current.controller, self._fit(scheme, current.state)
        sweeping = isinstance(stepper, GaussSeidelStepper | CoarseStepper | FusedGaussSeidel | FusedCoarse)
        if not (sweeping and self.choice.may_add_sweeps):
            return *stepper.step(state, tau), None
        enough = SETTLED_SHARE * self.tolerance * self.units.speed * tau / current.caution
        noise = ROUND_OFF * torch.finfo(self._like.dtype).eps * self.units.field
        scheme, least, past = stepper.scheme, 1, len(state.taus)
        if isinstance(controller, Prescribed):
            least = sum(scheme.sweeps(past)) if isinstance(scheme, CoarseGaussSeidel) else scheme.sweeps_after(past) - 1
        on_quarter = isinstance(scheme, CoarseGaussSeidel) and scheme.quarter_sweeps > 0
        further = FURTHER_ON_QUARTER if on_quarter else FURTHER_SWEEPS
        settling = Settling(enough, further, current.contraction, noise, least)
        return *stepper.step(state, tau, settling), settling

    def _fit(self, scheme: Scheme, state: State) -> State:
        """A state as the scheme can go on from it: what ends with the block of a coarse grid is filled up for other sweeps."""
        sparse = self.choice.sparse
        if sparse is None or not isinstance(scheme, GaussSeidel | CoarseGaussSeidel) or scheme.stabilisation is None:
            return state
        if (isinstance(scheme, CoarseGaussSeidel) and scheme.sparse) or not _has_defects(state, sparse, self.grid):
            return state
        stepper = self.stepper(replace(sparse, stabilisation=scheme.stabilisation))
        assert isinstance(stepper, CoarseStepper | FusedCoarse)
        return stepper.filled_state(state)

    def _fused(self, scheme: FusibleScheme) -> Stepper | None:
        """The compiled stepper; those with one stabilisation share their memory. None if the problem is not for them."""
        S = default_stabilisation(self.flow) if scheme.stabilisation is None else scheme.stabilisation
        if S not in self._kits:
            self._kits[S] = take(self.flow, self.grid, S)
        kit = self._kits[S]
        return None if kit is None else kit.stepper(scheme)

    def close(self) -> None:
        """Leaves what was made for this run to the next one."""
        for kit in self._kits.values():
            if kit is not None:
                put_back(kit)
        self._kits.clear()

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
        slope = size_of_slope(self.flow, element.end, current.mode.stabilisation)
        return self.truncation(current.mode).rate(element, self.residual(element), slope, diagnostics)

    def residual(self, element: Element) -> Tensor:
        """Modes of what the equation lacks at the end of an element of the sweeps, u_t - F(u)."""
        explicit = self.grid.modes(self.splitting.remainder(element.end))
        speed = -(self.splitting.stiffness * element.end_modes + self.splitting.mobility * explicit)
        end = float(element.time) + float(element.tau)
        before_a_jump = torch.tensor(end - 8 * math.ulp(end), dtype=self._like.dtype, device=self._like.device)
        forced = forcing_modes(self.flow, self.grid, before_a_jump)
        return 2 / element.tau * element.coefficients.sum(-1 - self.grid.dimensions) - (
            speed if forced is None else speed + forced
        )

    def look(self, current: SolverState, element: Element) -> tuple[Look | None, Element]:
        """What is seen of an element of a compiled stepper, None of others, and the element, its coefficients kept if wanted."""
        stepper = self.stepper(self.scheme(current))
        # The first elements of IMEX-BDF4 are of another scheme, which nobody asks how it may be judged.
        if not (isinstance(element, FusedElement) and isinstance(stepper, FusedGaussSeidel | FusedCoarse)):
            return None, element
        tau, p, S = float(element.tau), stepper.scheme.degree, current.mode.stabilisation
        if S not in self._slopes:
            self._slopes[S] = size_of_slope(self.flow, self._like, S) or 1.0
        kit, span = self._kits[stepper.workspace.splitting.stabilisation], span_of(float(element.time), self.units.time)
        assert kit is not None
        inspector = kit.inspector

        def weigh(slope: float) -> tuple[Array, Array]:
            rise = CHANGES * nearby(slope, self._slopes[S])
            return inspector.weights(tau, p, span, rise, peak(p), error_tables(p)[0].numpy())

        judged = element.judged is not None and isinstance(current.controller, Adaptive)
        look, kept = inspector.look(element, weigh, judged, self._keep)
        return look, element if kept is None else replace(element, solve=lambda: kept)

    def share_grown(self, u: Tensor) -> float:
        """How far the fields u have come from the unstable state."""
        return share_grown(u, self._unstable_state, self.grid, self.units.field)

    def share_of(self, size: float, mean: float) -> float:
        """The same for one field with this root of the mean square and this mean."""
        centre = float(self._unstable_state)
        return share_of(max(size * size - 2 * centre * mean + centre * centre, 0.0) ** 0.5, self.units.field)

    def caution(self, current: SolverState, grown: float) -> float:
        """How many times the error of a step to fields that have grown so far counts: what it may still grow by, at most
        exp(time / own time)."""
        remaining = (self.t1 - float(current.state.time)) / self.units.time
        grows = min(grown**-GROWTH, MOST_GROWN, math.exp(min(remaining, 10.0)))
        return grows * (1 if current.state.count else CAUTION_AT_START)

    def same_time(self, time: float) -> float:
        """Times nearer to this one are the same: what is short for the flow and for the run, or is round-off."""
        return SAME_TIME * min(self.units.time, self.t1) + 8 * math.ulp(time)

    def until_stop(self, current: SolverState) -> float:
        """How long it is to the next time that an element has to end at: a stop, or the end of the run."""
        time, last = float(current.state.time), self.t1 - self.same_time(self.t1)
        ahead = [stop - time for stop in current.stops if stop - time > self.same_time(time) and stop < last]
        return min([*ahead, self.t1 - time])

    def level(self, state: State, judged: bool) -> int:
        """How much of the steps from here on runs on coarse grids; those that are `judged` by what they miss may try more."""
        known = self.tolerance * self.units.field
        if judged:
            return level_for(self.choice, state.modes, self.grid, TRIED * known)
        return min(level_for(self.choice, state.modes, self.grid, known), COARSE)


def _has_defects(state: State, sparse: CoarseGaussSeidel, grid: Space) -> bool:
    """Whether the state is one of sweeps that are `sparse`."""
    if isinstance(state, FusedState):
        return bool(state.memory.defects)
    return state.history is not None and state.history.shape[-1 - grid.dimensions] > len(state.taus) * sparse.degree
