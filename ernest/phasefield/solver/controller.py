"""Controls the step length: by an error estimate, or prescribed. Controllers are values; each decision returns a new one.

The last sweep of an element moves its end by d_M, the sweep before by d_{M-1}; with rho = d_M / d_{M-1} what further sweeps
would still change is about rho d_M. With the rate of the element's own truncation error,

    error per unit time = rho d_M / tau + truncation,   tau <- tau (error / (AIM tolerance))^(-1 / order).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

GUESSED_CONTRACTION = 0.2
AIM = 0.5  # of the tolerance: the estimate comes within a factor of two
MOST_GROWTH = 1.8  # from one element to the next: the windows reach back over the shorter ones
LEAST_GROWTH = 1.08  # what a length may grow by at least, where the rest of the run then takes an element less
MOST_AT_ONCE = 2.0  # of the tolerance: what one step may take of that which earlier ones have left
SLOW = 0.5  # above this contraction another sweep pays rather than a longer step
ROUND_OFF = 18.0  # differences below this many machine epsilons of the field's size are noise of the transforms


def contraction_of(differences: Sequence[float], size: float, epsilon: float) -> float:
    """rho, the factor by which the last sweep's change is smaller than the one before; 0 where both are round-off.

    `differences` are the changes of the end value by one sweep after the other and `size` the norm of the field. With a
    single difference nothing can be compared and rho is guessed.
    """
    if not differences or differences[-1] <= ROUND_OFF * epsilon * size:
        return 0.0
    if len(differences) == 1:
        return GUESSED_CONTRACTION
    return differences[-1] / max(differences[-2], 1e-300)


def error_rate(differences: Sequence[float], truncation: float, tau: float, size: float, epsilon: float) -> float:
    """Estimated error per unit time; differences within round-off count as zero, or the steps would shrink for ever."""
    return max(whole_rate(differences, truncation, tau, size, epsilon) - granted_rate(tau, size, epsilon), 0.0)


def whole_rate(differences: Sequence[float], truncation: float, tau: float, size: float, epsilon: float) -> float:
    """The same with what round-off may make of it."""
    rho = min(max(contraction_of(differences, size, epsilon), 1e-3), 1.0)
    return (rho * differences[-1] if differences else 0.0) / tau + truncation


def granted_rate(tau: float, size: float, epsilon: float) -> float:
    """The error per unit time that is round-off in an element of length tau."""
    return ROUND_OFF * epsilon * size / tau


@dataclass(frozen=True)
class Adaptive:
    """Step control that keeps the error per unit time at `tolerance`, for a scheme of the given `order`.

    `tau` is the length wanted for the next step. It stays as it is while the estimate asks for a change of less than a
    fifth, because a new length costs new coefficients, unless that spares an element of the rest of the run, or more than the
    tolerance was lost in a step with sweeps on coarse grids.
    """

    tolerance: float
    order: int
    tau: float
    longest: float = math.inf

    def propose(self, remaining: float) -> float:
        """The next length; the last two steps are stretched or halved so that the run ends exactly at t1."""
        if remaining <= min(1.05 * self.tau, self.longest):
            return remaining
        return remaining / 2 if remaining < 1.9 * self.tau else self.tau

    def accepts(self, error: float, tau: float = 1.0, saved: float = 0.0) -> bool:
        """Whether a step of length `tau` may err by so much per unit of time, where `saved` is what the steps before it have left
        of the error that they were allowed."""
        return error <= MOST_AT_ONCE * self.tolerance and error * tau <= self.tolerance * tau + saved

    def after_accepted(
        self, tau: float, error: float, contraction: float, remaining: float = 0.0, coarse: bool = False
    ) -> "Adaptive":
        """The controller after an accepted step of length `tau`, with so much time `remaining` in the run; `contraction` is the
        ratio of the last two sweeps' changes, and `coarse` tells whether sweeps ran on coarse grids."""
        factor = min(max(self._factor(error), 0.3), 1.0 if contraction > SLOW else MOST_GROWTH)
        spares = factor > LEAST_GROWTH and remaining / tau - remaining / (tau * factor) > 1
        # An error above the tolerance, which only what earlier steps have left allows, mostly rises further, and an element with
        # coarse sweeps that is rejected is tried twice: on finer grids, and then shorter.
        least = 1.0 if coarse and error > self.tolerance else 0.85
        if (least <= factor <= 1.2 and not spares) or (factor > 1 and tau < 0.99 * self.tau):
            return self
        return replace(self, tau=min(tau * factor, self.longest))

    def after_rejected(self, tau: float, error: float) -> "Adaptive":
        """The controller after a rejected step of length `tau`; `error` is infinite where no estimate is known."""
        factor = min(max(self._factor(error), 0.3), 0.7) if math.isfinite(error) else 0.3
        return replace(self, tau=tau * factor)

    def _factor(self, error: float) -> float:
        return max(error / (AIM * self.tolerance), 1e-7) ** (-1 / self.order)


@dataclass(frozen=True)
class Prescribed:
    """Step control with one given length `step`; the last step may be shorter.

    The first step may be divided into the lengths `graded`, of `exponential` elements or of the run's own scheme. A step that
    fails is halved, again and again if need be; afterwards the halvings are undone one by one, always at a multiple of the
    longer length.
    """

    step: float
    graded: tuple[float, ...] = ()
    exponential: bool = False
    halvings: int = 0
    position: int = 0  # of the elements of length step / 2^halvings, how many of the present step are done

    @property
    def tau(self) -> float:
        return self.graded[0] if self.graded else self.step / 2**self.halvings

    def propose(self, remaining: float) -> float:
        return remaining if remaining < self.tau * (1 - 1e-9) else self.tau

    def accepts(self, error: float, tau: float = 1.0, saved: float = 0.0) -> bool:
        return math.isfinite(error)

    def after_accepted(
        self, tau: float, error: float, contraction: float, remaining: float = 0.0, coarse: bool = False
    ) -> "Prescribed":
        if self.graded:
            return replace(self, graded=self.graded[1:])
        position, halvings = self.position + 1, self.halvings
        while halvings and position % 2 == 0:
            position, halvings = position // 2, halvings - 1
        return replace(self, halvings=halvings, position=position if halvings else 0)

    def after_rejected(self, tau: float, error: float) -> "Prescribed":
        if self.graded:
            return replace(self, graded=(self.graded[0] / 2, self.graded[0] / 2, *self.graded[1:]))
        return replace(self, halvings=self.halvings + 1, position=2 * self.position)
