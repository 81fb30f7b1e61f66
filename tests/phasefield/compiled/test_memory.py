"""On large grids runs hold few arrays, and are those of grids that are not large but for round-off."""

import math
import tracemalloc

import numpy as np
import pytest
import torch

from ernest.phasefield import AllenCahn, CahnHilliard, CoarseGaussSeidel, Grid, solve

pytest.importorskip("numba")
pytest.importorskip("pyfftw")

import ernest.phasefield.grid as grid_module
from ernest.phasefield.compiled import kit, workspace
from ernest.phasefield.compiled.stepper import make_fused
from ernest.phasefield.compiled.workspace import Workspace, distinct_rows, make_workspace
from ernest.phasefield.solver import scheme_selection

GRID = Grid.cube(96, 2 * math.pi)


def waves() -> torch.Tensor:
    x, y = GRID.coordinates()
    return 0.4 * torch.sin(x) * torch.cos(2 * y) + 0.1 * torch.cos(x - y)


@pytest.mark.parametrize(("flow", "end", "most"), [(AllenCahn(0.05), 6.0, 24), (CahnHilliard(0.05), 0.5, 14)])
def test_memory_for_all_kinds_of_rows_is_shared_on_large_grids(flow, end, most, monkeypatch):
    """Of degree 5 are five rows and an end before a step, and as many after it, besides N at its start and end; sparse nodes of
    degree 4 reach back three elements, and have defects too. Both runs have elements with coarse sweeps, the first sparse ones:
    with memory of its own for each kind it takes 27.
    """
    usual = solve(flow, GRID, waves(), end, 1e-5, dense=False, progress=False)
    made, memory = [], Workspace._memory
    monkeypatch.setattr(Workspace, "_memory", lambda work, count: made.append(count) or memory(work, count))
    monkeypatch.setattr(workspace, "is_large", lambda grid: True)
    kit.forget()  # else what the first run has made counts as there
    large = solve(flow, GRID, waves(), end, 1e-5, dense=False, progress=False)
    assert torch.allclose(large.end, usual.end, rtol=0, atol=1e-12)
    assert [(r.iterations, r.rejected) for r in large.records] == [(r.iterations, r.rejected) for r in usual.records]
    assert large.steps == pytest.approx(usual.steps, rel=1e-6)
    assert len(usual.steps) >= 4
    assert sum(made) <= most, sum(made)


def test_rows_that_end_with_the_block_are_zero_beyond_it_whoever_had_their_memory_before(monkeypatch):
    histories = []
    for large in (False, True):
        monkeypatch.setattr(workspace, "is_large", lambda grid, large=large: large)
        work = make_workspace(AllenCahn(0.05), GRID, 0.5, 1)
        for row in work.rows(12):
            row.fill(7)
        stepper = make_fused(CoarseGaussSeidel(4, 4, 1, 3, 0.5, fine_nodes=(3,)), work)
        state = stepper.init(waves())
        for _ in range(3):
            state, _, _ = stepper.step(state, 0.2)
        histories.append(state.history)
    assert torch.allclose(*histories, rtol=0, atol=1e-9)
    assert torch.equal(*(history == 0 for history in histories))


def test_a_run_in_three_dimensions_holds_few_fields(monkeypatch):
    """In fields: N at the six nodes of two elements, both ends (2), a transform in place (1), and of half the points on each axis
    fields, what the first sweep left, and a transform (1); the rest are tables and what is there for a moment. No element has
    transforms of torch, which would take three fields more.
    """
    grid, made, memory, transforms = Grid.cube(48, 2 * math.pi, 3), [], Workspace._memory, []
    x, y, z = grid.coordinates()
    u0 = 0.1 + 0.2 * x.sin() * y.sin() * z.sin() + 0.1 * torch.cos(3 * x + 2 * y - z)
    monkeypatch.setattr(grid_module, "MANY_POINTS", 1000)
    monkeypatch.setattr(scheme_selection, "WORTH_COARSENING", 48)
    solve(CahnHilliard(0.04), grid, u0, 0.01, 1e-4, dense=False, progress=False)  # loads the code
    monkeypatch.setattr(Workspace, "_memory", lambda work, count: made.append(count) or memory(work, count))
    field = Grid.field
    monkeypatch.setattr(Grid, "field", lambda grid, modes: transforms.append(1) or field(grid, modes))
    tracemalloc.start()
    try:
        solution = solve(CahnHilliard(0.04), grid, u0, 0.16, 1e-4, dense=False, progress=False)
        held = tracemalloc.get_traced_memory()[1] / u0.nbytes + sum(made) * 50 / 48
    finally:
        tracemalloc.stop()
    assert len(solution.steps) >= 8
    assert held <= 12.1, held
    assert len(transforms) <= 4


@pytest.mark.parametrize(
    "grid", [Grid((12, 12, 10), (2.0, 2.0, 3.0)), Grid((8, 12, 6), (1.0, 2.0, 3.0)), GRID, Grid((16,), (1.0,))]
)
def test_symbols_are_kept_once_for_every_k_squared_of_the_leading_axes(grid):
    rows, number = distinct_rows(grid)
    k2 = grid.squared_wavenumbers()
    kept = k2[tuple(slice(0, n // 2 + 1) for n in grid.points)].reshape(-1, grid.mode_shape[-1])[rows]
    assert torch.equal(kept[number], k2.reshape(-1, grid.mode_shape[-1]))
    assert len(rows) == len(np.unique(k2[..., 0]))


def test_symbols_of_a_cube_take_a_tenth_of_its_modes():
    assert 48**2 / len(distinct_rows(Grid.cube(96, 2 * math.pi, 3))[0]) > 2.3
