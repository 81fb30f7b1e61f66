"""Measures the element of a step: what it is judged by, and what its record tells.

Elements of compiled steppers are measured in a few passes over memory, all others with torch, each number when it is asked for.
"""

import math
from dataclasses import dataclass
from functools import cached_property

from ernest.phasefield.compiled.inspection import Look
from ernest.phasefield.element import Element
from ernest.phasefield.solver.controller import Prescribed
from ernest.phasefield.solver.diagnostics import Diagnostics, Value
from ernest.phasefield.solver.state import SolverState
from ernest.phasefield.solver.steppers import Steppers
from ernest.phasefield.stepping import StepStats


class TorchMeasurement:
    """`size` is the root of the mean square of the end, and `change` that of end - start. `truncation` is the error per unit of
    time that the polynomial cannot follow, and `missed` what coarse sweeps add to it. `energy`, `mass` and `largest` |u|
    belong to the end, one for each member of a batch, and `grown` is how far the field has come from the unstable state.
    """

    def __init__(
        self, steppers: Steppers, diagnostics: Diagnostics, current: SolverState, element: Element, stats: StepStats
    ) -> None:
        self.element = element
        self._steppers, self._diagnostics, self._current, self._stats = steppers, diagnostics, current, stats

    @cached_property
    def size(self) -> float:
        return self._diagnostics.norm(self.element.end_modes)

    @cached_property
    def change(self) -> float:
        return self._diagnostics.norm(self.element.end_modes - self.element.start_modes)

    @cached_property
    def truncation(self) -> float:
        return self._steppers.error_of(self._current, self.element, self._diagnostics)

    @cached_property
    def missed(self) -> float:
        """Prescribed steps do not ask for it."""
        if self._stats.unsettled is None or isinstance(self._current.controller, Prescribed):
            return 0.0
        estimate = self._steppers.truncation(self._current.mode)
        return estimate.unsettled_rate(self.element, self._stats.unsettled(), self._diagnostics)

    @cached_property
    def grown(self) -> float:
        return self._steppers.share_grown(self.element.end)

    @cached_property
    def energy(self) -> Value:
        return self._diagnostics.energy(self.element.end, self.element.end_modes).tolist()

    @property
    def mass(self) -> Value:
        return self._diagnostics.mass(self.element.end).tolist()

    @property
    def largest(self) -> Value:
        return self._diagnostics.largest(self.element.end).tolist()

    @property
    def span(self) -> tuple[float, float]:
        """The least and the greatest u at the end."""
        return float(self.element.end.min()), float(self.element.end.max())

    @property
    def dissipated(self) -> Value:
        return self._diagnostics.dissipation(self.element).tolist()


@dataclass(frozen=True)
class FusedMeasurement:
    """The same numbers, all of them taken at once."""

    element: Element
    size: float
    change: float
    truncation: float
    missed: float
    grown: float
    energy: float
    mass: float
    span: tuple[float, float]
    dissipated: float

    @property
    def largest(self) -> float:
        return max(map(abs, self.span))


Measurement = TorchMeasurement | FusedMeasurement


def measure(
    steppers: Steppers, diagnostics: Diagnostics, current: SolverState, element: Element, stats: StepStats
) -> Measurement:
    """The measurement of an element that starts at `current`."""
    look, element = steppers.look(current, element)
    if look is None:
        return TorchMeasurement(steppers, diagnostics, current, element, stats)
    return _fused(look, steppers, element)


def _fused(look: Look, steppers: Steppers, element: Element) -> FusedMeasurement:
    grown = steppers.share_of(look.size, look.mean) if math.isfinite(look.size) else 1.0
    seen = look.size, look.change, look.truncation, look.missed, grown
    return FusedMeasurement(element, *seen, look.energy, look.mean * steppers.grid.volume, look.span, look.dissipated)
