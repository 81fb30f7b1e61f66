"""Tells whether the interfaces of a flow are too thin for a grid, and whether a field shows it: such interfaces do not move."""

import math

import torch
from torch import Tensor

from ernest.device import HOST
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Grid, Space

POINTS_APART = 1.7
"""Spacings h up to this many interface widths will do: a disk then shrinks by 5 % too slowly at one width, by 8 % at 1.5 and by
20 % at 1.8; at 2.5 it does not move."""
ROUGH = 0.01
"""The share of a field in the upper third of the waves from which on it is no longer resolved."""


class UnresolvedInterface(RuntimeWarning):
    """Interfaces are thinner than the grid can show: they are pinned to its points."""


def thin_interface(flow: Flow, grid: Space) -> str | None:
    """Says by how much the interfaces of the flow are too thin for the grid; None if they are not, or if it forms none.

    An interface at rest balances L and the least slope -s of f: with L = kappa k^2 its width is sqrt(kappa / s). At the
    shortest wave of the grid, k = pi / h, it is too thin where L < (pi / 1.7)^2 s, i.e. h > 1.7 sqrt(kappa / s).
    """
    if not isinstance(grid, Grid):
        return None
    s = -float(flow.potential.slopes[0])
    spacing = max(grid.spacings)
    # Twice along each axis, of which the last is taken: functions that set the entry of k = 0 do so at the first.
    k2 = torch.full((2,) * grid.dimensions, (math.pi / spacing) ** 2, dtype=torch.float64, device=HOST)
    L = float(flow.linear(k2)[(..., *[-1] * grid.dimensions)].min())
    if not 0 < L < (math.pi / POINTS_APART) ** 2 * s:
        return None
    width = math.sqrt(L / float(k2.max()) / s)
    points = math.ceil(max(grid.lengths) / width)
    return (
        f"interfaces of width {width:.3g} fall between grid points {spacing:.3g} apart; "
        f"take {points + points % 2} points or more, or a larger kappa"
    )


def is_unresolved(grid: Grid, modes: Tensor) -> bool:
    """Whether any of the fields with these modes has a notable share in waves shorter than three spacings."""
    beyond = grid.squared_wavenumbers(modes.real.dtype, modes.device) > (2 * math.pi / (3 * max(grid.spacings))) ** 2
    return bool((grid.norm(modes * beyond) > ROUGH * grid.norm(modes)).any())
