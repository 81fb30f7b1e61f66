"""Coarse levels of a periodic grid and their sweeps, and weights in time for sweeps that use the full grid at some nodes only."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ernest.phasefield.element import Element, Time
from ernest.phasefield.grid import Grid, Space
from ernest.phasefield.schemes.gaussseidel import past_positions, window_matrices
from ernest.phasefield.schemes.settling import Settling
from ernest.phasefield.timeelement import gauss, lagrange_values


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


def outer_matrices(
    points: Tensor, nodes: Sequence[int], window: int, outer_window: int, tau: float, taus: tuple[Time, ...]
) -> list[Tensor]:
    """For each node, and last for the end, the matrix `[p, w]` from known rows of the full grid to those at all Gauss points.

    Rows are known at the `nodes` of the elements before, and of this one. The first element has the windows of the block.
    Points that are no node need none: theirs is empty.
    """
    if not taus:
        return [*window_matrices(points, tau, taus, window), torch.eye(len(points), dtype=points.dtype, device=points.device)]
    here = points.cpu().numpy()
    positions, matrices = _known_positions(here, nodes, tau, taus), []
    for i in range(len(here)):
        known = _before(positions, nodes, i)[-outer_window:]
        matrices.append(lagrange_values(known, here) if i in nodes else np.zeros((len(here), 0)))
    matrices.append(lagrange_values(positions[-max(outer_window, len(nodes)) :], here))
    return [torch.from_numpy(matrix).to(points) for matrix in matrices]


def fill_matrix(points: Tensor, nodes: Sequence[int], outer_window: int, tau: float, taus: tuple[Time, ...]) -> Tensor:
    """The matrix `[p, w]` from the last rows that are known on the full grid, those of this element among them, to all nodes."""
    here = points.cpu().numpy()
    positions = _known_positions(here, nodes, tau, taus)
    return torch.from_numpy(lagrange_values(positions[-max(outer_window, len(nodes)) :], here)).to(points)


def defect_weights(
    points: Tensor, nodes: Sequence[int], outer_window: int, tau: float, taus: tuple[Time, ...]
) -> list[tuple[Tensor, Tensor]]:
    """For each Gauss point, weights `[w]` of the defects known before it, and of those known after the first sweep."""
    here = points.cpu().numpy()
    positions, pairs = _known_positions(here, nodes, tau, taus), []
    after = lagrange_values(positions[-max(outer_window, len(nodes)) :], here)
    for i in range(len(here)):
        known = _before(positions, nodes, i)[-outer_window:]
        before = lagrange_values(known, here[i : i + 1])[0] if taus else here[:0]
        pairs.append((torch.from_numpy(before).to(points), torch.from_numpy(after[i]).to(points)))
    return pairs


def _known_positions(points: np.ndarray, nodes: Sequence[int], tau: float, taus: tuple[Time, ...]) -> np.ndarray:
    """Positions of the nodes of the elements before, of lengths `taus`, and of this one, in the local time of this one."""
    here = points[list(nodes)]
    return np.concatenate([past_positions(here, tau, taus), here])


def _before(positions: np.ndarray, nodes: Sequence[int], i: int) -> np.ndarray:
    """Of the positions of all nodes up to this element's last, those before its Gauss point i."""
    return positions[: len(positions) - sum(node >= i for node in nodes)]


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
