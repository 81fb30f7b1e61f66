"""The problems of the tests: smooth and noisy first fields, short runs, and the slopes of errors."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ernest.phasefield import Flow, Grid, Scheme, march

SQUARE = Grid.cube(32, 2 * math.pi)


def smooth(grid: Grid = SQUARE, mean: float = 0.0) -> Tensor:
    """Three waves, for tests of order."""
    x, y = grid.coordinates()
    return mean + 0.4 * x.sin() * y.cos() + 0.3 * (x + 2 * y).cos() + 0.2 * (2 * x - y + 1).sin()


def noise(
    grid: Grid, cut: float = 6, amplitude: float = 0.9, mean: float = 0.0, seed: int = 1, members: int | None = None
) -> Tensor:
    """Noise of the waves with |k| <= cut, of the given greatest value around the mean; `members` ask for a batch of them."""
    shape = grid.points if members is None else (members, *grid.points)
    modes = grid.modes(torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))
    k2 = grid.squared_wavenumbers()
    u = grid.field(modes * ((k2 <= cut**2) & (k2 > 0)))
    return mean + amplitude * u / u.abs().amax(tuple(range(-grid.dimensions, 0)), keepdim=True)


def end(flow: Flow, grid: Grid, start: Tensor, steps: Sequence, scheme: Scheme) -> Tensor:
    """The field after the steps."""
    *_, last = march(flow, grid, start, steps, scheme)
    return last.end


def rms(u: Tensor) -> float:
    return u.square().mean().sqrt().item()


def slope(counts: Sequence[int], errors: Sequence[float]) -> float:
    """Order of convergence: by regression over all the counts of steps."""
    return -np.polyfit(np.log(counts), np.log(errors), 1)[0]


def order(flow: Flow, grid: Grid, start: Tensor, time: float, counts: Sequence[int], scheme: Scheme, exact: Tensor) -> float:
    """The slope of the errors at `time` of runs with so many equal steps."""
    return slope(counts, [rms(end(flow, grid, start, [time / n] * n, scheme) - exact) for n in counts])
