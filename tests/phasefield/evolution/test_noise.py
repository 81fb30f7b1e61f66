"""Noise: the variance of every wave, on any grid; weak order; and numbers that follow from seed and step."""

import math

import pytest
import torch

from ernest.phasefield import (
    Checkpoint,
    DoubleWell,
    EnergeticElements,
    Grid,
    Noise,
    Polynomial,
    Slope,
    VariableFlow,
    march,
    solve,
)
from tests.phasefield.problems import slope


@pytest.mark.parametrize("points", [8, 12])
@pytest.mark.parametrize("conserved", [False, True])
@pytest.mark.parametrize("boundary", ["periodic", "neumann"])
def test_every_wave_has_the_variance_of_its_temperature_on_any_grid_with_long_steps(points, conserved, boundary):
    """exp(-E/T) of a quadratic energy gives a wave the variance T / (a + kappa k^2), over the weight of its square."""
    grid, T, a, kappa = Grid((points,), (3.0,), boundary), 0.2, 1.0, 0.3
    flow = VariableFlow(Polynomial((0, 0, a / 2)), kappa, 1.0, conserved, noise=Noise(T, seed=3))
    start = torch.zeros(4000, points, dtype=torch.float64)
    # A step of 2 is ten times the time of the fastest waves; stiffer ones, of a conserved field, take many steps to come to rest.
    steps = [0.1] * 40 if conserved else [2.0] * 20
    *_, last = march(flow, grid, start, steps, EnergeticElements(1))
    squares = (grid.modes(last.end).abs() ** 2 * grid.weights()).mean(0)
    waves = grid.squared_wavenumbers()
    degrees = torch.full_like(squares, 1.0)
    if boundary == "periodic":
        degrees[1 : points // 2] = 2  # sine and cosine
    low = slice(1, points // 4 + 1)
    expected = T * degrees / (a + kappa * waves)
    assert ((squares / expected)[low] - 1).abs().max() < 0.09
    if conserved:
        assert grid.integral(last.end).abs().max() < 1e-12


@pytest.mark.parametrize("conserved", [False, True])
def test_between_walls_that_hold_something_the_distribution_at_rest_is_that_of_the_energy(conserved):
    """exp(-E/T) of a quadratic energy: the mean of E over its least value is T/2 for each point, and one less if mass is kept."""
    grid, T = Grid((8,), (1.0,), "neumann"), 0.2
    flow = VariableFlow(
        Polynomial((0, 0, 0.5)), 0.05, 1.0, conserved, walls={0: (Slope(1.0), Slope(0.0))}, noise=Noise(T, seed=4)
    )
    quiet = VariableFlow(Polynomial((0, 0, 0.5)), 0.05, 1.0, conserved, walls=flow.walls)
    start = torch.zeros(3000, 8, dtype=torch.float64)
    steps = [0.02] * 60 if conserved else [1.0] * 12
    *_, last = march(flow, grid, start, steps, EnergeticElements(1))
    *_, rest = march(quiet, grid, start[0], [1.0] * 40, EnergeticElements(1))
    operators = EnergeticElements(1).stepper(quiet, grid, start).operators
    energies = [operators.energy(u[..., None, None, :], torch.zeros(1, dtype=torch.float64)) for u in (last.end, rest.end)]
    assert float((energies[0] - energies[1]).mean()) == pytest.approx(T / 2 * (8 - conserved), rel=0.04)


def test_multiplicative_noise_is_of_weak_order_1():
    """du = -u dt + sigma u dW by Ito: the mean of u^2 is exp((sigma^2 - 2) t)."""
    grid, rate = Grid((256,), (256.0,)), 0.5
    noise = Noise(strength=lambda u, x, t: math.sqrt(rate) * u, seed=1)
    flow = VariableFlow(Polynomial((0, 0, 0.5)), 1e-300, noise=noise)
    start = torch.ones(400, 256, dtype=torch.float64)
    errors = []
    for steps in (2, 4):
        *_, last = march(flow, grid, start, [1 / steps] * steps, EnergeticElements(1))
        errors.append(abs(float(last.end.square().mean()) - math.exp(rate - 2)))
    assert 0.85 < slope((2, 4), errors) < 1.3


def test_a_resumed_run_has_the_noise_of_one_that_was_not(tmp_path):
    grid = Grid((16,), (2 * math.pi,))
    flow = VariableFlow(DoubleWell(), 0.1, lambda u, x, t: 1 + u * u, True, noise=Noise(0.01, seed=5))
    start = 0.1 * grid.coordinates()[0].sin()
    point = Checkpoint(tmp_path / "run.safetensors", steps=1)
    whole = solve(flow, grid, start, 1.0, step=0.1, progress=False)
    halves = {}
    for seed in (5, 6):
        again = VariableFlow(DoubleWell(), 0.1, flow.mobility, True, noise=Noise(0.01, seed=seed))
        solve(again, grid, start, 0.5, step=0.1, checkpoint=point, progress=False)
        halves[seed] = solve(again, grid, start, 1.0, step=0.1, checkpoint=point, resume=True, progress=False).end
        (tmp_path / "run.safetensors").unlink()
    assert torch.equal(halves[5], whole.end)
    assert not torch.equal(halves[6], whole.end)
    assert abs(whole.mass - whole.mass[0]).max() < 1e-13


def test_noise_needs_a_step():
    grid = Grid((16,), (1.0,))
    with pytest.raises(ValueError, match="give step="):
        solve(VariableFlow(DoubleWell(), 0.1, noise=Noise(0.1)), grid, torch.zeros(16, dtype=torch.float64), 1.0)
    with pytest.raises(ValueError, match="either a temperature or a strength"):
        Noise()
