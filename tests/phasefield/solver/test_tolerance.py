"""`solve` keeps its tolerance: at the end, between the steps, with coarse sweeps, and in whatever units a problem is told."""

import math

import numpy as np
import pytest
import torch

from benchmarks.phasefield import audit
from benchmarks.phasefield.audit_reference import Box, System
from ernest.phasefield import AllenCahn, Event, GaussSeidel, Grid, solve
from ernest.phasefield.initial_conditions import spinodal_noise


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).square().mean().sqrt())


@pytest.mark.parametrize(
    ("points", "kappa", "waves", "tolerance"),
    [(96, 0.01, 8, 1e-6), (96, 0.01, 8, 1e-8), (128, 0.005, 8, 1e-8), (96, 0.003, 4, 1e-9)],
)
def test_coarse_sweeps_meet_the_tolerance_or_give_way(points, kappa, waves, tolerance):
    """The fields are smooth at first and would pass for fit; interfaces form within few steps."""
    grid, end = Grid.cube(points, 2 * math.pi), 0.5
    start = spinodal_noise(grid, 0.5, waves=waves, seed=1)
    run = solve(AllenCahn(kappa), grid, start, end, tolerance, dense=False, progress=False)
    exact = solve(AllenCahn(kappa), grid, start, end, 1e-12, scheme=GaussSeidel(4, 5, 3), dense=False, progress=False)
    assert run.units.time == pytest.approx(1, abs=1e-12)
    assert distance(run.end, exact.end) <= tolerance * end


def test_the_solution_between_the_steps_meets_the_tolerance():
    grid = Grid.cube(32, 2 * math.pi)
    start = spinodal_noise(grid, 0.5, waves=4, seed=1)
    system = System(Box((32, 32), grid.lengths, ("periodic",) * 2), np.ones_like, lambda k2: 0.02 * k2, lambda u: u**3 - u)
    runs = [solve(AllenCahn(0.02), grid, start, 3.0, tolerance, progress=False) for tolerance in (1e-4, 1e-6, 1e-8, 1e-10)]
    early = [run.times[1] * share for run in runs for share in (0.02, 0.3)]
    times = sorted({*np.linspace(0, 3, 16)[1:].tolist(), *early})
    for time, right in zip(times, system.at(start.numpy(), times), strict=True):
        for run, tolerance in zip(runs, (1e-4, 1e-6, 1e-8, 1e-10), strict=True):
            assert distance(run(time), torch.from_numpy(right)) <= tolerance * time + 1e-13


@pytest.mark.parametrize("tolerance", [1e-4, 1e-8])
def test_events_are_as_exact_as_the_run_and_terminal_ones_end_it_there(tolerance):
    """A constant field passes 0.9 at t = ln(u^2 (1 - u0^2) / (u0^2 (1 - u^2))) / 2, where it moves by 0.17 in a unit of time."""
    grid, right = Grid.cube(8, 2 * math.pi), 0.5 * math.log(0.81 * 0.91 / (0.09 * 0.19))
    start = torch.full((8, 8), 0.3, dtype=torch.float64)
    for what in (lambda u: u.mean() - 0.9, lambda u: u[3, 4] - 0.9):
        run = solve(AllenCahn(0.02), grid, start, 5.0, tolerance, events=Event("e", what), progress=False)
        assert abs(run.events("e")[0] - right) <= tolerance * right / 0.171
        ended = solve(AllenCahn(0.02), grid, start, 5.0, tolerance, events=Event("e", what, terminal=True), progress=False)
        assert ended.times[-1] == pytest.approx(ended.events("e")[0], abs=1e-13)
        assert float(ended.end.mean()) == pytest.approx(0.9, abs=2 * tolerance)
        assert float(ended(ended.times[-1]).mean()) == pytest.approx(0.9, abs=2 * tolerance)


def judge(number: int) -> audit.Verdict:
    verdict = audit.judge(audit.draw(number))
    assert not verdict.missed, (
        f"{verdict.words}: {verdict.at_end:.2g} at the end, {verdict.between:.2g} between {verdict.failure}"
    )
    return verdict


@pytest.mark.parametrize("number", [3, 8, 25, 47, 56])
def test_drawn_problems_meet_their_tolerance(number):
    """Stiff and smooth, rough and with walls; numbers that have been missed once."""
    judge(number)
