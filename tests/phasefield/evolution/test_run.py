"""`solve` keeps its promise for flows with varying coefficients, at the end and between, and resumes bit for bit."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ernest.phasefield import (
    ETDRK4,
    Checkpoint,
    DoubleWell,
    EnergeticElements,
    Event,
    FloryHuggins,
    GaussSeidel,
    Grid,
    Implicit,
    LegendreGrid,
    Value,
    VariableFlow,
    march,
    own_units,
    solve,
)
from ernest.phasefield.solver.checkpoint import checkpoint_time
from tests.references.varying_flows import random_flow

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


@pytest.mark.parametrize("what", ["quench", "mobility", "wall"])
def test_a_run_does_not_go_on_with_functions_that_differ_later_or_for_larger_fields(what, tmp_path):
    grid = Grid((10,), (1.0,), "dirichlet")

    def flow(changed: float) -> VariableFlow:
        c = {name: changed if name == what else 1.0 for name in ("quench", "mobility", "wall")}
        return VariableFlow(
            lambda u, x, t: u**4 / 4 - torch.where(t > 1, c["quench"], 1.0) * u**2 / 2,
            0.1,
            mobility=lambda u, x, t: torch.where(u.abs() > 0.5, c["mobility"], 1.0),
            walls={0: (Value(lambda x, t: 0.1 * torch.where(t > 1, c["wall"], 1.0)), Value(0.1))},
        )

    point = Checkpoint(tmp_path / "run.safetensors", steps=1)
    start = 0.1 + 0.2 * (math.pi * grid.coordinates()[0]).sin()
    solve(flow(1.0), grid, start, 0.02, 1e-3, checkpoint=point, stops=[1.0], progress=False)
    with pytest.raises(ValueError, match="is of another run: flow was"):
        solve(flow(2.0), grid, start, 0.03, 1e-3, checkpoint=point, stops=[1.0], resume=True, progress=False)
    assert solve(flow(1.0), grid, start, 0.03, 1e-3, checkpoint=point, stops=[1.0], resume=True, progress=False).times[-1] == 0.03


def test_an_error_on_the_way_says_where_the_last_good_state_is(tmp_path):
    def fail(record):
        if record.time > 0.5:
            raise ZeroDivisionError

    point = Checkpoint(tmp_path / "run.safetensors", minutes=60)
    for checkpoint, name in ((point, "run.safetensors"), (None, "run-failed.safetensors")):
        with pytest.raises(ZeroDivisionError) as raised:
            solve(FLOWS["kappa of x"], LINE, START, 1.0, 1e-4, checkpoint=checkpoint, progress=fail)
        (note,) = raised.value.__notes__
        path = Path(note.rpartition(" ")[2])
        assert path.name == name
        assert 0.5 < checkpoint_time(path) < 1
    rest = solve(FLOWS["kappa of x"], LINE, START, 1.0, 1e-4, checkpoint=point, resume=True, progress=False)
    assert torch.equal(rest.end, solve(FLOWS["kappa of x"], LINE, START, 1.0, 1e-4, progress=False).end)


@pytest.mark.parametrize("seed", range(8))
def test_no_draw_of_flow_grid_and_tolerance_misses_its_tolerance_or_its_law(seed):
    generator = np.random.default_rng(seed)
    flow, grid, start = random_flow(generator)
    tolerance, end = 10 ** generator.uniform(-6, -3), 10 ** generator.uniform(-1, 0.3)
    solution = solve(flow, grid, start, end, tolerance, progress=False)
    # The same way in time with steps for a hundredth of the tolerance.
    finer = solve(flow, grid, start, end, tolerance / 100, progress=False)
    for t in [0.3 * solution.steps[0], *np.linspace(end / 10, end, 10)]:
        error = (solution(t) - finer(t)).square().mean().sqrt().item()
        assert error < tolerance * solution.units.speed * t
    fall = abs(solution.energy[0] - solution.energy[-1])
    assert max(abs(record.defect or 0.0) for record in solution.records) < 1e-10 * fall


def test_a_quench_at_once_is_no_breach_of_the_energy_law():
    flow = VariableFlow(lambda u, x, t: u**4 / 4 - torch.where(t < 1.3, 0.5, 1.5) * u**2 / 2, 0.1, degree=4)
    solution = solve(flow, LINE, START, 2.0, 1e-4, stops=(1.3,), progress=False)
    for record in solution.records[1:]:
        assert (record.defect is None) is (record.time == 1.3)
        assert record.defect is None or abs(record.defect) < 1e-13


def test_own_units_are_those_that_a_run_tells_its_tolerance_in():
    for flow in (FLOWS["mobility of u"], FLOWS["kappa of x"]):
        assert own_units(flow, LINE, START, 1.0) == solve(flow, LINE, START, 1.0, step=0.5, progress=False).units
    # About u = 0 waves grow by 2.4 at most, and of those that decay the slowest, k = 4, does so by 16 (1.6 - 1).
    units = own_units(VariableFlow(DoubleWell(), 0.1, conserved=True), LINE, 0.01 * START, 1.0)
    assert (units.time, units.field) == pytest.approx((1 / 9.6, 1.0), rel=0.01)


def test_an_ensemble_has_the_fields_of_its_members():
    flow = FLOWS["mobility of u"]
    both = torch.stack([START, 0.5 * START.flip(0)])
    together = solve(flow, LINE, both, 0.3, step=0.1, progress=False)
    for member, start in enumerate(both):
        alone = solve(flow, LINE, start, 0.3, step=0.1, progress=False)
        assert (together.end[member] - alone.end).abs().max() < 1e-11
    assert together.energy.shape == (4, 2)


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


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"forcing": 1.0}, r"^forcing: expected a function \(u, x, t\), got 1.0"),
        ({"noise": 1e-3}, r"^noise: expected Noise\(temperature=...\) or Noise\(strength=...\), got 0.001"),
        ({"degree": "4"}, "^degree: expected a whole number, got '4'"),
        ({"degree": 0}, "^degree: expected that of the energy in u, 1 or more, or None, got 0"),
        ({"potential": lambda u, x, t: torch.log(u)}, "^potential: expected finite values for u0, got some that are not"),
        ({"kappa": lambda u, x, t: u * math.nan}, "^kappa: expected finite values for u0"),
        (
            {"kappa": lambda u, x, t: -1.0 + 0 * u},
            "^kappa: expected values that are finite and nowhere negative, got -1.0 to -1.0",
        ),
        (
            {"mobility": lambda u, x, t: u},
            r"^mobility: expected values that are finite and nowhere negative, .* \.clamp\(min=0\)",
        ),
    ],
)
def test_what_is_no_part_of_a_flow_is_refused_by_name(parts, words):
    with pytest.raises(ValueError, match=words):
        solve(VariableFlow(**({"potential": DoubleWell(), "kappa": 0.1} | parts)), LINE, START, 1.0, progress=False)


def test_a_run_without_end_comes_to_rest():
    """How short a step may be has nothing to do with how long the run is to be."""
    grid, flow = Grid((6,), (1.0,), "neumann"), VariableFlow(DoubleWell(), 0.1, lambda u, x, t: 1 + u * u)
    run = solve(flow, grid, grid.coordinates()[0], 1e12, 1e-3, progress=False)
    assert run.times[-1] == 1e12
    assert abs(run.end - 1).max() < 1e-6


@pytest.mark.parametrize("scheme", [GaussSeidel(), Implicit(2), ETDRK4()])
def test_other_schemes_say_what_these_flows_are_solved_by(scheme):
    with pytest.raises(ValueError, match="scheme: a VariableFlow is solved by EnergeticElements"):
        next(march(FLOWS["mobility of u"], LINE, START, [0.1], scheme))


def test_what_these_flows_cannot_start_from_is_refused():
    logarithmic = VariableFlow(FloryHuggins(0.5, 1.0), 0.1)
    with pytest.raises(ValueError, match=r"inside the potential's domain -1.0 < u < 1.0, got -"):
        solve(logarithmic, LINE, 3 * START, 1.0, progress=False)
    with pytest.raises(ValueError, match=r"tolerance: expected 2.2e-14"):
        solve(FLOWS["forced"], LINE, START, 1.0, 1e-16, progress=False)
    with pytest.raises(ValueError, match="need a Grid, got LegendreGrid"):
        solve(FLOWS["forced"], LegendreGrid((8,), (1.0,)), START, 1.0, progress=False)
