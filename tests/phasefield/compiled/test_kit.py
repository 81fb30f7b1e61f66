"""What a run leaves to the next one changes no bit of it, and serves no other problem and no two runs at a time."""

import math

import pytest
import torch

from ernest.phasefield import AllenCahn, CahnHilliard, Grid, solve
from ernest.phasefield.flows import GradientFlow
from ernest.phasefield.initial_conditions import spinodal_noise
from ernest.phasefield.potentials import DoubleWell, Polynomial

pytest.importorskip("numba")
pytest.importorskip("pyfftw")

from ernest.phasefield.compiled import kernels, kit, workspace

GRID = Grid.cube(32, 2 * math.pi)


@pytest.fixture(autouse=True)
def _empty_shelf():
    kit.forget()
    yield
    kit.forget()


def test_a_run_after_another_has_the_same_bits_as_one_that_finds_nothing():
    start = spinodal_noise(GRID, 0.4, waves=3, seed=2)
    first = solve(CahnHilliard(0.05), GRID, start, 0.2, 1e-6, progress=False)
    solve(CahnHilliard(0.05), GRID, 0.5 * start, 0.3, 1e-5, progress=False)
    again = solve(CahnHilliard(0.05), GRID, start, 0.2, 1e-6, progress=False)
    assert torch.equal(first.end, again.end)
    assert torch.equal(first(0.123), again(0.123))
    assert first.records == again.records


def test_a_kit_serves_one_run_at_a_time_and_its_own_problem_only():
    one = kit.take(AllenCahn(0.05), GRID, 0.5)
    other = kit.take(AllenCahn(0.05), GRID, 0.5)
    assert one is not None
    assert other is not None
    assert one.workspace is not other.workspace
    kit.put_back(one)
    like = GradientFlow(torch.ones_like, lambda k2: 0.05 * k2, DoubleWell())
    polynomial = GradientFlow(torch.ones_like, lambda k2: 0.05 * k2, Polynomial((9.0, 0.0, -0.5, 0.0, 0.25)))
    others = (
        (AllenCahn(0.06), GRID, 0.5),
        (AllenCahn(0.05, s=2), GRID, 0.5),
        (AllenCahn(0.05), GRID, 0.6),
        (polynomial, GRID, 0.5),
    )
    for flow, grid, S in (*others, (AllenCahn(0.05), Grid.cube(32, 6.0), 0.5)):
        assert kit.take(flow, grid, S) is not one
    assert kit.take(like, GRID, 0.5) is one


def test_few_kits_are_kept_and_none_of_large_grids(monkeypatch):
    kits = [kit.take(AllenCahn(kappa), GRID, 0.5) for kappa in (0.1, 0.2, 0.3)]
    for one in kits:
        kit.put_back(one)
    assert kit.take(AllenCahn(0.1), GRID, 0.5) is not kits[0]
    assert kit.take(AllenCahn(0.3), GRID, 0.5) is kits[2]
    monkeypatch.setattr(workspace, "is_large", lambda grid: True)
    kit.put_back(kits[2])
    assert kit.take(AllenCahn(0.3), GRID, 0.5) is not kits[2]


def test_it_is_known_whether_the_loops_are_still_to_be_compiled(monkeypatch, capfd):
    start = spinodal_noise(GRID, 0.4, waves=3, seed=2)
    solve(AllenCahn(0.05), GRID, start, 0.1, progress=False)
    assert not kernels.compiles()
    solve(AllenCahn(0.05), GRID, start, 0.1, progress=True)
    assert "compil" not in capfd.readouterr().err
    monkeypatch.setattr(kernels.compiled(False).combine._cache._cache_file, "_load_index", dict)
    solve(AllenCahn(0.05), GRID, start, 0.1, progress=True)
    assert capfd.readouterr().err.count("compiling the loops") == 1
