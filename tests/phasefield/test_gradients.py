"""In torch's inference mode nothing is differentiated, and densities told by their values alone need it: runs leave the mode."""

import math

import pytest
import torch

from ernest.phasefield import (
    AllenCahn,
    CoupledFlow,
    DynamicalSystem,
    EnergeticElements,
    GradientSystem,
    Grid,
    Slope,
    VariableFlow,
    march,
    march_system,
    own_units,
    solve,
    solve_system,
)

GRID = Grid((12,), (2.0,), "neumann")


def well(u, x, t):
    return (u**2 - 1) ** 2 / 4 + 0.1 * t * u * x[0]


FLOWS = {
    "potential": VariableFlow(well, 0.1),
    "kappa of u": VariableFlow(well, lambda u, x, t: 0.1 + 0.05 * u**2, conserved=True),
    "walls": VariableFlow(well, 0.1, walls={0: (Slope(lambda u, x, t: 0.1 * u), Slope(0.0))}),
    "coupled": CoupledFlow(lambda u, x, t: u[0] ** 2 * u[1] ** 2, (0.1, 0.1), (1.0, 1.0), (True, False)),
}


def start(name: str) -> torch.Tensor:
    u = 0.3 + 0.2 * (math.pi * GRID.coordinates()[0] / 2).cos()
    return torch.stack([u, u - 0.1]) if name == "coupled" else u


@pytest.mark.parametrize("name", FLOWS)
def test_a_run_in_inference_mode_is_the_run(name):
    flow = FLOWS[name]
    right = solve(flow, GRID, start(name), 0.2, 1e-4, progress=False)
    *_, last = march(flow, GRID, start(name), [0.1, 0.1], EnergeticElements(2))
    with torch.inference_mode():
        run = solve(flow, GRID, start(name), 0.2, 1e-4, progress=False)
        *_, again = march(flow, GRID, start(name), [0.1, 0.1], EnergeticElements(2))
        assert own_units(flow, GRID, start(name), 0.2) == right.units
        between = right(0.05)
    assert torch.equal(run.end, right.end)
    assert torch.equal(run(0.05), right(0.05))
    assert torch.equal(between, right(0.05))
    assert torch.allclose(again.end, last.end, rtol=0, atol=1e-13)


def test_systems_in_inference_mode():
    u0 = torch.tensor([1.0, 0.5], dtype=torch.float64)
    system = GradientSystem(lambda u: (u**4 / 4).sum(-1))
    with torch.inference_mode():
        end = solve_system(DynamicalSystem(lambda t, u: -(u**3)), u0, 1.0).end
        *_, last = march_system(system, u0, [0.1] * 10)
    exact = u0 / (1 + 2 * u0**2).sqrt()
    assert torch.allclose(end, exact, atol=1e-5)
    assert torch.allclose(last.end, exact, atol=1e-9)


def test_a_run_keeps_no_graph_and_says_where_gradients_go():
    u0 = start("potential")
    for first in (u0, torch.stack([u0, -u0])):
        run = solve(AllenCahn(0.1), GRID, first.clone().requires_grad_(), 0.2, 1e-4, progress=False)
        assert not run.end.requires_grad
        assert torch.equal(run.end, solve(AllenCahn(0.1), GRID, first, 0.2, 1e-4, progress=False).end)
    with pytest.raises(ValueError, match=r"linear: solve passes no gradients on .* march does"):
        solve(AllenCahn(torch.tensor(0.1, requires_grad=True)), GRID, u0, 0.2)
