import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ernest.phasefield import GaussSeidel, GradientFlow, Grid, Polynomial, march
from ernest.phasefield.solver.diagnostics import Diagnostics
from ernest.phasefield.solver.error_estimate import EXACT, Truncation, amplification, carried, end_integral, lost

# The equation u_t = -Lambda u of every mode on its own: f = 0 and S = 0.
DECAY = GradientFlow(torch.ones_like, lambda k2: k2, Polynomial((0.0, 0.0)))
GRID = Grid((64,), (2 * math.pi,))


@pytest.mark.parametrize("degree", [1, 2, 3, 4, 5, 8])
def test_weights_are_the_integral_on_both_sides_of_the_switch(degree):
    z = torch.tensor([1e-3, 0.5, 3.0, 19.9, 20.1, 60.0, 1e4], dtype=torch.float64)
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(400))
    # With the variable y = z (1 - xi) cut at 60 the exponential is resolved for every z.
    cut = (60 / z).clamp(max=2.0)
    xi = 1 - cut[:, None] * (1 + nodes) / 2
    values = torch.from_numpy(np.polynomial.legendre.Legendre.basis(degree)(xi.numpy()))
    exact = (torch.exp(-z[:, None] * (1 - xi)) * values * weights * cut[:, None] / 2).sum(-1)
    assert torch.allclose(end_integral(z, degree), exact, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("degree", [2, 3, 4])
@pytest.mark.parametrize(("k", "tau"), [(1, 0.5), (3, 0.2), (6, 0.1), (20, 1.0)])
def test_the_estimate_of_linear_decay_is_its_error(degree, k, tau):
    u = (k * GRID.coordinates()[0]).cos()
    (element,) = march(DECAY, GRID, u, [tau], GaussSeidel(degree, degree, 1, 0.0))
    error = float((element.end - u * math.exp(-k * k * tau)).square().mean().sqrt())
    factor = float(amplification(torch.tensor(k * k * tau / 2, dtype=torch.float64), degree))
    assert float((element.end - factor * u).abs().max()) < 1e-13
    # Repeated for ever the error would grow by factor after factor; in the own time it makes this much, per unit of time. Earlier
    # there has been less time for that: at the start none, and at 0.6 of 2 a quarter.
    truncation, diagnostics = Truncation(DECAY, GRID, 0.0, u, own_time=2.0), Diagnostics(DECAY, GRID, u)
    for time, span in ((0.0, 0.0), (0.6, 0.5), (2.0, 2.0), (100.0, 2.0)):
        residual = 2 / tau * element.coefficients.sum(-2) + k * k * element.end_modes
        rate = truncation.rate(replace(element, time=time), residual, 0.0, diagnostics)
        assert rate == pytest.approx(error / (tau + span * (1 - factor)), rel=1e-6)


@pytest.mark.parametrize("degree", [2, 3, 5, 8])
def test_of_many_modes_the_weights_are_read_from_tables(degree):
    z = torch.logspace(-5, 7, EXACT + 100, dtype=torch.float64)
    assert torch.allclose(carried(z, degree), end_integral(z, degree), rtol=1e-3, atol=0)
    near = z[z < 300].new_tensor(z[z < 300].tolist() * 2)
    assert torch.allclose(lost(near, degree), 1 - amplification(near, degree), rtol=1e-3, atol=0)
    assert torch.allclose(lost(z, degree), 1 - amplification(z, degree), rtol=0, atol=1e-4)
