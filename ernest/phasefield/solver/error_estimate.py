"""Estimates the error at the end of an element from the residual of its polynomial in the equation.

The moments of the equation against L_0 .. L_{p-1} vanish, so what is left of it is about its value at the end times L_p,

    u_t - F(u) = r(xi) = r(1) L_p(xi),   F(u) = -Lambda u - G N(u).

The linearised flow carries this to the end of the element as

    error = tau/2 r(1) integral of exp(-z (1 - xi)) L_p(xi) dxi,

which is of order z^p where the mode is resolved, and r(1) / Lambda where z is large. Of the linearised flow only Lambda is
diagonal; N'(u) adds up to G |N'| to it, and the solution's own change in time as much again. So z is taken where the integral is
greatest between tau/2 Lambda and tau/2 (Lambda + CHANGES G |N'|).

Equal errors of one element after the other add up to error / (1 - R) at most, R(z) being the factor by which an element
multiplies the mode, so what they amount to in a time T, per unit of time, is error / (tau + T (1 - R)). T is the flow's own
time, or the time since the start where that is less: early errors have had no time to fade. What the sweeps have not yet settled
comes on top.
"""

import math
from functools import cache

import torch
from torch import Tensor

from ernest.device import HOST
from ernest.phasefield.compiled.tables import LRUCache
from ernest.phasefield.element import Element
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.solver.diagnostics import Diagnostics
from ernest.phasefield.timeelement import factorise, solve

CHANGES = 1.5
"""How many times |N'| counts: once for itself, and the rest for what changes in time with it."""
LARGE = 20.0
EXACT, POINTS = 512, 4097
"""Up to so many values the functions of z are computed one by one; more are read from tables of so many points, by cubics."""
TERMS = 48
"""Of a series whose terms fall like those of exp: at z = LARGE the first left out is below 1e-16 of the sum."""


def end_integral(z: Tensor, degree: int) -> Tensor:
    """The integral of exp(-z (1 - xi)) L_p(xi) over the element, for every z >= 0 `[...]` and p = degree, in float64.

    It is 2 exp(-z) i_p(z) with the modified spherical Bessel function i_p(z) = z^p / (2p + 1)!! times the sum of
    (z^2/2)^k / (k! (2p + 3) (2p + 5) .. (2p + 2k + 1)), all of whose terms are positive.
    """
    p, z = degree, z.double()
    integral, near = torch.empty_like(z), z <= LARGE
    small, large = z[near], z[~near]
    half_square, series = small.square() / 2, torch.ones_like(small)
    for k in range(TERMS, 0, -1):
        series.mul_(half_square).mul_(1 / (k * (2 * p + 2 * k + 1))).add_(1)
    integral[near] = 2 * torch.exp(-small) * small**p / math.prod(range(1, 2 * p + 2, 2)) * series
    # Integrating by parts p times; the other end of the element is damped by exp(-2z).
    terms = [(-1) ** k * math.comb(p, k) * math.perm(p + k, k) / (2 * large) ** k for k in range(p + 1)]
    integral[~near] = sum(terms, torch.zeros_like(large)) / large
    return integral


@cache
def peak(degree: int) -> float:
    """The z at which the integral is greatest."""
    z = torch.linspace(0.01, 4 * degree + 4, 4000, dtype=torch.float64, device=HOST)
    return float(z[end_integral(z, degree).argmax()])


def loss(z: Tensor, degree: int) -> Tensor:
    """(1 - R(z)) / z, where R is the factor by which one element multiplies a mode with N = 0: the diagonal Pade approximant of
    exp(-2z)."""
    first = [torch.ones_like(z), *(torch.zeros_like(z) for _ in range(degree - 1))]
    return 2 * solve(factorise(z, degree), torch.stack(first), axis=0)[0]


def amplification(z: Tensor, degree: int) -> Tensor:
    """R(z)."""
    return 1 - z * loss(z, degree)


def span_of(time: float, own_time: float) -> float:
    """The time that errors have had to add up in: the own time, and earlier its greatest fraction 2^-k that has passed."""
    if time <= 0:
        return 0.0
    return own_time * 2.0 ** min(math.floor(math.log2(time / own_time)), 0)


def nearby(slope: float, unit: float) -> float:
    """One of few slopes near this one, since weights are kept; the same ones in whatever units the potential is told."""
    return unit * 2.0 ** (round(4 * math.log2(slope / unit)) / 4) if 0 < slope < math.inf else 0.0


def size_of_slope(flow: Flow, u: Tensor, stabilisation: float) -> float:
    """Root of the mean square of N'(u) = f'(u) - S over fields."""
    return float((flow.potential.df(u) - stabilisation).square().mean().sqrt())


