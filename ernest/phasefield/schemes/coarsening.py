"""Coarse levels of a periodic grid and their sweeps, and weights in time for sweeps that use the full grid at some nodes only."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ernest.phasefield.element import Element, Time
from ernest.phasefield.grid import Grid, Space
from ernest.phasefield.schemes.gaussseidel import past_positions, window_arrays
from ernest.phasefield.schemes.settling import Settling
from ernest.phasefield.timeelement import gauss, lagrange_values, window_values


@dataclass(frozen=True)
class Level:
    """A coarse grid, and where its block |k| < n/2 lies: `own` in its own modes, `within` in the first level's block.

    Blocks `[..., 2h - 1, .., h]`, h = n/2, are in the scale of the full grid; `scale` takes its modes to the level's.
    """

    grid: Grid
    own: tuple[Tensor, ...]
    within: tuple[Tensor, ...]
    scale: float

    def field(self, block: Tensor) -> Tensor:
        """The field `[..., *points]` of a block."""
        modes = block.new_zeros(*block.shape[: block.ndim - self.grid.dimensions], *self.grid.mode_shape)
        modes[(..., *self.own)] = block * self.scale
        return self.grid.field(modes)

    def block(self, field: Tensor) -> Tensor:
        """The block of a field."""
        return self.grid.modes(field)[(..., *self.own)] / self.scale


def make_level(grid: Space, first: tuple[int, ...], points: tuple[int, ...], device: torch.device) -> Level:
    """The level with these points, on a grid whose first level has the points `first`."""
    block = tuple(n - 1 for n in first)
    scale = math.prod(points) / math.prod(grid.points)
    return Level(Grid(points, grid.lengths), low_modes(points, points, device), low_modes(block, points, device), scale)


def low_modes(points: tuple[int, ...], coarse: tuple[int, ...], device: torch.device | None = None) -> tuple[Tensor, ...]:
    """Indices, one for each axis and ready to broadcast, of the modes |k| < n/2 of a coarse grid among those of `points`."""
    index = []
    for axis, (n, m) in enumerate(zip(points, coarse, strict=True)):
        line = torch.arange(m // 2, device=device)
        if axis < len(points) - 1:
            line = torch.cat([line, torch.arange(n - m // 2 + 1, n, device=device)])
        index.append(line.reshape([-1 if other == axis else 1 for other in range(len(points))]))
    return tuple(index)


def known_matrices(
    points: np.ndarray, nodes: Sequence[int], outer_window: int, tau: float, taus: tuple[Time, ...]
) -> tuple[Sequence[np.ndarray], np.ndarray]:
    """Matrices `[p, w]` that take rows known on the full grid to those at all Gauss points: for each point, from the last
    `outer_window` rows that are known before it, and from the last ones that are known at the end of the first sweep.

    Rows are known at the `nodes` of the elements before, of lengths `taus`, and of this one.
    """
    here = points[list(nodes)]
    positions = np.concatenate([past_positions(here, tau, taus), here])
    earlier = [positions[: len(positions) - sum(node >= i for node in nodes)] for i in range(len(points))]
    before = window_values([known[-outer_window:] for known in earlier], points)
    return before, lagrange_values(positions[-max(outer_window, len(nodes)) :], points)


def outer_matrices(known: tuple[Sequence[np.ndarray], np.ndarray], nodes: Sequence[int]) -> list[np.ndarray]:
    """For each node, and last for the end, the matrix from known rows of the full grid to those at all Gauss points; points that
    are no node need none: theirs is empty."""
    before, after = known
    return [*(matrix if i in nodes else matrix[:, :0] for i, matrix in enumerate(before)), after]


def first_matrices(points: np.ndarray, window: int) -> list[np.ndarray]:
    """The same of the first element, which has the windows of the block."""
    return [*window_arrays(points, 1.0, (), window), np.eye(len(points))]


def defect_weights(known: tuple[Sequence[np.ndarray], np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each Gauss point, weights `[w]` of the defects known before it, and of those known after the first sweep."""
    before, after = known
    return [(matrix[i], after[i]) for i, matrix in enumerate(before)]


def level_sweeps(counts: tuple[int, int], levels: int, settling: Settling | None) -> tuple[int, ...]:
    """The most sweeps on each level: all on the first where there is no other, and those that `settling` adds on the last that
    has any."""
    further = settling.further if settling else 0
    if levels == 1:
        return (sum(counts) + further,)
    half, quarter = counts
    return (half, quarter + further) if quarter else (half + further, 0)


def node_modes(element: Element, node: int) -> Tensor:
    """Modes of u at a Gauss point of the element."""
    xi = gauss(element.degree)[0][node : node + 1].to(element.start_modes.real)
    return element.modes_at(xi).squeeze(-1 - element.grid.dimensions)
