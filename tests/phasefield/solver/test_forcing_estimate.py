"""Forcing as a part of the error estimate: periods, pulses, jumps."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from ernest.phasefield import AllenCahn, Checkpoint, GradientFlow, Grid, Polynomial, solve
from ernest.phasefield.solver.forcing import ForcingEstimate, places

GRID = Grid((8,), (2 * math.pi,))
ZERO = torch.zeros(8, dtype=torch.float64)


NOTHING = Polynomial((0.0, 0.0, 0.0))


def forced(forcing, potential=NOTHING, linear=0.02):
    """u_t = forcing, with nothing else that moves the mean."""
    return GradientFlow(1.0, lambda k2: linear * k2, potential, forcing=forcing)


@pytest.mark.parametrize("frequency", [1.0, 2 * math.pi, 40.0])
def test_a_periodic_forcing_is_followed(frequency):
    run = solve(forced(lambda t, x: torch.cos(frequency * t)), GRID, ZERO, 10.25, 1e-6)
    assert float(run.end[0]) == pytest.approx(math.sin(10.25 * frequency) / frequency, abs=1e-6 * 10.25)


def test_the_driven_double_well_ends_where_it_should():
    flow = AllenCahn(0.02, forcing=lambda t, x: 0.6 * torch.sin(2 * math.pi * t) + 0.1 * torch.cos(3 * t))
    run = solve(flow, GRID, ZERO, 12.0, 1e-6)
    exact = solve_ivp(
        lambda t, u: u - u**3 + 0.6 * np.sin(2 * np.pi * t) + 0.1 * np.cos(3 * t), (0, 12), [0.0], rtol=1e-11, atol=1e-12
    ).y[0, -1]
    assert float(run.end[0]) == pytest.approx(exact, abs=1.2e-5)


@pytest.mark.parametrize("frequency", [0.0, 3.0])
def test_the_round_off_of_a_strong_forcing_rejects_no_steps(frequency):
    flow = AllenCahn(0.02, forcing=lambda t, x: 300 * torch.cos(frequency * t) * torch.ones_like(x[0]))
    run = solve(flow, GRID, ZERO.float(), 1.0, 3e-5)
    exact = solve_ivp(lambda t, u: u - u**3 + 300 * np.cos(frequency * t), (0, 1), [0.0], rtol=1e-9, atol=1e-9).y[0, -1]
    assert float(run.end[0]) == pytest.approx(exact, abs=3e-5)


def test_a_moving_source_is_followed():
    line = Grid((64,), (2 * math.pi,))
    flow = forced(lambda t, x: torch.exp(3 * (torch.cos(x[0] - 4 * t) - 1)), Polynomial((0.0, 0.0, 0.5)), 0.05)
    run = solve(flow, line, torch.zeros(64, dtype=torch.float64), 5.0, 1e-6)
    x, k = line.lines()[0].numpy(), np.fft.rfftfreq(64, 1 / 64)

    def slope(t, u):
        return np.fft.irfft(-(0.05 * k * k + 1) * np.fft.rfft(u), 64) + np.exp(3 * (np.cos(x - 4 * t) - 1))

    exact = solve_ivp(slope, (0, 5.0), np.zeros(64), rtol=1e-10, atol=1e-12).y[:, -1]
    assert np.sqrt(np.mean((run.end.numpy() - exact) ** 2)) <= 5e-6


@pytest.mark.parametrize("width", [0.1, 1.0])
def test_a_pulse_in_a_system_at_rest_is_seen(width):
    def pulse(t, x):
        return torch.exp(-(((t - 50) / width) ** 2)) / (width * math.sqrt(math.pi))

    run = solve(forced(pulse), GRID, ZERO, 100.0, 1e-6)
    assert float(run.end[0]) == pytest.approx(1.0, abs=1e-6 * 100)
    assert run.steps.max() > 5


def test_stops_and_a_longest_step_serve_for_shorter_pulses():
    def pulse(t, x):
        return torch.exp(-(((t - 31.4) / 1e-4) ** 2)) / (1e-4 * math.sqrt(math.pi))

    told = solve(forced(pulse), GRID, ZERO, 100.0, 1e-6, stops=[31.3995, 31.4005])
    assert float(told.end[0]) == pytest.approx(1.0, abs=1e-5)
    assert {31.3995, 31.4005} <= {round(float(time), 12) for time in told.times}
    bounded = solve(AllenCahn(0.02), GRID, ZERO + 0.5, 3.0, 1e-6, max_step=0.05)
    assert bounded.steps.max() <= 0.05


@pytest.mark.parametrize("on", [0.5, 1 / 3, 0.123456789])
def test_a_jump_is_found(on):
    run = solve(forced(lambda t, x: (t > on).double()), GRID, ZERO, 1.0, 1e-6)
    assert float(run.end[0]) == pytest.approx(1 - on, abs=1e-9)
    assert np.abs(run.times - on).min() < 1e-9
    assert len(run.steps) < 60


def test_many_jumps_are_found_and_a_killed_run_goes_on_bit_for_bit(tmp_path):
    def square(t, x):
        return torch.sign(torch.sin(7 * t)) * torch.cos(x[0])

    def run(end, path, resume=False):
        return solve(forced(square), GRID, ZERO, end, 1e-6, checkpoint=Checkpoint(path, steps=7), resume=resume)

    class Stop(Exception):
        pass

    whole = run(3.0, tmp_path / "whole.safetensors")
    exact = solve_ivp(lambda t, a: -0.02 * a + np.sign(np.sin(7 * t)), (0, 3), [0.0], max_step=1e-3, rtol=1e-8).y[0, -1]
    assert float(whole.end[0]) == pytest.approx(exact, abs=3e-4)

    def failing(t, x):
        if t.max() > 2:
            raise Stop
        return square(t, x)

    checkpoint = Checkpoint(tmp_path / "cut.safetensors", steps=1)
    with pytest.raises(Stop):
        solve(forced(failing), GRID, ZERO, 3.0, 1e-6, checkpoint=checkpoint)
    rest = solve(forced(square), GRID, ZERO, 3.0, 1e-6, checkpoint=checkpoint, resume=True)
    assert torch.equal(rest.end, whole.end)
    assert rest.records == whole.records


@pytest.mark.parametrize("place", [0.502, 0.75, 0.9985])
@pytest.mark.parametrize("wave", [0.0, 30.0])
def test_a_jump_is_found_near_an_end_and_beside_a_large_wave(place, wave):
    flow = forced(lambda t, x: wave * torch.sin(t) + (t > place) + 0 * x[0])
    found = ForcingEstimate(flow, GRID, 0.0, ZERO, 10.0, 1e-6).look(0.5, 0.5, 4, 5)
    assert found.jump is not None
    assert found.jump == pytest.approx(place, abs=1e-12)


def test_a_root_at_the_start_is_followed():
    run = solve(forced(lambda t, x: torch.sqrt(t) + 0 * x[0]), GRID, ZERO, 1.0, 1e-8)
    assert float(run.end[0]) == pytest.approx(2 / 3, abs=1e-8)
    assert float(run(0.01)[0]) == pytest.approx(2 / 3 * 0.01**1.5, abs=1e-10)


def test_the_estimate_is_the_error_of_a_forced_element():
    flow = forced(lambda t, x: torch.cos(3 * t) + 0 * x[0])
    estimate = ForcingEstimate(flow, GRID, 0.0, ZERO, 10.0, 1e-12)
    nodes, weights = np.polynomial.legendre.leggauss(3)
    for tau in (0.2, 0.4):
        missed = math.sin(3 * (1 + tau)) / 3 - math.sin(3) / 3 - tau / 2 * weights @ np.cos(3 * (1 + tau * (nodes + 1) / 2))
        assert estimate.look(1.0, tau, 3, 5).rate * tau == pytest.approx(abs(missed), rel=1e-3)
    assert ForcingEstimate(AllenCahn(0.1), GRID, 0.0, ZERO, 10.0, 1e-6).look(0.0, 1.0, 3, 0).rate == 0


def test_places_differ_from_element_to_element_and_leave_no_gap():
    one, other = places(64, 3), places(64, 4)
    assert ((one > -1) & (one < 1)).all()
    assert one.diff().max() < 4 / 64
    assert (one - other).abs().min() > 0
    assert (one - other).abs().max() < 2 / 64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_step": 0.0}, "max_step: expected a positive length, got 0.0"),
        ({"max_step": math.nan}, "max_step: expected a positive length, got nan"),
        ({"max_step": 0.1, "step": 0.2}, "step: expected a length of at most max_step = 0.1, got 0.2"),
        ({"stops": [0.5, math.inf]}, r"stops: expected times from 0 to t1 = 1.0, got \[0.5, inf\]"),
    ],
)
def test_bad_times_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        solve(AllenCahn(0.1), GRID, ZERO, 1.0, **change)
