"""Decides from the spectrum of a field whether sweeps on coarse grids reach the tolerance."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from ernest.phasefield.grid import Space

SLAB = 2**16
"""So many modes are looked at at once."""
COARSE_TAIL = 100.0
"""Modes that are swept once keep about a hundredth of their amplitude as error."""


def prefers_coarse(modes: Tensor, grid: Space, tolerance: float) -> bool:
    """Whether sweeps on coarse grids reach `tolerance` for fields with these modes `[..., *mode_shape]`.

    The modes that a level of half the points leaves out get one sweep, which leaves about a hundredth of them as error: their
    amplitudes must be below a hundred tolerances. Of a batch, all members must agree. This is a forecast for a step that is
    still to be taken; `StepStats.unsettled` judges one that has been.
    """
    return set(grid.boundaries) == {"periodic"} and tail_amplitude(modes, grid) <= COARSE_TAIL * tolerance


def tail_amplitude(modes: Tensor, grid: Space, ratio: float = 0.5) -> float:
    """The greatest amplitude of the modes beyond |k| = ratio n/2 on any axis of a periodic grid; of a batch, the greatest."""
    axis, beyond = -grid.dimensions, _beyond(grid, ratio, modes.device)
    thickness = max(SLAB * modes.shape[axis] // modes.numel(), 1)
    # The modulus of a complex number takes a root each, and ten times as long.
    greatest = [
        ((slab.real.square() + slab.imag.square()) * far).max()
        for slab, far in zip(modes.split(thickness, axis), beyond.split(thickness, axis), strict=True)
    ]
    return math.sqrt(float(torch.stack(greatest).max())) / math.prod(grid.points)


@lru_cache(maxsize=4)
@torch.inference_mode(False)
def _beyond(grid: Space, ratio: float, device: torch.device) -> Tensor:
    """Which modes lie beyond |k| = ratio n/2 on any axis: a run asks at every few steps."""
    beyond = torch.zeros(grid.mode_shape, dtype=torch.bool, device=device)
    for axis, n in enumerate(grid.points):
        k = torch.arange(grid.mode_shape[axis], device=device)
        far = torch.minimum(k, n - k) >= ratio * n / 2
        beyond = beyond | far.reshape([-1 if other == axis else 1 for other in range(grid.dimensions)])
    return beyond
