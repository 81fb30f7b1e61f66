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
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

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
FOLLOWED = 0.25
"""Share of the forcing's variation in an element that may be missed where its polynomial is said to follow it."""
CHUNK = 2**21
"""Numbers of a forcing that are computed at once."""
JUST_INSIDE = 1e-9
"""How far from the ends of an element the outermost looks are, in local time."""
NOISE = 64
"""So many round-offs of a forcing, and of the time at which it is taken, are no error: shorter elements would not mend them."""
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
        missed, epsilon = at_fine - _interpolated(at_nodes, nodes, fine), torch.finfo(self._like.dtype).eps
        level = at_nodes.mean(0)
        most, variation = self._size(missed), max(self._size(at_nodes - level), self._size(at_fine - level))
        # Without the ends a jump between them and the places nearest to them would be seen by nobody.
        ends = 1 - min(max(JUST_INSIDE, 32 * epsilon * (1 + time / tau)), 0.1)
        looks = places(max(FEWEST, math.ceil(LOOKS * tau / self._span)), count)
        looks = torch.cat([looks, fine, looks.new_tensor([-ends, ends])]).sort().values

        def missed_at(xi: Tensor) -> tuple[Tensor, Tensor]:
            fields = self._fields(time, tau, xi)
            return fields, fields - _interpolated(at_nodes, nodes, xi)

        changes, before = [], None
        for part in looks.split(max(1, CHUNK // math.prod(self._grid.points))):
            fields, lacks = missed_at(part)
            most, variation = max(most, self._size(lacks)), max(variation, self._size(fields - level))
            joined = lacks if before is None else torch.cat([before, lacks])
            changes.append(self._sizes(joined[1:] - joined[:-1]))
            before = lacks[-1:]
        if not math.isfinite(most):
            return ForcingError(math.inf)
        noise = NOISE * epsilon * (self._size(at_nodes) + (1 + time / tau) * variation)
        if most <= max(noise, 0.01 * self._tolerance):
            return ForcingError(most if most > noise else 0.0)
        rate = most
        if most <= FOLLOWED * variation:
            z = tau / 2 * self._stiffness
            modes = self._grid.modes(missed)
            end = torch.zeros_like(modes[0])
            for xi, weight, row in zip(fine.tolist(), weights.tolist(), modes, strict=True):
                end = end + weight / 2 * torch.exp(-z * (1 - xi)) * row
            rate = float(self._grid.norm(end).max())
        if most <= self._tolerance:
            return ForcingError(rate)
        place = int(torch.cat(changes).argmax())
        jump = self._jump(lambda xi: missed_at(fine.new_tensor([xi]))[1], float(looks[place]), float(looks[place + 1]))
        return ForcingError(rate, None if jump is None else time + tau * (jump + 1) / 2)

    def _jump(self, missed_at: Callable[[float], Tensor], low: float, high: float) -> float | None:
        """The local time just after a jump between two, by bisection; None if the change is smooth.

        What the polynomial cannot follow is looked at, since a jump may be small beside all that changes smoothly.
        """
        at_low, at_high = missed_at(low), missed_at(high)
        least = 0.1 * self._size(at_high - at_low)
        while self._size(at_high - at_low) > least:
            middle = (low + high) / 2
            if middle in (low, high):
                return high
            at_middle = missed_at(middle)
            if self._size(at_middle - at_low) >= self._size(at_high - at_middle):
                high, at_high = middle, at_middle
            else:
                low, at_low = middle, at_middle
        return None

    def _fields(self, time: float, tau: float, xi: Tensor) -> Tensor:
        """The forcing at local times `[q]`: `[q, *points]`."""
        times = time + tau * (xi + 1) / 2
        return forcing_fields(self._flow, self._grid, times.to(self._like))

    def _size(self, fields: Tensor) -> float:
        """The greatest root of the mean square of some fields `[q, *points]`."""
        return float(self._sizes(fields).max())

    def _sizes(self, fields: Tensor) -> Tensor:
        """The root of the mean square of each, `[q]`."""
        return (self._grid.integral(fields.square()) / self._grid.volume).clamp(min=0).sqrt()


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
