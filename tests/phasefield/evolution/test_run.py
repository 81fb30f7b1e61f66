"""`solve` keeps its promise for flows with varying coefficients, at the end and between, and resumes bit for bit."""

import math

import numpy as np
import pytest
import torch

from ernest.phasefield import Checkpoint, DoubleWell, EnergeticElements, Event, GaussSeidel, Grid, VariableFlow, solve

LINE = Grid((32,), (2 * math.pi,))
X = LINE.coordinates()[0]
START = 0.4 * X.sin() + 0.1 * (2 * X + 1).cos()
FLOWS = {
    "mobility of u": VariableFlow(DoubleWell(), 0.1, lambda u, x, t: 1 - 0.6 * u * u, conserved=True),
    "kappa of x": VariableFlow(DoubleWell(), lambda u, x, t: 0.1 + 0.05 * x[0].cos(), lambda u, x, t: 1 + t.sin() / 2),
    "quench": VariableFlow(lambda u, x, t: u**4 / 4 - (1 + 0.5 * (3 * t).sin()) * u**2 / 2, 0.1, degree=4),
    "forced": VariableFlow(DoubleWell(), 0.1, forcing=lambda u, x, t: (4 * t).cos() * x[0].sin()),
}


@pytest.fixture(scope="module")
def references():
    """The fields at all times, by an explicit method; where that can be, on a grid twice as fine."""
    from scipy.integrate import solve_ivp

    def d(v):
        k = np.arange(len(v) // 2 + 1)
        return np.fft.irfft(1j * k * (k < len(v) // 2) * np.fft.rfft(v), len(v))

    def f(u):
        return u**3 - u

    x = np.arange(64) * np.pi / 32
    rates = {
        "mobility of u": lambda t, u: d((1 - 0.6 * u * u) * d(f(u) - 0.1 * d(d(u)))),
        "kappa of x": lambda t, u: -(1 + np.sin(t) / 2) * (f(u) - d((0.1 + 0.05 * np.cos(x)) * d(u))),
        "quench": lambda t, u: 0.1 * d(d(u)) - u**3 + (1 + 0.5 * np.sin(3 * t)) * u,
        "forced": lambda t, u: 0.1 * d(d(u)) - f(u) + np.cos(4 * t) * np.sin(x),
    }
    found = {}
    for name, rate in rates.items():
        every = 2 if name == "mobility of u" else 1
        start = (0.4 * np.sin(x) + 0.1 * np.cos(2 * x + 1))[::every]
        run = solve_ivp(rate, (0, 1.0), start, "DOP853", rtol=1e-9, atol=1e-11, max_step=0.02, dense_output=True)
        found[name] = lambda t, run=run, every=every: torch.from_numpy(run.sol(t)[:: 3 - every])
    return found


@pytest.mark.parametrize("name", FLOWS)
def test_the_error_stays_below_the_tolerance_at_all_times(name, references):
    solution = solve(FLOWS[name], LINE, START, 1.0, 1e-6, progress=False)
    speed = 1e-6 * solution.units.speed
    floor = 2e-8  # what the grid does not hold
    first, second = solution.steps[:2]
    for t in [0.3 * first, 0.7 * first, first + 0.4 * second, *np.linspace(0.05, 1, 20)]:
        error = (solution(t) - references[name](t)).square().mean().sqrt().item()
        assert error < speed * t + floor, t
    assert len(solution.steps) < 80


def test_a_run_that_is_resumed_has_the_steps_and_fields_of_one_that_was_not(tmp_path):
    flow = FLOWS["kappa of x"]
    whole = solve(flow, LINE, START, 1.0, 1e-7, progress=False)
    point = Checkpoint(tmp_path / "run.safetensors", steps=1)
    solve(flow, LINE, START, 1.0, 1e-7, checkpoint=point, events=Event("half", (0,), terminal=True), progress=False)
    stopped = {"count": 0}

    def stop(record):
        stopped["count"] += 1
        if stopped["count"] == 4:
            raise KeyboardInterrupt

    (tmp_path / "run.safetensors").unlink()
    with pytest.raises(KeyboardInterrupt):
        solve(flow, LINE, START, 1.0, 1e-7, checkpoint=point, progress=stop)
    rest = solve(flow, LINE, START, 1.0, 1e-7, checkpoint=point, resume=True, progress=False)
    assert (rest.times == whole.times).all()
    assert torch.equal(rest.end, whole.end)
    with pytest.raises(ValueError, match="is of another run: flow was"):
        solve(FLOWS["forced"], LINE, START, 1.0, 1e-7, checkpoint=point, resume=True, progress=False)


def test_an_event_ends_the_run_there():
    solution = solve(
        FLOWS["forced"], LINE, START, 1.0, events=Event("down", lambda u: u[0] - 0.07, terminal=True), progress=False
    )
    assert 0 < solution.times[-1] < 1
    assert abs(float(solution.end[0]) - 0.07) < 1e-7


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"scheme": GaussSeidel()}, "a VariableFlow is solved by EnergeticElements, got GaussSeidel"),
        ({"scheme": EnergeticElements(1)}, "expected 2 or more, or give step="),
        ({"steady": 1e-3}, "steady: not known for a VariableFlow"),
    ],
)
def test_what_these_flows_do_not_know_is_refused(choices, words):
    with pytest.raises(ValueError, match=words):
        solve(FLOWS["forced"], LINE, START, 1.0, progress=False, **choices)
