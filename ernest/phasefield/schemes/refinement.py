"""Refines the polynomial of an element between its ends, to the order that it has at its ends.

The element of degree p is of order 2p at its ends, but only p + 1 between them. Through the same start an element of twice the
degree (and two more, for what is allowed grows from nothing at the start of a run) is iterated from it,

    c = -(I + z A)^{-1} (z u_start e_1 + tau/2 (G n(c) - forcing)),

each sweep of which gains an order.
The ends of both differ by the error of the step itself, and at a time within the element the share of it that has passed may be
missed. The sweeps stop when they move less than a tenth of that everywhere.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from ernest.phasefield.element import Element
from ernest.phasefield.schemes.splitting import Splitting
from ernest.phasefield.timeelement import basis, combine, gauss

MOST_DEGREE, MOST_SWEEPS = 12, 24
"""The highest degree of a refined element, and the most sweeps that refine one."""
SETTLED = 0.1
"""The sweeps stop when they move the field by less than this share of how far the ends of both elements lie apart, times the
share of the element that has passed: at the start of a run nothing is allowed yet."""


def refine(element: Element, splitting: Splitting) -> Element:
    """The element with the same ends and about the same error between them; itself where the sweeps lead nowhere."""
    d, degree = splitting.grid.dimensions, min(2 * element.degree + 2, MOST_DEGREE)
    points, to_moments = (tensor.to(element.start_modes.real) for tensor in gauss(degree))
    factors, at_points = splitting.factors(element.tau, degree), basis(degree, points)
    forcing = splitting.forcing(element.time, element.tau, points, to_moments)
    c = _padded(element.coefficients, degree, d)
    passed = ((1 + points) / 2).tolist()
    last, floor = math.inf, 4 * torch.finfo(points.dtype).eps * splitting.size(element.end_modes)
    for _ in range(MOST_SWEEPS):
        nodes = element.start_modes.unsqueeze(-1 - d) + combine(at_points, c, d)
        explicit = torch.stack([splitting.explicit(modes) for modes in nodes.unbind(-1 - d)], -1 - d)
        new = splitting.coefficients(factors, element.tau, element.start_modes, combine(to_moments, explicit, d), forcing)
        moved = [splitting.size(change) for change in combine(at_points, new - c, d).unbind(-1 - d)]
        gap = splitting.size(element.start_modes + 2 * new.select(-1 - d, 0) - element.end_modes)
        settled = all(move <= max(SETTLED * gap * share, floor) for move, share in zip(moved, passed, strict=True))
        if not (settled or max(moved) < last):
            return element
        c, last = new, max(moved)
        if settled:
            break
    # psi_1 alone is not zero at the end: with its coefficient the element keeps the end it had.
    first = (element.end_modes - element.start_modes).unsqueeze(-1 - d) / 2
    return replace(element, solve=lambda: torch.cat([first, c.narrow(-1 - d, 1, degree - 1)], -1 - d))


def _padded(coefficients: Tensor, degree: int, dimensions: int) -> Tensor:
    """The coefficients of the same polynomial in a longer basis."""
    axis = -1 - dimensions
    missing = degree - coefficients.shape[axis]
    zero = torch.zeros_like(coefficients.narrow(axis, 0, 1))
    return torch.cat([coefficients, *[zero] * missing], axis)
