"""Decides from the spectrum of a field whether sweeps on coarse grids reach the tolerance."""

import math

import torch
from torch import Tensor

from ernest.phasefield.grid import Space

COARSE_TAIL = 100.0
"""Modes that are swept once keep about a hundredth of their amplitude as error."""


def prefers_coarse(modes: Tensor, grid: Space, tolerance: float, ratio: float = 0.5) -> bool:
    """Whether sweeps on coarse grids reach `tolerance` for fields with these modes `[..., *mode_shape]`.

    The modes that a level of `ratio` leaves out get one sweep, which leaves about a hundredth of them as error: their
    amplitudes must be below a hundred tolerances. Of a batch, all members must agree. This is a forecast for a step that is
    still to be taken; `StepStats.unsettled` judges one that has been.
    """
    return set(grid.boundaries) == {"periodic"} and tail_amplitude(modes, grid, ratio) <= COARSE_TAIL * tolerance


def tail_amplitude(modes: Tensor, grid: Space, ratio: float = 0.5) -> float:
    """The greatest amplitude of the modes beyond |k| = ratio n/2 on any axis; of a batch, the greatest."""
    beyond = torch.zeros(grid.mode_shape, dtype=torch.bool, device=modes.device)
    for axis, n in enumerate(grid.points):
        k = torch.arange(grid.mode_shape[axis], device=modes.device)
        far = torch.minimum(k, n - k) >= ratio * n / 2
        beyond = beyond | far.reshape([-1 if other == axis else 1 for other in range(grid.dimensions)])
    return float((modes.abs() * beyond).max()) / math.prod(grid.points)
