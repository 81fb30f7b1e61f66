"""Coarse grids of the compiled steppers, and where their modes and points lie on the fine one."""

import math
from dataclasses import dataclass

import numpy as np

from ernest.phasefield.compiled.transforms import Array, Plan, fastest_plan
from ernest.phasefield.compiled.workspace import Workspace


@dataclass(frozen=True)
class Level:
    """A coarse grid: for each of its rows of modes, `fold` is the row of the block's tables, `inside` of the fine grid,
    and `within` of the first level; -1 for its edges. `scale` takes its modes to the scale of the fine grid; `fields` are U_i.
    """

    plan: Plan
    real: Array
    modes: Array
    fold: Array
    inside: Array
    within: Array
    scale: float
    fields: list[Array]


def make_level(workspace: Workspace, degree: int, first: tuple[int, ...], points: tuple[int, ...]) -> Level:
    """The level with these points, on a fine grid whose first level has the points `first`."""
    grid = workspace.grid
    plan = fastest_plan(points, workspace.threads)
    leading = math.prod(points[:-1])
    inside, within = (rows_of_block(points, larger) for larger in (grid.points, first))
    rows = block_rows(workspace, first)
    return Level(
        plan=plan,
        real=plan.real.reshape(-1),
        modes=plan.modes.reshape(leading, -1),
        fold=np.where(inside >= 0, np.searchsorted(rows, workspace.fold[inside]), 0),
        inside=inside,
        within=within,
        scale=math.prod(grid.points) / math.prod(points),
        fields=[np.zeros(math.prod(points)) for _ in range(degree)],
    )


def block_rows(workspace: Workspace, first: tuple[int, ...]) -> Array:
    """Which rows of the workspace's symbols the modes of the first level have."""
    inside = rows_of_block(first, workspace.grid.points)
    return np.unique(workspace.fold[inside[inside >= 0]])


def every_second_line(leading: tuple[int, ...]) -> Array:
    """For each line of a field, the `leading` axes made one, its number among the lines that are even on all of them; else -1."""
    lines, odd = np.zeros(leading, dtype=np.int64), np.zeros(leading, dtype=bool)
    for n, index in zip(leading, np.indices(leading), strict=True):
        lines = lines * (n // 2) + index // 2
        odd |= index % 2 == 1
    return np.where(odd, -1, lines).reshape(-1)


def rows_of_block(points: tuple[int, ...], larger: tuple[int, ...]) -> Array:
    """For each row of modes of a grid, the leading axes made one, that of a larger grid with the same k; -1 on an edge."""
    rows, edge = np.zeros(points[:-1], dtype=np.int64), np.zeros(points[:-1], dtype=bool)
    for n, m, index in zip(points[:-1], larger[:-1], np.indices(points[:-1]), strict=True):
        rows = rows * m + np.where(index < n / 2, index, index - n + m)
        edge |= index == n // 2
    return np.where(edge, -1, rows).reshape(-1)
