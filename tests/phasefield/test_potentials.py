import numpy as np
import pytest
import torch

from ernest.phasefield import DoubleWell, FloryHuggins, Polynomial, Potential

POTENTIALS: list[Potential] = [
    DoubleWell(),
    DoubleWell(2.5),
    Polynomial((0.3, -1.0, 0.5, 0.2, 0.25, 0.0, 1.5)),
    FloryHuggins(0.8, 1.6),
]


@pytest.mark.parametrize("potential", POTENTIALS, ids=str)
def test_f_and_its_slope_are_the_derivatives(potential):
    u = torch.linspace(-0.9, 0.9, 13, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(potential.F(u).sum(), u)
    (second,) = torch.autograd.grad(potential.f(u).sum(), u)
    assert torch.allclose(potential.f(u), first, rtol=1e-13, atol=1e-13)
    assert torch.allclose(potential.df(u), second, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("potential", POTENTIALS, ids=str)
def test_slopes_are_the_range_of_the_derivative_of_f(potential):
    reach = potential.binodal if isinstance(potential, FloryHuggins) else 1.0
    values = potential.df(torch.linspace(-reach, reach, 20001, dtype=torch.float64))
    assert potential.slopes == pytest.approx((values.min().item(), values.max().item()), rel=1e-5)


@pytest.mark.parametrize("potential", POTENTIALS[:3], ids=str)
def test_degree_is_that_of_the_polynomial(potential):
    u = np.linspace(-1, 1, potential.degree + 1)
    values = potential.F(torch.from_numpy(u)).numpy()
    leading = np.polyfit(u, values, potential.degree)[0]
    assert abs(leading) > 0.1
    assert potential.F(torch.tensor(2.0, dtype=torch.float64)).item() == pytest.approx(
        np.polyval(np.polyfit(u, values, potential.degree), 2.0), rel=1e-10
    )


def test_wells_of_the_logarithmic_potential_are_its_minima():
    potential = FloryHuggins(0.8, 1.6)
    assert potential.f(torch.tensor(potential.binodal, dtype=torch.float64)).abs().item() < 1e-13
    assert potential.binodal == pytest.approx(0.957504, abs=1e-6)
    assert FloryHuggins(1.6, 1.6).binodal == 0
    assert FloryHuggins(2.0, 1.0).slopes[0] == pytest.approx(1.0)


def test_bad_parameters_are_refused():
    with pytest.raises(ValueError, match="s must be positive, got s=0"):
        DoubleWell(0.0)
    with pytest.raises(ValueError, match="polynomial coefficients"):
        Polynomial((1.0,))
    with pytest.raises(ValueError, match="polynomial reach"):
        Polynomial((0.0, 1.0), reach=-1)
    with pytest.raises(ValueError, match="theta must be positive"):
        FloryHuggins(0.0, 1.0)
