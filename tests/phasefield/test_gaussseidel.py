import math

import numpy as np
import pytest
import torch

from ernest.phasefield import (
    AllenCahn,
    CahnHilliard,
    CoarseGaussSeidel,
    ConservativeAllenCahn,
    GaussSeidel,
    Grid,
    Implicit,
    energy_of,
    march,
)
from ernest.phasefield.schemes.gaussseidel import shells, window_matrices
from ernest.phasefield.timeelement import gauss
from tests.phasefield.problems import SQUARE, end, noise, order, rms, slope, smooth

FINE = GaussSeidel(8, 8, 12)
FLOW = ConservativeAllenCahn(0.1)
START = smooth(mean=0.2)


@pytest.fixture(scope="module")
def exact() -> torch.Tensor:
    return end(FLOW, SQUARE, START, [0.1] * 20, FINE)


@pytest.mark.parametrize(
    ("degree", "window", "sweeps", "counts"),
    [
        (1, 2, 1, (128, 192, 256)),
        (2, 2, 1, (64, 96, 128)),
        (2, 3, 1, (48, 64, 96)),
        (3, 2, 1, (64, 96, 128)),
        (3, 3, 1, (48, 64, 96)),
        (3, 4, 1, (32, 64, 96)),
        (3, 3, 2, (32, 48, 64)),
        (3, 4, 2, (24, 32, 48)),
        (3, 4, 4, (24, 32, 48)),
        (4, 4, 1, (48, 64, 80)),
    ],
)
def test_order_is_min_of_2p_and_window_plus_sweeps(exact, degree, window, sweeps, counts):
    found = order(FLOW, SQUARE, START, 2.0, counts, GaussSeidel(degree, window, sweeps), exact)
    assert found == pytest.approx(min(2 * degree, window + sweeps), abs=0.1)


def test_many_sweeps_are_the_implicit_scheme_with_p_nodes():
    steps = [0.2, 0.35, 0.3]
    sweeps = end(FLOW, SQUARE, START, steps, GaussSeidel(3, 3, 25))
    implicit = end(FLOW, SQUARE, START, steps, Implicit(3, quadrature=3, stabilisation=0.5, tolerance=1e-14))
    assert rms(sweeps - implicit) <= 1e-13


@pytest.mark.parametrize("scheme", [GaussSeidel(2, 3, 1), GaussSeidel(3, 4, 1), GaussSeidel(3, 3, 2)], ids=str)
def test_steps_of_changing_length_keep_the_order(exact, scheme):
    errors, counts = [], (48, 64, 96)
    for n in counts:
        steps = 2 / n * (1 + 0.5 * np.sin(2 * np.pi * np.arange(n) / 4))
        errors.append(rms(end(FLOW, SQUARE, START, steps.tolist(), scheme) - exact))
    assert slope(counts, errors) == pytest.approx(scheme.window + scheme.sweeps, abs=0.2)


def test_windows_are_exact_for_polynomials_on_elements_of_different_lengths():
    points, _ = gauss(3)
    matrices = window_matrices(points, 0.2, (0.05, 0.1), 4)
    assert [matrix.shape for matrix in matrices] == [(3, 4)] * 3
    # The last element is half as long as this one, the one before it a quarter.
    before = torch.cat([-1 - 2 * 0.75 + 0.25 * (points + 1), -1 - 2 * 0.5 + 0.5 * (points + 1), points])
    cubic = before**3 - 2 * before**2 + 1
    for i, matrix in enumerate(matrices):
        assert torch.allclose(matrix @ cubic[6 + i - 4 : 6 + i], cubic[6:], atol=1e-12)


def test_the_first_windows_take_what_there_is():
    points, _ = gauss(3)
    assert [matrix.shape[1] for matrix in window_matrices(points, 0.1, (), 4)] == [1, 2, 3]
    assert [matrix.shape[1] for matrix in window_matrices(points, 0.1, (0.1,), 5)] == [3, 4, 5]


def test_smooth_phases_in_32_steps():
    # Allen-Cahn with kappa = 0.01 to T = 8, from waves of a few hundredths.
    grid = Grid.cube(64, 2 * math.pi)
    x, y = grid.coordinates()
    u, flow = 0.05 * x.sin() * y.sin() + 0.02 * (2 * x + y).cos(), AllenCahn(0.01)
    reference = end(flow, grid, u, [8 / 64] * 64, GaussSeidel(5, 5, 5))
    assert rms(end(flow, grid, u, [0.25] * 32, GaussSeidel(3, 4, 1)) - reference) <= 3e-7


