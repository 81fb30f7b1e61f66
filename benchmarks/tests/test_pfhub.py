import math

import pytest
import torch

from ernest.phasefield import GaussSeidel, Implicit
from examples.pfhub.manufactured import LiftedWell, MovingInterface, error


def derivative(u, variable):
    return torch.autograd.grad(u.sum(), variable, create_graph=True)[0]


@pytest.mark.parametrize(
    "problem", [MovingInterface(), MovingInterface(kappa=0.002, A2=0.1, C2=1.5)], ids=["as posed", "another"]
)
def test_source_makes_the_interface_a_solution(problem):
    generator = torch.Generator().manual_seed(0)
    x, y, t = (torch.rand(200, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(3))
    eta = problem.solution(8 * t, (x, y / 2))
    laplacian = derivative(derivative(eta, x), x) + 4 * derivative(derivative(eta, y), y)
    reaction = LiftedWell(torch.zeros((), dtype=torch.float64)).f(eta)
    residual = derivative(eta, t) / 8 - problem.kappa * laplacian + reaction
    torch.testing.assert_close(problem.source(8 * t, (x, y / 2)), residual, rtol=1e-9, atol=1e-10)


def test_lifted_well_is_consistent():
    u = torch.linspace(-0.3, 0.9, 7, dtype=torch.float64, requires_grad=True)
    well = LiftedWell(torch.full((7,), 0.2, dtype=torch.float64))
    torch.testing.assert_close(derivative(well.F(u), u), well.f(u))
    torch.testing.assert_close(derivative(well.f(u), u), well.df(u))
    low, high = (well.df(torch.tensor([value], dtype=torch.float64) - 0.2)[0] for value in (0.5, 1.0))
    assert (low.item(), high.item()) == pytest.approx(well.slopes)


def test_error_falls_with_the_spacing_faster_than_any_power():
    errors = {n: error(n, 16, GaussSeidel(3, 4, 2)) for n in (64, 96, 128)}
    first, second = (math.log(errors[n] / errors[m]) / math.log(m / n) for n, m in ((64, 96), (96, 128)))
    assert second > first + 1 > 5
    assert errors[128] <= 5e-4


def test_error_of_the_steps_has_order_two_with_degree_one():
    coarse, fine = (error(192, n, Implicit(1, 1, tolerance=1e-8)) for n in (8, 16))
    assert math.log2(coarse / fine) == pytest.approx(2, abs=0.1)
