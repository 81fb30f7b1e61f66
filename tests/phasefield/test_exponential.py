import math

import numpy as np
import pytest
import torch

from ernest.phasefield import AllenCahn, CahnHilliard, ConservativeAllenCahn, GaussSeidel, Grid, State, march
from ernest.phasefield.schemes.exponential import ETDRK4, IMEXBDF4, ExponentialElements, exponential_tableau, propagated_legendre
from ernest.phasefield.timeelement import legendre, nodal_tableau

GRID = Grid.cube(24, 2 * math.pi)


def smooth_start() -> torch.Tensor:
    x, y = GRID.coordinates()
    return 0.4 * x.sin() * y.cos() + 0.3 * (x + 2 * y).cos() + 0.2 * (2 * x - y + 1).sin()


def end(flow, start, tau, n, scheme) -> torch.Tensor:
    *_, last = march(flow, GRID, start, [tau] * n, scheme)
    return last.end


@pytest.fixture(scope="module")
def exact() -> torch.Tensor:
    return end(AllenCahn(0.1), smooth_start(), 0.05, 20, GaussSeidel(5, 5, 4))


@pytest.mark.parametrize(
    ("scheme", "elements", "order"),
    [
        (ETDRK4(), (16, 32, 64), 4),
        (IMEXBDF4(0.5), (48, 96, 192), 4),
        (ExponentialElements(2, 6), (8, 16, 32), 4),
        (ExponentialElements(2, 2), (16, 32, 64), 3),
        (ExponentialElements(3, 8), (4, 8, 16), 6),
    ],
)
def test_orders(exact, scheme, elements, order):
    errors = [(end(AllenCahn(0.1), smooth_start(), 1 / n, n, scheme) - exact).norm() for n in elements]
    slope = -np.polyfit(np.log(elements), np.log(errors), 1)[0]
    assert slope == pytest.approx(order, abs=0.15)


def test_etdrk4_loses_order_on_cahn_hilliard():
    x, y = GRID.coordinates()
    start = 0.05 * x.sin() * y.sin() + 0.1 * (3 * x + 2 * y).cos() + 0.05 * (4 * x - y).cos() + 0.1
    flow = CahnHilliard(0.01)
    relaxed = end(flow, start, 1e-3, 50, GaussSeidel(3, 3, 3, 1.0))
    reference = end(flow, relaxed, 0.25 / 200, 200, GaussSeidel(3, 3, 3, 1.0))
    counts = (20, 40, 80)
    errors = [(end(flow, relaxed, 0.25 / n, n, ETDRK4()) - reference).norm() for n in counts]
    assert 2 < -np.polyfit(np.log(counts), np.log(errors), 1)[0] < 3.6


@pytest.mark.parametrize("z", [0.0, 1e-6, 0.3, 5.0, 11.9, 12.1, 80.0])
@pytest.mark.parametrize("xi", [-0.8, 0.1, 1.0])
def test_propagated_polynomials_are_the_integrals(z, xi):
    s, weights = np.polynomial.legendre.leggauss(300)
    s = -1 + (xi + 1) * (s + 1) / 2
    kernel = np.exp(-z * (xi - s)) * weights * (xi + 1) / 2
    expected = legendre(3, torch.from_numpy(s)).numpy().T @ kernel
    found = propagated_legendre(torch.tensor([z], dtype=torch.float64), xi, 4)[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_for_small_z_the_exponential_table_is_the_energetic_one():
    z = torch.tensor([1e-3], dtype=torch.float64)
    ours, pade = exponential_tableau(z, 3, torch.ones_like(z)), nodal_tableau(z, 3, torch.ones_like(z))
    assert (ours.a[-1] - pade.a[-1]).abs() < 1e-15
    assert (ours.W[-1] - pade.W[-1]).abs().max() < 1e-13
    assert (ours.W - pade.W).abs().max() < 1e-4


def test_the_stiffest_modes_die_in_one_exponential_element_and_live_on_in_an_energetic_one():
    flow, noise = AllenCahn(1.0), 0.1 * torch.randn(24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rough = GRID.squared_wavenumbers() > 100

    def rest(scheme) -> float:
        *_, last = march(flow, GRID, noise, [0.5], scheme)
        return (last.end_modes.abs() * rough).max().item() / (GRID.modes(noise).abs() * rough).max().item()

    assert rest(ExponentialElements(3, 8)) < 1e-2
    assert rest(GaussSeidel(3, 3, 2)) > 0.2


@pytest.mark.parametrize(("scheme", "bound"), [(ETDRK4(), 1e-7), (IMEXBDF4(0.5), 3e-6), (ExponentialElements(3, 8), 1e-7)])
def test_the_polynomial_of_a_step_follows_the_solution_inside(scheme, bound):
    flow, start = AllenCahn(0.1), smooth_start()
    *_, last = march(flow, GRID, start, [0.05] * 6, scheme)
    reference = end(flow, start, 0.265 / 6, 6, GaussSeidel(5, 5, 4))
    assert (last.at_time(0.265) - reference).abs().max() < bound
    assert (last.at(1.0) - last.end).abs().max() < 1e-13
    assert (last.at(-1.0) - last.start).abs().max() < 1e-13


@pytest.mark.parametrize("scheme", [ETDRK4(), IMEXBDF4(0.5), ExponentialElements()])
def test_conserved_mass_stays(scheme):
    start = smooth_start() + 0.1
    last = end(ConservativeAllenCahn(0.1), start, 0.05, 8, scheme)
    assert abs(last.mean() - start.mean()).item() < 1e-15


def test_bdf4_goes_on_from_its_history_and_starts_anew_when_the_step_changes():
    stepper = IMEXBDF4(0.5).stepper(AllenCahn(0.1), GRID, smooth_start())
    state = stepper.init(smooth_start())
    for _ in range(5):
        state, _, _ = stepper.step(state, 0.02)
    assert len(state.history) == 6
    copy = State(state.time, state.modes.clone(), state.history.clone(), state.taus, state.count)
    assert torch.equal(stepper.step(state, 0.02)[1].end, stepper.step(copy, 0.02)[1].end)
    other, _, facts = stepper.step(state, 0.01)
    assert facts.iterations > 1
    assert other.taus == (0.01,)


def test_bad_input_is_refused():
    forced = AllenCahn(0.1, forcing=lambda t, x: 0 * t + 0 * x[0])
    with pytest.raises(ValueError, match="knows no forcing"):
        end(forced, smooth_start(), 0.1, 1, ETDRK4())
    with pytest.raises(ValueError, match="steps"):
        end(AllenCahn(0.1), smooth_start(), -0.1, 1, ETDRK4())
    with pytest.raises(ValueError, match="one length for all"):
        list(march(AllenCahn(0.1), GRID, smooth_start().expand(2, -1, -1), [torch.tensor([0.1, 0.2])], ETDRK4()))
    with pytest.raises(ValueError, match="sweeps"):
        ExponentialElements(3, 0)