def test_energy_falls_in_steps_of_one_and_a_quarter():
    grid = Grid.cube(64, 2 * math.pi)
    flow, u = AllenCahn(0.01), noise(grid)
    energies = [energy_of(u, flow, grid)]
    for element in march(flow, grid, u, [1.25] * 12, GaussSeidel(3, 4, 2)):
        energies.append(energy_of(element.end, flow, grid))
        assert energies[-1] < energies[-2]


def test_cahn_hilliard_in_40_and_80_steps():
    # kappa = 0.01 to T = 1, from waves that have settled for 0.05.
    grid = Grid.cube(64, 2 * math.pi)
    x, y = grid.coordinates()
    flow = CahnHilliard(0.01)
    u = 0.05 * x.sin() * y.sin() + 0.1 * (3 * x + 2 * y).cos() + 0.05 * (4 * x - y).cos() + 0.1
    u = end(flow, grid, u, [1e-3] * 50, GaussSeidel(3, 3, 3, 1.0))
    reference = end(flow, grid, u, [1 / 320] * 320, GaussSeidel(3, 4, 3, 1.0))
    assert rms(end(flow, grid, u, [1 / 40] * 40, GaussSeidel(3, 3, 2, 1.0)) - reference) <= 1e-4
    assert rms(end(flow, grid, u, [1 / 80] * 80, GaussSeidel(3, 4, 2, 1.0)) - reference) <= 3e-7


@pytest.mark.parametrize("boundary", ["periodic", "neumann"])
def test_tables_by_shell_are_the_tables_by_mode_in_less_memory(boundary):
    grid = Grid.cube(16, 2 * math.pi, 3, boundary)
    u = noise(grid, 4)
    steppers = [GaussSeidel(3, 4, 2, shells=by_shell).stepper(AllenCahn(0.1), grid, u) for by_shell in (False, True)]
    ends = []
    for stepper in steppers:
        state = stepper.init(u)
        for tau in (0.1, 0.1, 0.15):
            state, element, _ = stepper.step(state, tau)
        ends.append(element.end)
    assert (ends[0] - ends[1]).abs().max() <= 1e-15
    assert steppers[1].table_bytes < steppers[0].table_bytes / 8


def test_shells_of_a_batch_of_parameters():
    grid, kappas = Grid.cube(16, 3.0), torch.tensor([0.05, 0.2], dtype=torch.float64)
    u = noise(grid, 9, members=2)
    by_mode, by_shell = (end(AllenCahn(kappas), grid, u, [0.1] * 3, GaussSeidel(3, 4, 1, shells=s)) for s in (False, True))
    assert (by_mode - by_shell).abs().max() <= 1e-14


def test_shells_need_equal_sides():
    with pytest.raises(ValueError, match="shells: expected a grid with equal sides"):
        shells(Grid((8, 8), (1.0, 2.0)), torch.zeros(8, 8))


def test_start_up_sweeps_are_counted_and_settle():
    stepper = GaussSeidel(3, 4, 2).stepper(FLOW, SQUARE, START)
    state, _, first = stepper.step(stepper.init(START), 0.05)
    state, _, second = stepper.step(state, 0.05)
    _, _, third = stepper.step(state, 0.05)
    assert [facts.iterations for facts in (first, second, third)] == [8, 4, 2]
    assert first.differences[-1] < 1e-9
    assert third.contraction is None


def test_bad_parameters_are_refused():
    for arguments, message in (
        ({"degree": 0}, "degree"),
        ({"window": 0}, "window: expected 1"),
        ({"sweeps": 0}, "sweeps: expected 1"),
    ):
        with pytest.raises(ValueError, match=message):
            GaussSeidel(**arguments)
    with pytest.raises(ValueError, match="takes one length for all members"):
        list(march(FLOW, SQUARE, torch.stack([START, START]), [torch.tensor([0.1, 0.2])], GaussSeidel()))


def test_windows_that_would_be_unstable_are_refused():
    for scheme in (GaussSeidel, CoarseGaussSeidel):
        assert scheme(3, 4, 1).window == 4
        with pytest.raises(
            ValueError, match=r"scheme window: expected at most degree \+ 1 = 4, beyond which it is unstable, got 5"
        ):
            scheme(3, 5, 1)
