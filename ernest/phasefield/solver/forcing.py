"""Estimates what a forcing adds to the error of an element, and finds the times at which it jumps.

The schemes know a forcing s by its values at the p Gauss points of an element, so by the polynomial I s through them. With the
linear part exact, what s has beyond that moves the end of the element by

    error = tau/2 integral of exp(-z (1 - xi)) (s - I s)(xi) dxi,   z = tau/2 Lambda,

taken here with a finer rule. It is of order 2p + 1 where I s follows s. Where it does not, no rule can be trusted, and the error
may be as large as tau times the greatest |s - I s| that is seen at many other times of the element. These lie at irrational
places, which no period can hit, and so closely that a run is looked at a thousand times at least: a pulse that lasts a
thousandth of the run is met with short steps. For a shorter one the user has to say `max_step` or `stops`.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from ernest.device import HOST
from ernest.phasefield.flow_terms import forcing_fields
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.timeelement import gauss, lagrange

LOOKS = 1024
"""Times at which a forcing is looked at in a run, at least."""
FEWEST = 6
"""Of these in one element, at least."""
FOLLOWED = 0.1
"""Share of the forcing's variation in an element that may be missed where its polynomial is said to follow it."""
CHUNK = 2**21
"""Numbers of a forcing that are computed at once."""
GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class ForcingError:
    """What the forcing adds to the error per unit time of an element, and the time of a jump inside it, if one was found."""

    rate: float = 0.0
    jump: float | None = None


class ForcingEstimate:
    """Looks at the forcing of one flow in the elements of a run that lasts for `span`."""

    def __init__(self, flow: Flow, grid: Space, stabilisation: float, like: Tensor, span: float, tolerance: float) -> None:
        self._flow, self._grid, self._stabilisation, self._like = flow, grid, stabilisation, like
        self._span, self._tolerance = span, tolerance

    @cached_property
    def _stiffness(self) -> Tensor:
        k2 = self._grid.squared_wavenumbers(self._like.dtype, self._like.device)
        return self._flow.mobility(k2) * (self._flow.linear(k2) + self._stabilisation)

    def look(self, time: float, tau: float, degree: int, count: int) -> ForcingError:
        """The forcing's part of the error in the element from `time` to `time + tau`, the run's element number `count`."""
        if self._flow.forcing is None:
            return ForcingError()
        nodes, (fine, weights) = gauss(degree)[0], _rule(2 * degree + 2)
        at_nodes, at_fine = self._fields(time, tau, nodes), self._fields(time, tau, fine)
        missed = at_fine - _interpolated(at_nodes, nodes, fine)
        level = at_nodes.mean(0)
        most, variation = self._size(missed), max(self._size(at_nodes - level), self._size(at_fine - level))
        looks = places(max(FEWEST, math.ceil(LOOKS * tau / self._span)), count)
        for part in looks.split(max(1, CHUNK // math.prod(self._grid.points))):
            fields = self._fields(time, tau, part)
            most = max(most, self._size(fields - _interpolated(at_nodes, nodes, part)))
            variation = max(variation, self._size(fields - level))
        if not math.isfinite(most):
            return ForcingError(math.inf)
        if most <= 0.01 * self._tolerance or most <= 1e-13 * self._size(at_nodes):
            return ForcingError(most if most > 1e-13 * self._size(at_nodes) else 0.0)
        if most > FOLLOWED * variation:
            return ForcingError(most, self.jump(time, tau, looks) if most > self._tolerance else None)
        z = tau / 2 * self._stiffness
        modes = self._grid.modes(missed)
        end = torch.zeros_like(modes[0])
        for xi, weight, row in zip(fine.tolist(), weights.tolist(), modes, strict=True):
            end = end + weight / 2 * torch.exp(-z * (1 - xi)) * row
        return ForcingError(float(self._grid.norm(end).max()))

    def jump(self, time: float, tau: float, looks: Tensor) -> float | None:
        """The time of a jump between the places where the element was looked at, by bisection; None if the change is smooth."""
        ends = torch.tensor([-1 + 1e-9, 1 - 1e-9], dtype=torch.float64, device=HOST)
        places = torch.cat([looks, ends]).sort().values
        times = (time + tau * (places + 1) / 2).tolist()
        before, largest, low, high = self._at(times[0]), -1.0, times[0], times[1]
        for t0, t1 in pairwise(times):
            after = self._at(t1)
            change = self._size((after - before)[None])
            if change > largest:
                largest, low, high = change, t0, t1
            before = after
        at_low, at_high = self._at(low), self._at(high)
        for _ in range(200):
            middle = (low + high) / 2
            if middle in (low, high):
                break
            at_middle = self._at(middle)
            if self._size((at_middle - at_low)[None]) >= self._size((at_high - at_middle)[None]):
                high, at_high = middle, at_middle
            else:
                low, at_low = middle, at_middle
        return high if self._size((at_high - at_low)[None]) > 0.1 * largest else None

    def _fields(self, time: float, tau: float, xi: Tensor) -> Tensor:
        """The forcing at local times `[q]`: `[q, *points]`."""
        times = time + tau * (xi + 1) / 2
        return forcing_fields(self._flow, self._grid, times.to(self._like))

    def _at(self, time: float) -> Tensor:
        return forcing_fields(self._flow, self._grid, torch.tensor([time], dtype=self._like.dtype, device=self._like.device))[0]

    def _size(self, fields: Tensor) -> float:
        """The greatest root of the mean square of some fields `[q, *points]`."""
        return math.sqrt(max(float((self._grid.integral(fields.square()) / self._grid.volume).max()), 0.0))


def places(number: int, count: int) -> Tensor:
    """So many local times, one in each of as many equal parts of an element, at places that differ from element to element."""
    part = torch.arange(number, dtype=torch.float64, device=HOST)
    return -1 + 2 * (part + ((part + 1) * GOLDEN + count * math.sqrt(2)) % 1) / number


def _rule(points: int) -> tuple[Tensor, Tensor]:
    """Gauss points and weights, which add up to 2."""
    xi, to_moments = gauss(1, points)
    return xi, 2 * to_moments[0]


def _interpolated(values: Tensor, nodes: Tensor, xi: Tensor) -> Tensor:
    """The polynomial through values `[p, *points]` at the nodes, at local times `[q]`: `[q, *points]`."""
    return torch.tensordot(lagrange(nodes, xi).to(values), values, 1)
