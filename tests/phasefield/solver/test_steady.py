"""Runs at rest, near rest, and where sweeps do not suit: steep potentials, spikes, rough first fields."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from ernest.phasefield import (
    AllenCahn,
    CahnHilliard,
    Checkpoint,
    ConservativeAllenCahn,
    EnergyRise,
    Event,
    FloryHugginsAllenCahn,
    FloryHugginsCahnHilliard,
    Grid,
    Implicit,
    march,
    solve,
)
from ernest.phasefield.initial_conditions import spinodal_noise
from ernest.phasefield.schemes.radau import RadauElements
from ernest.phasefield.solver.stiff import damped_error_rate, nothing_grows_within
from ernest.phasefield.timeelement import factorise, radau
from ernest.phasefield.timeelement import solve as solve_element

LINE = Grid((32,), (2 * math.pi,))
FINE = Grid((64,), (2 * math.pi,))


def smooth(grid: Grid = LINE, amplitude: float = 0.3, seed: int = 2) -> torch.Tensor:
    return spinodal_noise(grid, amplitude, waves=3, seed=seed)


def rms(u: torch.Tensor) -> float:
    return float(u.square().mean().sqrt())


@pytest.mark.filterwarnings("ignore::ernest.phasefield.UnresolvedInterface")
def test_implicit_elements_grow_though_their_first_iterations_contract_slowly():
    run = solve(
        AllenCahn(0.05), Grid((16,), (2 * math.pi,)), smooth(Grid((16,), (2 * math.pi,))), 1e3, strict=True, progress=False
    )
    assert len(run.steps) < 54  # 61 where they wait for that
    assert max(abs(record.defect) for record in run.records[1:]) < 1e-13


@pytest.mark.parametrize("sign", [1e-12, -1e-12])
def test_implicit_elements_leave_a_saddle_on_the_right_side(sign):
    """Its mode grows by exp(0.0088 t); elements of 600 told the sides apart no more."""
    grid = Grid((8,), (2 * math.pi,))
    x = grid.coordinates()[0]
    run = solve(ConservativeAllenCahn(0.5), grid, 0.1 + 0.3 * x.sin() + sign * x.cos(), 5e3, strict=True, progress=False)
    assert float(run.end[1] - run.end[3]) == pytest.approx(math.copysign(0.33694, sign), abs=1e-4)
    assert (np.diff(run.energy) < 1e-14).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("end", [30.0, 3000.0, 1e9])
def test_a_well_at_rest_takes_a_handful_of_steps(end):
    one = torch.ones(16, 16, dtype=torch.float64)
    for flow, well in ((AllenCahn(0.02), one), (CahnHilliard(0.02), -one), (ConservativeAllenCahn(0.02), one)):
        run = solve(flow, Grid.cube(16, 2 * math.pi), well, end, 1e-6)
        assert len(run.steps) <= 10
        assert run.rejected == 0
        assert float((run.end - well).abs().max()) <= 1e-14


@pytest.mark.parametrize(
    ("flow", "seed"),
    # The last one rings as it comes to rest: exponential elements took turns with sweeps there, for thousands of steps.
    [(AllenCahn(0.05), 2), (CahnHilliard(0.05), 2), (CahnHilliard(0.05), 3)],
    ids=["local", "conserved", "ringing"],
)
def test_steps_grow_without_bound_as_the_motion_ends(flow, seed):
    run = solve(flow, LINE, smooth(seed=seed), 1e7, 1e-6, dense=False)
    assert len(run.steps) < 1200
    assert run.steps.max() > 1e5
    assert (np.diff(run.energy) <= 1e-11).all()
    longer = solve(flow, LINE, run.end, 1.0, 1e-6, dense=False)
    assert rms(longer.end - run.end) <= 1e-7


def test_a_steady_run_ends_and_says_when():
    run = solve(AllenCahn(0.05), LINE, smooth() + 0.3, 1e6, 1e-6, steady=1e-5)
    assert run.steady_at == run.times[-1] < 100
    assert rms(run.end - 1) < 1e-4
    assert solve(AllenCahn(0.05), LINE, smooth() + 0.3, 1.0, 1e-6, steady=1e-5).steady_at is None
    # Noise about a hilltop hardly moves, but that is no rest.
    slow = solve(AllenCahn(0.05), LINE, 1e-7 * smooth() + 1e-8, 60.0, 1e-6, steady=1e-5)
    assert slow.steady_at is not None
    assert slow.steady_at > 15
    with pytest.raises(ValueError, match="steady: expected a positive bound of the speed, got -1"):
        solve(AllenCahn(0.05), LINE, smooth(), 1.0, steady=-1)


def test_a_mode_that_grows_unseen_keeps_the_steps_short():
    grows = 1e-9
    run = solve(AllenCahn(0.05), LINE, torch.full((32,), grows, dtype=torch.float64), 22.0, 1e-8)
    # u = u0 e^t / sqrt(1 + u0^2 (e^2t - 1))
    exact = grows * math.exp(22) / math.sqrt(1 + grows**2 * (math.exp(44) - 1))
    # What the first steps err by grows with it.
    assert float(run.end[0]) == pytest.approx(exact, abs=5e-3)


@pytest.mark.parametrize("tau", [0.5, 0.9, 1.1, 1e4])
def test_stability_is_that_of_the_linearised_flow(tau):
    zero = torch.zeros(32, dtype=torch.float64)
    assert nothing_grows_within(tau, zero, AllenCahn(0.05), LINE) == (tau < 1)  # the mean grows like exp(t)
    assert nothing_grows_within(tau / 4.95, zero, CahnHilliard(0.05), LINE) == (tau < 1)  # k = 3: 9 (1 - 9/20)
    assert nothing_grows_within(tau, zero + 1, CahnHilliard(0.05), LINE)
    assert nothing_grows_within(tau, zero, ConservativeAllenCahn(1.5), LINE)  # the mean may not grow
    both = torch.stack([zero + 1, zero])
    assert nothing_grows_within(tau, both, AllenCahn(0.05), LINE) == (tau < 1)


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_damped_elements_are_the_approximant_that_vanishes_at_infinity(degree):
    # c_1 .. c_p of u' = -2z u on [-1, 1] with u(-1) = 1: the end is the Pade approximant (p - 1, p) of exp(-2z).
    z = torch.tensor([1e-2, 0.5, 3.0, 1e9], dtype=torch.float64)
    right = torch.stack([-z, *[torch.zeros_like(z)] * (degree - 1)])
    R = 1 + 2 * solve_element(factorise(z, degree, damped=True), right, 0)[0]
    p, q = degree - 1, degree
    choose = math.comb
    above = sum(choose(p, j) * math.factorial(p + q - j) / math.factorial(p + q) * (-2 * z) ** j for j in range(p + 1))
    below = sum(choose(q, j) * math.factorial(p + q - j) / math.factorial(p + q) * (2 * z) ** j for j in range(q + 1))
    assert torch.allclose(R, above / below, rtol=1e-9, atol=1e-12)
    xi, to_moments = radau(degree)
    assert float(xi[-1]) == 1
    assert torch.allclose(to_moments @ torch.ones_like(xi), torch.eye(degree, dtype=xi.dtype)[0], atol=1e-13)


@pytest.mark.parametrize(("degree", "order"), [(2, 3), (3, 5)])
def test_damped_elements_reach_their_order_and_estimate_their_error(degree, order):
    flow, u0 = AllenCahn(0.05), smooth(FINE)
    *_, exact = march(flow, FINE, u0, [0.05] * 40, Implicit(4))
    errors, counts = [], (8, 16)
    for count in counts:
        elements = list(march(flow, FINE, u0, [2 / count] * count, RadauElements(degree, tolerance=1e-13)))
        errors.append(rms(elements[-1].end - exact.end))
        estimate = sum(damped_error_rate(element, flow) * element.tau for element in elements)
        assert errors[-1] <= estimate <= 20 * errors[-1]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("kind", [FloryHugginsAllenCahn, FloryHugginsCahnHilliard])
def test_deep_quenches_end_at_the_binodal(kind):
    conserved = kind is FloryHugginsCahnHilliard
    theta, end = (0.3, 1.0) if conserved else (0.2, 8.0)
    u0 = spinodal_noise(FINE, 0.05, waves=5, seed=5)
    run = solve(kind(0.02, theta, 1.0), FINE, u0, end, 1e-5, dense=False)
    k2 = np.fft.rfftfreq(64, 1 / 64) ** 2

    def slope(t, v):
        f = theta / 2 * np.log((1 + v) / (1 - v)) - v
        return np.fft.irfft(-(k2 if conserved else 1.0) * (np.fft.rfft(f) + 0.02 * k2 * np.fft.rfft(v)), 64)

    exact = solve_ivp(slope, (0, end), u0.numpy(), method="BDF", rtol=1e-7, atol=1e-9).y[:, -1]
    # The mixture is unstable, so that what the first steps err by grows: BDF at 1e-6 is no better.
    assert np.sqrt(np.mean((run.end.numpy() - exact) ** 2)) <= 5e-5 * end
    assert float(run.end.abs().max()) > 0.99
    assert len(run.steps) < 900


@pytest.mark.filterwarnings("ignore::ernest.phasefield.UnresolvedInterface")  # an outlier is no interface
@pytest.mark.parametrize("flow", [AllenCahn(0.02), CahnHilliard(0.02)], ids=["local", "conserved"])
def test_one_outlier_is_forgotten_when_it_has_decayed(flow):
    grid, end = Grid.cube(16, 2 * math.pi), 10.0 if isinstance(flow, AllenCahn) else 1.0
    start = spinodal_noise(grid, 0.3, waves=3)
    spiked = start.clone()
    spiked[3, 3] = 20.0
    runs = [solve(flow, grid, u, end, 1e-6, dense=False) for u in (start, spiked)]
    assert len(runs[1].steps) <= 3 * len(runs[0].steps)


def test_white_noise_on_a_fine_line_takes_three_times_the_steps_of_a_smooth_start_at_most():
    fine = Grid((1024,), (2 * math.pi,))
    run = solve(CahnHilliard(0.01), fine, spinodal_noise(fine, 0.1, seed=1), 0.2, 1e-9, dense=False)
    even = solve(CahnHilliard(0.01), fine, spinodal_noise(fine, 0.1, seed=1, waves=20), 0.2, 1e-9, dense=False)
    assert len(run.steps) <= 3 * len(even.steps)


def test_a_run_killed_among_damped_elements_goes_on_bit_for_bit(tmp_path):
    calls, last = [], [math.inf]

    class Killed(Exception):
        pass

    def watch(u: torch.Tensor) -> float:
        calls.append(1)
        if len(calls) > last[0]:
            raise Killed
        return 1.0

    def run(path: str, resume: bool = False):
        event, checkpoint = Event("watch", watch), Checkpoint(tmp_path / path, steps=1)
        return solve(AllenCahn(0.05), LINE, smooth() + 0.3, 1e4, 1e-6, events=event, checkpoint=checkpoint, resume=resume)

    whole = run("whole")
    last[0], calls = 0.9 * len(calls), []
    with pytest.raises(Killed):
        run("killed")
    last[0] = math.inf
    rest = run("killed", resume=True)
    assert torch.equal(rest.end, whole.end)
    assert rest.records == whole.records


def test_no_rise_is_told_of_where_nothing_moves(recwarn):
    solve(AllenCahn(0.02), Grid.cube(16, 2 * math.pi), torch.ones(16, 16, dtype=torch.float64), 5.0, step=0.5)
    assert not [one for one in recwarn if one.category is EnergyRise]
