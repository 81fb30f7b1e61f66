import numpy as np
import pytest
import torch

from ernest.phasefield.ode import GradientSystem, NewtonElement, march_system, system_dissipation
from ernest.phasefield.stepping import DivergenceError


def valley(u):
    """A curved valley with two ends: a polynomial of degree six."""
    x, y = u[..., 0], u[..., 1]
    return (x * x - 1) ** 2 + 2 * (y - x**3) ** 2 + 0.3 * x


def oscillator(u):
    position, momentum = u[..., 0], u[..., 1]
    return momentum**2 / 2 + (position**2 - 1) ** 2 / 4


START = torch.tensor([0.3, 0.5], dtype=torch.float64)
MOBILITIES = {
    "identity": None,
    "full": torch.tensor([[1.0, 0.4], [0.4, 0.6]], dtype=torch.float64),
    "conserving": torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64),
    "damped and turning": torch.tensor([[0.5, -1.0], [1.0, 0.1]], dtype=torch.float64),
}


def end_of(system, steps, scheme, end=1.0):
    *_, last = march_system(system, START, [end / steps] * steps, scheme)
    return last.end


@pytest.mark.parametrize(("degree", "steps"), [(1, (32, 64, 128)), (2, (16, 32, 64)), (3, (16, 32, 64))])
def test_order_at_the_ends_is_twice_the_degree(degree, steps):
    system = GradientSystem(valley)
    reference = end_of(system, 48, NewtonElement(6))
    errors = [float((end_of(system, n, NewtonElement(degree)) - reference).norm()) for n in steps]
    order = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert order == pytest.approx(2 * degree, abs=0.1)


@pytest.mark.parametrize("name", MOBILITIES)
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_energy_falls_by_exactly_the_dissipation(degree, name):
    system, scheme = GradientSystem(valley, MOBILITIES[name]), NewtonElement(degree, tolerance=1e-12)
    for element in march_system(system, START, [0.1, 0.3, 0.05, 0.2], scheme):
        change = system.energy(element.end) - system.energy(element.start)
        loss = system_dissipation(element, system, scheme)
        assert loss > 0
        assert abs(change + loss) <= 2e-15


def test_too_few_gauss_points_for_a_sextic_break_the_law():
    system, scheme = GradientSystem(valley), NewtonElement(2, quadrature=2)
    element = next(march_system(system, START, [0.3], scheme))
    change = system.energy(element.end) - system.energy(element.start)
    assert abs(change + system_dissipation(element, system, scheme)) > 1e-7


def test_skew_mobility_keeps_the_energy():
    system = GradientSystem(oscillator, torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64))
    start = torch.tensor([0.0, 0.9], dtype=torch.float64)
    elements = list(march_system(system, start, [0.5] * 40, NewtonElement(2, 4)))
    assert max(abs(oscillator(element.end) - oscillator(start)) for element in elements) <= 2e-14
    assert (elements[-1].end - start).norm() > 0.1


def test_what_the_mobility_sends_to_zero_is_conserved():
    system = GradientSystem(valley, MOBILITIES["conserving"])
    elements = list(march_system(system, START, [0.2] * 10))
    assert max(abs(element.end.sum() - START.sum()) for element in elements) <= 1e-15
    assert valley(elements[-1].end) < valley(START)


def test_quadratic_energy_gives_the_matrix_exponential():
    H = torch.tensor([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]], dtype=torch.float64)
    G = torch.tensor([[1.0, 0.6, 0.1], [-0.2, 2.0, 0.0], [0.1, -0.4, 1.5]], dtype=torch.float64)
    start = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    element = next(march_system(GradientSystem(lambda u: ((u @ H) * u).sum(-1) / 2, G), start, [0.25], NewtonElement(8)))
    for xi in (1.0, 0.3, -0.6):
        exact = torch.matrix_exp(-0.25 * (xi + 1) / 2 * G @ H) @ start
        torch.testing.assert_close(element.at(xi), exact, rtol=0, atol=1e-9 if xi < 1 else 1e-14)


def test_a_linear_energy_falls_straight():
    start = torch.tensor([1.0, -2.0], dtype=torch.float64)
    element = next(march_system(GradientSystem(lambda u: u[..., 0] + 3 * u[..., 1]), start, [0.5]))
    assert element.end_modes.tolist() == [0.5, -3.5]


def test_derivatives_are_those_by_hand():
    u = torch.tensor([[0.3, 0.5], [-1.2, 0.7]], dtype=torch.float64)
    x, y = u.unbind(-1)
    gradient, hessian = GradientSystem(valley).derivatives(u)
    by_hand = torch.stack([4 * x * (x * x - 1) - 12 * x * x * (y - x**3) + 0.3, 4 * (y - x**3)], -1)
    xx, xy = 12 * x * x - 4 - 24 * x * y + 60 * x**4, -12 * x * x
    torch.testing.assert_close(gradient, by_hand, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(
        hessian, torch.stack([xx, xy, xy, torch.full_like(x, 4)], -1).view(2, 2, 2), rtol=1e-14, atol=1e-14
    )


def test_bad_input_is_one_clear_error():
    system = GradientSystem(valley)
    for start in (START.float(), START[None], START * float("nan")):
        with pytest.raises(ValueError, match="u0: expected a finite float64 state"):
            march_system(system, start, [0.1])
    with pytest.raises(ValueError, match="mobility: expected"):
        march_system(GradientSystem(valley, torch.eye(3, dtype=torch.float64)), START, [0.1])
    with pytest.raises(ValueError, match="energy: expected a function"):
        march_system(GradientSystem(lambda u: valley(u).sum()), START, [0.1])
    with pytest.raises(ValueError, match="steps: expected positive lengths, got 0"):
        next(march_system(system, START, [0.0]))
    with pytest.raises(ValueError, match="quadrature: expected 3 or more, got 2"):
        NewtonElement(3, quadrature=2)
    with pytest.raises(DivergenceError, match="no convergence at time 0"):
        next(march_system(system, START, [0.5], NewtonElement(2, limit=1)))
