"""What the spectrum of a field allows: coarse sweeps, and nodes that miss the full grid."""

import math

import torch
from torch import Tensor

from ernest.phasefield.grid import Space


def prefers_coarse(modes: Tensor, grid: Space, tolerance: float, ratio: float = 0.5) -> bool:
    """Whether coarse sweeps reach `tolerance` for fields with these modes, so that they are worth their price.

    The modes that a level of `ratio` leaves out get one sweep, which leaves about a hundredth of them as error: their
    amplitudes must be below a hundred tolerances. Of a batch, all members must agree.
    """
    return set(grid.boundaries) == {"periodic"} and tail_amplitude(modes, grid, ratio) <= 100 * tolerance


def nodes_that_suffice(modes: Tensor, grid: Space, tolerance: float, degree: int, ratio: float = 0.5) -> tuple[int, ...] | None:
    """The `fine_nodes` with which coarse sweeps of prescribed length still reach `tolerance`; None for all of them.

    What the full grid says more than the level changes u by about the tail's amplitude, and is interpolated from the nodes
    to some percent: one node will do for a tail far below the tolerance, every second one for a tail of its size. The
    spectrum must be one of the run, not of a start that has yet to fill it.
    """
    share = tail_amplitude(modes, grid, ratio) / tolerance
    if share > 2:
        return None
    return (degree - 1,) if share <= 0.05 else tuple(range((degree - 1) % 2, degree, 2))


def tail_amplitude(modes: Tensor, grid: Space, ratio: float = 0.5) -> float:
    """The greatest amplitude of the modes beyond |k| = ratio n/2 on any axis; of a batch, the greatest."""
    beyond = torch.zeros(grid.mode_shape, dtype=torch.bool, device=modes.device)
    for axis, n in enumerate(grid.points):
        k = torch.arange(grid.mode_shape[axis], device=modes.device)
        far = torch.minimum(k, n - k) >= ratio * n / 2
        beyond = beyond | far.reshape([-1 if other == axis else 1 for other in range(grid.dimensions)])
    return float((modes.abs() * beyond).max()) / math.prod(grid.points)
