"""`solve_system`: orders, the tolerance at all times, what Hamiltonian systems keep, stiffness, events, and what is refused."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from ernest.phasefield import DynamicalSystem, Event, RunFailed, RunInterrupted, SystemElements, Units, solve_system
from tests.phasefield.problems import slope
from tests.phasefield.systems.test_linear import KINDS, N, ring

DOUBLE = torch.float64


def forced_spiral(t, u):
    """A limit cycle that time pushes; no gradient and no invariant."""
    x, y = u.unbind(-1)
    push = 0.5 * torch.cos(2 * t[..., 0])
    return torch.stack([y + push, 1.5 * (1 - x * x) * y - x], -1)


def reference(rate, start, end, **settings):
    def plain(t, u):
        return rate(torch.tensor([t], dtype=DOUBLE), torch.from_numpy(u)).numpy()

    return solve_ivp(plain, (0, end), start.numpy(), "DOP853", rtol=1e-13, atol=1e-13, dense_output=True, **settings).sol


@pytest.mark.parametrize("damped", [False, True])
@pytest.mark.parametrize("degree", [2, 3, 4, 5])
def test_the_order_at_the_ends_is_2p(degree, damped):
    start, end = torch.tensor([1.0, 0.5], dtype=DOUBLE), 1.5
    exact = torch.from_numpy(reference(forced_spiral, start, end)(end))
    counts = {2: (24, 48), 3: (12, 24), 4: (6, 12), 5: (4, 8)}[degree]
    scheme = SystemElements(degree, damped=damped)
    errors = [
        float((solve_system(DynamicalSystem(forced_spiral), start, end, step=end / n, scheme=scheme).end - exact).norm())
        for n in counts
    ]
    assert errors[1] < 1e-5
    assert abs(slope(counts, errors) - scheme.order) < 0.45


def random_system(generator):
    """A linear part with waves, decay and some growth, a quadratic part, and a push by time; and its first state."""
    n = int(generator.integers(2, 7))
    A = generator.standard_normal((n, n)) * 10 ** generator.uniform(-0.5, 0.7) - np.eye(n) * generator.uniform(0, 2)
    B, w = 0.3 * generator.standard_normal((n, n)), generator.uniform(0.5, 4)
    if generator.random() < 0.3:
        A[0] *= 40  # one unknown that is much faster
        A[0, 0] = -abs(A[0, 0]) - 20
    A = A - np.eye(n) * max(0.0, np.linalg.eigvals(A).real.max() - 0.3)
    linear, mixing = torch.from_numpy(A.T.copy()), torch.from_numpy(B)

    def rate(t, u):
        return u @ linear + torch.sin(u @ mixing) * u.cos() + torch.cos(w * t)

    return DynamicalSystem(rate), torch.from_numpy(generator.standard_normal(n))


@pytest.mark.parametrize("seed", range(16))
def test_no_draw_of_a_system_misses_its_tolerance_at_any_time(seed):
    generator = np.random.default_rng(seed)
    system, start = random_system(generator)
    end, tolerance = 10 ** generator.uniform(-0.5, 0.7), 10 ** generator.uniform(-9, -3)
    solution = solve_system(system, start, end, tolerance)
    exact = reference(system.rate, start, end)
    allowed = tolerance * float(start.square().mean().sqrt())
    for t in [0.4 * solution.steps[0], *np.linspace(end / 15, end, 15)]:
        # A growth of exp(.3 t), and a little more by what is not linear, carries errors with it.
        assert np.sqrt(np.mean((solution(t).numpy() - exact(t)) ** 2)) < allowed * math.exp(0.3 * t) * 2


@pytest.mark.parametrize("name", KINDS)
def test_all_kinds_of_jacobians_give_one_solution(name):
    start = torch.linspace(-1, 1, N, dtype=DOUBLE).sin()
    solution = solve_system(KINDS[name], start, 1.0, 1e-9)
    assert np.abs(solution.end.numpy() - reference(ring, start, 1.0)(1.0)).max() < 1e-8
    assert solution.rejected <= 6


def chain(t, u):
    """Masses on springs with a cubic part (Fermi, Pasta, Ulam and Tsingou), with walls; positions, then momenta."""
    q, p = u.chunk(2, -1)
    stretched = torch.diff(torch.nn.functional.pad(q, (1, 1)), dim=-1)
    force = stretched + 0.25 * stretched**3
    return torch.cat([p, torch.diff(force, dim=-1)], -1)


def chain_energy(u):
    q, p = u.chunk(2, -1)
    stretched = torch.diff(torch.nn.functional.pad(q, (1, 1)), dim=-1)
    return (p.square().sum(-1) + stretched.square().sum(-1) + stretched.pow(4).sum(-1) / 8) / 2


def test_enough_points_keep_the_energy_of_a_hamiltonian_chain_whatever_the_step():
    start = torch.cat([torch.sin(math.pi * torch.arange(1, 9, dtype=DOUBLE) / 9), torch.zeros(8, dtype=DOUBLE)])
    system = DynamicalSystem(chain, invariant=chain_energy)
    drift = {}
    for points in (2, 4):
        energy = solve_system(system, start, 60.0, step=0.5, scheme=SystemElements(2, points), dense=False).energy
        drift[points] = abs(energy - energy[0]).max() / energy[0]
    assert drift[4] < 1e-13
    assert drift[2] > 1e-7


def robertson(t, u):
    """Three reactions whose speeds differ by nine orders of magnitude."""
    a, b, c = u.unbind(-1)
    slow, middle, fast = 0.04 * a, 1e4 * b * c, 3e7 * b * b
    return torch.stack([middle - slow, slow - middle - fast, fast], -1)


@pytest.mark.parametrize("damped", [False, True])
def test_a_stiff_system_takes_few_steps(damped):
    start, sizes = torch.tensor([1.0, 0.0, 0.0], dtype=DOUBLE), torch.tensor([1.0, 1e-4, 1.0], dtype=DOUBLE)
    system = DynamicalSystem(robertson, invariant=lambda u: u.sum(-1))
    solution = solve_system(system, start, 40.0, 1e-5, sizes=sizes, scheme=SystemElements(3, damped=damped))
    known = torch.tensor([0.7158270687194, 9.185534764558e-6, 0.2841637457458], dtype=DOUBLE)
    assert ((solution.end - known) / sizes).abs().max() < 1e-5
    assert len(solution.steps) < 120
    assert abs(solution.energy - 1).max() < 1e-12


def test_a_tolerance_in_units_is_told_per_time():
    start = torch.tensor([1.0, 0.5], dtype=DOUBLE)
    loose = solve_system(DynamicalSystem(forced_spiral), start, 5.0, 1e-6, units=Units(5.0, 1.0))
    tight = solve_system(DynamicalSystem(forced_spiral), start, 5.0, 1e-6, units=Units(5.0, 1e-3))
    assert len(tight.steps) > 1.5 * len(loose.steps)


def test_events_are_found_between_the_steps_and_end_the_run():
    def swing(t, u):
        return torch.stack([u[..., 1], -u[..., 0]], -1)

    start = torch.tensor([1.0, 0.0], dtype=DOUBLE)
    events = [Event("zero", (0,)), Event("second", lambda u: u[0] - 0.5, direction=1, terminal=True)]
    solution = solve_system(DynamicalSystem(swing), start, 20.0, 1e-9, events=events)
    assert np.abs(np.array(solution.events("zero")) - math.pi * np.array([0.5, 1.5])).max() < 1e-7
    assert abs(solution.times[-1] - 5 * math.pi / 3) < 1e-7
    assert abs(float(solution.end[0]) - 0.5) < 1e-7


def test_jumps_at_stops_are_no_harm():
    def pushed(t, u):
        return torch.where(t < 0.5, 1.0, -3.0) - u

    start = torch.zeros(1, dtype=DOUBLE)
    solution = solve_system(DynamicalSystem(pushed), start, 1.0, 1e-9, stops=[0.5])
    at_half = 1 - math.exp(-0.5)
    assert 0.5 in solution.times
    assert abs(float(solution.end) - (-3 + (at_half + 3) * math.exp(-0.5))) < 1e-9


def test_a_run_that_cannot_go_on_or_is_interrupted_keeps_what_it_did():
    start = torch.ones(1, dtype=DOUBLE)
    with pytest.raises(RunFailed) as failed:
        solve_system(DynamicalSystem(lambda t, u: torch.sqrt(0.5 - t) - u), start, 2.0, 1e-4)
    assert 0.4 < failed.value.time < 0.5
    assert failed.value.path.exists()

    def stop(record):
        if record.time > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(RunInterrupted) as interrupted:
        solve_system(DynamicalSystem(lambda t, u: -u), start, 2.0, 1e-6, progress=stop)
    solution = interrupted.value.solution
    assert abs(float(solution(0.4)) - math.exp(-0.4)) < 1e-6


GOOD = DynamicalSystem(lambda t, u: -u)
ONES = torch.ones(3, dtype=DOUBLE)


@pytest.mark.parametrize(
    ("system", "start", "choices", "words"),
    [
        (GOOD, ONES.float(), {}, "u0: expected a finite float64 state"),
        (GOOD, ONES[None], {}, "u0: expected a finite float64 state"),
        (DynamicalSystem(lambda t, u: u.sum(-1)), ONES, {}, r"rate: expected float64 \[2, 3\]"),
        (DynamicalSystem(lambda t, u: u / 0), ONES, {}, "rate: expected finite values at u0"),
        (DynamicalSystem(GOOD.rate, pattern=np.eye(2)), ONES, {}, r"pattern: expected a sparse matrix \[3, 3\]"),
        (GOOD, ONES, {"tolerance": 1e-17}, "tolerance: expected 2.2e-14"),
        (GOOD, ONES, {"step": 3.0}, "step: expected a length between 0 and t1 = 2.0, got 3.0"),
        (GOOD, ONES, {"scheme": SystemElements(1)}, "scheme degree: expected 2 or more"),
        (GOOD, ONES, {"scheme": "radau"}, "solved by SystemElements, got 'radau'"),
        (GOOD, ONES, {"sizes": torch.zeros(3)}, "sizes: expected positive numbers"),
        (GOOD, ONES, {"events": Event("one", (5,))}, "event one: expected a point of the grid"),
        (GOOD, ONES[:0], {}, "u0: expected a finite float64 state"),
        (GOOD, 1e200 * ONES, {}, r"u0: expected numbers up to 1e\+150"),
        (GOOD.rate, ONES, {}, r"system: expected DynamicalSystem\(rate\), got <function"),
        (DynamicalSystem(GOOD.rate, jacobian=lambda u: u), ONES, {}, "jacobian: fails for .* takes 1 positional argument"),
        (DynamicalSystem(GOOD.rate, jacobian=lambda t, u: np.eye(3) * math.nan), ONES, {}, "jacobian: expected finite values"),
        (GOOD, ONES, {"max_step": 1e-20}, "max_step: expected 2.0e-12 or more, for a run to t1 = 2.0 would never end"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(system, start, choices, words):
    with pytest.raises(ValueError, match=words):
        solve_system(system, start, 2.0, **choices)


def test_how_short_a_step_may_be_does_not_follow_from_the_end_of_the_run():
    half = Event("half", lambda u: u[0] - 0.5, terminal=True)
    run = solve_system(DynamicalSystem(lambda t, u: -u), ONES, 1e12, events=half)
    assert abs(run.times[-1] - math.log(2)) < 1e-9


def test_a_rate_whose_derivative_is_zero_everywhere_is_one():
    run = solve_system(DynamicalSystem(lambda t, u: -torch.sign(u) * (1 + t)), ONES, 0.5)
    assert torch.allclose(run.end, ONES - 0.625)


def test_elements_that_are_none_are_refused():
    with pytest.raises(ValueError, match="quadrature: damped elements have as many points as their degree, got 5"):
        SystemElements(3, 5, damped=True)
    with pytest.raises(ValueError, match="scheme accuracy: expected a number between 0 and 1, got 2"):
        SystemElements(accuracy=2)
