import numpy as np
import pytest
import torch

from ernest.phasefield.timeelement import basis, coupling, factorise, gauss, legendre, solve


@pytest.mark.parametrize("degree", range(1, 9))
def test_thomas_equals_dense_solve(degree):
    generator = torch.Generator().manual_seed(degree)
    z = torch.rand(5, 7, dtype=torch.float64, generator=generator).pow(4) * 1e4
    right = torch.randn(5, degree, 7, dtype=torch.complex128, generator=generator)
    matrices = torch.eye(degree, dtype=torch.float64) + z[..., None, None] * coupling(degree)
    dense = torch.linalg.solve(matrices.to(right.dtype), right.movedim(1, -1)).movedim(-1, 1)
    thomas = solve(factorise(z, degree), right, axis=1)
    assert (thomas - dense).abs().max() <= 1e-13 * dense.abs().max()


def test_legendre_polynomials_are_those_of_numpy_also_beyond_the_element():
    xi = np.linspace(-1, 3, 11)
    ours = legendre(6, torch.from_numpy(xi))
    for k in range(7):
        np.testing.assert_allclose(ours[:, k], np.polynomial.legendre.Legendre.basis(k)(xi), rtol=1e-13, atol=1e-13)


def test_basis_starts_at_zero_ends_in_its_first_function_and_differentiates_to_legendre():
    ends = basis(5, torch.tensor([-1.0, 1.0], dtype=torch.float64))
    assert torch.allclose(ends, torch.tensor([[0.0] * 5, [2.0, 0, 0, 0, 0]], dtype=torch.float64), atol=1e-15)
    xi = torch.linspace(-1, 1, 9, dtype=torch.float64, requires_grad=True)
    for k in range(5):
        (slope,) = torch.autograd.grad(basis(5, xi)[:, k].sum(), xi)
        assert torch.allclose(slope, legendre(4, xi)[:, k], atol=1e-13)


@pytest.mark.parametrize("degree", range(1, 6))
def test_moments_recover_a_polynomial(degree):
    points, to_moments = gauss(degree)
    coefficients = torch.arange(1.0, degree + 1, dtype=torch.float64)
    values = legendre(degree - 1, points) @ coefficients
    assert torch.allclose(to_moments @ values, coefficients, atol=1e-13)


@pytest.mark.parametrize("degree", range(1, 5))
def test_linear_decay_is_the_diagonal_pade_approximation(degree):
    # Of exp(-2 z) with numerator and denominator of degree p: the stability function of the energetic element.
    z = torch.linspace(0.01, 30, 20, dtype=torch.float64)
    right = torch.zeros(20, degree, dtype=torch.float64)
    right[:, 0] = -z
    growth = 1 + 2 * solve(factorise(z, degree), right, axis=1)[:, 0]
    weights = [1.0]
    for j in range(degree):
        weights.append(weights[-1] * (degree - j) / ((2 * degree - j) * (j + 1)))
    top = sum(weight * (-2 * z) ** j for j, weight in enumerate(weights))
    bottom = sum(weight * (2 * z) ** j for j, weight in enumerate(weights))
    assert torch.allclose(growth, top / bottom, rtol=1e-11, atol=1e-12)