class Truncation:
    """The error estimate for the elements of one flow and grid. Its weights are made for each distinct value of Lambda, of which
    there are far fewer than modes, and kept for the lengths and degrees that were last asked for.
    """

    def __init__(self, flow: Flow, grid: Space, stabilisation: float, like: Tensor, own_time: float = 1.0) -> None:
        k2 = grid.squared_wavenumbers(like.dtype, like.device)
        stiffness = flow.mobility(k2) * (flow.linear(k2) + stabilisation)
        self._own_time = own_time
        self._slope = size_of_slope(flow, like, stabilisation) or 1.0
        self._dtype, self._mobility = like.dtype, flow.mobility(k2)
        self._distinct, self.index = stiffness.unique(return_inverse=True)
        self._distinct_mobility = torch.zeros_like(self._distinct).scatter_reduce(
            0, self.index.flatten(), self._mobility.expand_as(self.index).flatten(), "amax"
        )
        self._kept: LRUCache[tuple[float, int, float, float], Tensor] = LRUCache(4)
        self._kept_squares: LRUCache[tuple[float, int, float, float], Tensor] = LRUCache(4)
        self._kept_responses: LRUCache[tuple[float, int, float], Tensor] = LRUCache(4)

    def rate(self, element: Element, residual: Tensor, slope: float, diagnostics: Diagnostics) -> float:
        """The error that elements like this one add per unit of time: root of the mean square, the greatest of a batch.

        `residual` are the modes of u_t - F(u) at the end of the element, and `slope` is the size of N'(u) there.
        """
        if not math.isfinite(slope):
            return math.inf  # the fields have blown up
        key = self._key(float(element.tau), element.degree, float(element.time), slope)
        squares = self._kept_squares.get(key, lambda: diagnostics.squares(self._weights(*key).to(self._dtype)[self.index]))
        return diagnostics.norm(residual, squares)

    def unsettled_rate(self, element: Element, missing: Tensor, diagnostics: Diagnostics) -> float:
        """The same for what is `missing` in the modes of N all through the element: its end misses (1 - R) / Lambda G missing."""
        responses = self.responses(float(element.tau), element.degree, float(element.time)).to(self._dtype)
        return diagnostics.norm(missing, diagnostics.squares(responses[self.index] * self._mobility))

    def weights(self, tau: float, degree: int, time: float, slope: float) -> Tensor:
        """What the residual at the end of an element is multiplied with, for each distinct value of Lambda."""
        key = self._key(tau, degree, time, slope)
        return self._kept.get(key, lambda: self._weights(*key))

    def responses(self, tau: float, degree: int, time: float) -> Tensor:
        """What a missing part of G N is multiplied with, for each distinct value of Lambda."""
        key = (tau, degree, span_of(time, self._own_time))
        return self._kept_responses.get(key, lambda: self._responses(*key))

    def _key(self, tau: float, degree: int, time: float, slope: float) -> tuple[float, int, float, float]:
        return tau, degree, span_of(time, self._own_time), nearby(slope, self._slope)

    def _responses(self, tau: float, p: int, span: float) -> Tensor:
        z = tau / 2 * self._distinct.double()
        passed = lost(z, p)
        share = torch.where(z > 0, passed / (2 * z).clamp(min=1e-300), 1.0)
        return tau * share / (tau + span * passed)

    def _weights(self, tau: float, p: int, span: float, slope: float) -> Tensor:
        z = tau / 2 * self._distinct.double()
        most = z + tau / 2 * CHANGES * slope * self._distinct_mobility.double()
        at = torch.minimum(torch.clamp(z, min=peak(p)), most)
        return tau / 2 * carried(at, p) / (tau + span * lost(z, p))


def carried(z: Tensor, degree: int) -> Tensor:
    """The integral for a line of z `[n]`; of many values from a table, to nine digits."""
    if len(z) <= EXACT:
        return end_integral(z, degree)
    return _interpolated(error_tables(degree)[0], z) * (z / (1 + z)) ** degree / (1 + z)


def lost(z: Tensor, degree: int) -> Tensor:
    """1 - R(z) for a line of z `[n]`; of many values from a table, to nine digits."""
    if len(z) <= EXACT:
        return z * loss(z, degree)
    return _interpolated(error_tables(degree)[1], z) * (z / (1 + z))


@cache
def error_tables(degree: int) -> Tensor:
    """Both functions `[2, POINTS]` on a line of s = z / (1 + z), divided by how they rise and fall: s^p (1 - s), and s."""
    s = torch.linspace(0, 1, POINTS, dtype=torch.float64, device=HOST)
    z = (s / (1 - s)).clamp(max=1e9)
    integrals = end_integral(z, degree) / s**degree * (1 + z)
    integrals[0] = 2 / math.prod(range(1, 2 * degree + 2, 2))
    return torch.stack([integrals, loss(z, degree) * (1 + z)])


def _interpolated(table: Tensor, z: Tensor) -> Tensor:
    """Values of a table, by the cubic through the four points that are nearest."""
    place = (z / (1 + z)).clamp(max=1.0) * (POINTS - 1)
    first = (place.long() - 1).clamp(0, POINTS - 4)
    x, table = place - first, table.to(z.device)
    a, b, c, d = x, x - 1, x - 2, x - 3
    parts = (-b * c * d / 6, a * c * d / 2, -a * b * d / 2, a * b * c / 6)
    return sum((part * table[first + k] for k, part in enumerate(parts)), torch.zeros_like(z))
