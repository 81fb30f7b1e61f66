"""Estimates the error at the end of an element from the residual of its polynomial in the equation.

With N interpolated at the p Gauss points, the moments of the equation vanish against L_0 .. L_{p-1}, so what is left of it is

    u_t + Lambda u + G N = Lambda c_p L_p(xi) / (2p - 1)

(psi_p = (L_p - L_{p-2}) / (2p - 1) has the only L_p in Lambda u). The linear part carries this to the end of the element as

    error = z c_p / (2p - 1) integral of exp(-z (1 - xi)) L_p(xi) dxi,   z = tau/2 Lambda,

which is of order z^{2p+1} where the mode is resolved, and c_p / (2p - 1) where z is large. Equal errors of one element after
the other add up to error / (1 - R) at most, R(z) being the factor by which an element multiplies the mode, so what they
amount to in a time T, per unit of time, is error / (tau + T (1 - R)). T is the flow's own time, or the time since the start
where that is less: early errors have had no time to fade. What the sweeps have not yet settled comes on top of it.
"""

import math

import torch
from torch import Tensor

from ernest.phasefield.compiled.workspace import LRUCache
from ernest.phasefield.element import Element
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.solver.diagnostics import Diagnostics
from ernest.phasefield.timeelement import factorise, solve

LARGE = 20.0
TERMS = 48
"""Of a series whose terms fall like those of exp: at z = LARGE the first left out is below 1e-16 of the sum."""


def end_weights(z: Tensor, degree: int) -> Tensor:
    """z / (2p - 1) times the integral of exp(-z (1 - xi)) L_p(xi), for every z >= 0 `[...]` and p = degree, in float64.

    The integral is 2 exp(-z) i_p(z) with the modified spherical Bessel function i_p(z) = z^p / (2p + 1)!! times the sum of
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
    return z / (2 * p - 1) * integral


def amplification(z: Tensor, degree: int) -> Tensor:
    """R(z), the factor by which one element multiplies a mode with N = 0: the diagonal Pade approximant of exp(-2z)."""
    first = [torch.ones_like(z), *(torch.zeros_like(z) for _ in range(degree - 1))]
    return 1 - 2 * z * solve(factorise(z, degree), torch.stack(first), axis=0)[0]


def span_of(time: float, own_time: float) -> float:
    """The time that errors have had to add up in: the own time, and earlier its greatest fraction 2^-k that has passed."""
    if time <= 0:
        return 0.0
    return own_time * 2.0 ** min(math.floor(math.log2(time / own_time)), 0)


class Truncation:
    """The error estimate for the elements of one flow and grid. Its weights are made for each distinct value of Lambda, of which
    there are far fewer than modes, and kept for the lengths and degrees that were last asked for.
    """

    def __init__(self, flow: Flow, grid: Space, stabilisation: float, like: Tensor, own_time: float = 1.0) -> None:
        k2 = grid.squared_wavenumbers(like.dtype, like.device)
        stiffness = flow.mobility(k2) * (flow.linear(k2) + stabilisation)
        self._own_time = own_time
        self._axis, self._dtype, self._mobility = -1 - grid.dimensions, like.dtype, flow.mobility(k2)
        self._distinct, self._index = stiffness.unique(return_inverse=True)
        self._kept: LRUCache[tuple[float, int, float], Tensor] = LRUCache(4)
        self._kept_response: LRUCache[tuple[float, int, float], Tensor] = LRUCache(4)

    def rate(self, element: Element, diagnostics: Diagnostics) -> float:
        """The error that elements like this one add per unit of time: root of the mean square, the greatest of a batch."""
        tau, p, span = float(element.tau), element.degree, span_of(float(element.time), self._own_time)
        squares = self._kept.get((tau, p, span), lambda: diagnostics.squares(self._weights(tau, p, span)))
        return diagnostics.norm(element.coefficients.select(self._axis, p - 1), squares)

    def unsettled_rate(self, element: Element, missing: Tensor, diagnostics: Diagnostics) -> float:
        """The same for what is `missing` in the modes of N all through the element: its end misses (1 - R) / Lambda G missing."""
        tau, p, span = float(element.tau), element.degree, span_of(float(element.time), self._own_time)
        squares = self._kept_response.get((tau, p, span), lambda: diagnostics.squares(self._responses(tau, p, span)))
        return diagnostics.norm(missing, squares)

    def _responses(self, tau: float, p: int, span: float) -> Tensor:
        """What a missing part of N of each mode is multiplied with, `[*mode_shape]`."""
        z = tau / 2 * self._distinct.double()
        passed = 1 - amplification(z, p)
        share = torch.where(z > 0, passed / (2 * z).clamp(min=1e-300), 1.0)
        return (tau * share / (tau + span * passed)).to(self._dtype)[self._index] * self._mobility

    def _weights(self, tau: float, p: int, span: float) -> Tensor:
        """What c_p of each mode is multiplied with, `[*mode_shape]`."""
        z = tau / 2 * self._distinct.double()
        return (end_weights(z, p) / (tau + span * (1 - amplification(z, p)))).to(self._dtype)[self._index]
