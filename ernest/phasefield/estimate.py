"""How far the end of an element is from the exact end, by what its polynomial leaves of the equation.

With N interpolated at the p Gauss points, the moments of the equation vanish against L_0 .. L_{p-1}, so what is left of it is

    u_t + Lambda u + G N = Lambda c_p L_p(xi) / (2p - 1)

(psi_p = (L_p - L_{p-2}) / (2p - 1) has the only L_p in Lambda u). The linear part carries this to the end of the element as

    error = z c_p / (2p - 1) integral of exp(-z (1 - xi)) L_p(xi) dxi,   z = tau/2 Lambda,

which is of order z^{2p+1} where the mode is resolved, and c_p / (2p - 1) where z is large. Equal errors of one element after
the other add up to error / (1 - R) at most, R(z) being the factor by which an element multiplies the mode, so what they
amount to in a unit of time is error / (tau + 1 - R). What the sweeps have not yet settled comes on top of it.
"""

import math

import numpy as np
import torch
from torch import Tensor

from ernest.phasefield.diagnostics import Gauge
from ernest.phasefield.element import Element
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.timeelement import factorise, legendre, solve

LARGE = 20.0


def end_weights(z: Tensor, degree: int) -> Tensor:
    """z / (2p - 1) times the integral of exp(-z (1 - xi)) L_p(xi), for every z >= 0 `[...]` and p = degree."""
    p = degree
    nodes, weights = (torch.from_numpy(a).to(z) for a in np.polynomial.legendre.leggauss(32))
    small = z.clamp(max=LARGE)
    integral = (torch.exp(-small[..., None] * (1 - nodes)) * (legendre(p, nodes)[:, p] * weights)).sum(-1)
    large = z.clamp(min=LARGE)
    # Integrating by parts p times; the other end of the element is damped by exp(-2z).
    terms = [(-1) ** k * math.comb(p, k) * math.perm(p + k, k) / (2 * large) ** k for k in range(p + 1)]
    return z / (2 * p - 1) * torch.where(z <= LARGE, integral, sum(terms, torch.zeros_like(z)) / large)


def amplification(z: Tensor, degree: int) -> Tensor:
    """R(z), the factor by which one element multiplies a mode with N = 0: the diagonal Pade approximant of exp(-2z)."""
    first = [torch.ones_like(z), *(torch.zeros_like(z) for _ in range(degree - 1))]
    return 1 - 2 * z * solve(factorise(z, degree), torch.stack(first), axis=0)[0]


class Truncation:
    """The estimate for the elements of one flow and grid; its weights are made anew when a length or a degree changes."""

    def __init__(self, flow: Flow, grid: Space, stabilisation: float, like: Tensor) -> None:
        k2 = grid.squared_wavenumbers(like.dtype, like.device)
        self._grid, self._stiffness = grid, flow.mobility(k2) * (flow.linear(k2) + stabilisation)
        self._made: tuple[tuple[float, int], Tensor] | None = None

    def rate(self, element: Element, gauge: Gauge) -> float:
        """The error that elements like this one add per unit of time: root of the mean square, the greatest of a batch."""
        tau, p = float(element.tau), element.degree
        if self._made is None or self._made[0] != (tau, p):
            z = tau / 2 * self._stiffness
            self._made = (tau, p), end_weights(z, p) / (tau + 1 - amplification(z, p))
        last = element.coefficients.select(-1 - self._grid.dimensions, p - 1)
        return gauge.norm(self._made[1] * last)
