from fractions import Fraction

import numpy as np
import pytest
import torch

from ernest.phasefield.timeelement import (
    basis,
    combine,
    continuation,
    coupling,
    diagonalise,
    factorise,
    gauss,
    lagrange,
    legendre,
    nodal_tableau,
    solve,
)


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
    coefficients = torch.arange(1.0, degree + 1, dtype=torch.float64)
    for count in (None, degree + 2):
        points, to_moments = gauss(degree, count)
        values = legendre(degree - 1, points) @ coefficients
        assert torch.allclose(to_moments @ values, coefficients, atol=1e-13)


@pytest.mark.parametrize("degree", range(1, 9))
def test_linear_decay_is_the_diagonal_pade_approximation(degree):
    # Of exp(-2 z) with numerator and denominator of degree p: the stability function of the energetic element.
    z = torch.linspace(0.01, 30, 20, dtype=torch.float64)
    right = torch.zeros(20, degree, dtype=torch.float64)
    right[:, 0] = -z
    growth = 1 + 2 * solve(factorise(z, degree), right, axis=1)[:, 0]
    weights = [Fraction(1)]
    for j in range(degree):
        weights.append(weights[-1] * Fraction(degree - j, (2 * degree - j) * (j + 1)))
    exact = []
    for argument in (Fraction(2 * value) for value in z.tolist()):
        top = sum(weight * (-argument) ** j for j, weight in enumerate(weights))
        exact.append(float(top / sum(weight * argument**j for j, weight in enumerate(weights))))
    # Where the function passes through 0 there is nothing to be relative to.
    np.testing.assert_allclose(growth, exact, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(growth, exact, rtol=0, atol=1e-15)


@pytest.mark.parametrize("degree", range(1, 9))
def test_without_stiffness_the_nodal_table_is_gauss_collocation(degree):
    # a_ij = integral of the Lagrange polynomial of node j up to node i, on an element of length 1.
    points, weights = np.polynomial.legendre.leggauss(degree)
    ends = [*points, 1.0]
    butcher = np.empty((degree + 1, degree))
    for j in range(degree):
        node = np.polynomial.Polynomial.fromroots(np.delete(points, j)) if degree > 1 else np.polynomial.Polynomial([1.0])
        whole = (node / node(points[j])).integ(lbnd=-1)
        butcher[:, j] = [whole(x) / 2 for x in ends]
    zero = torch.zeros((), dtype=torch.float64)
    table = nodal_tableau(zero, degree, zero + 0.5)
    np.testing.assert_allclose(-table.W, butcher, atol=1e-14)
    np.testing.assert_allclose(-2 * table.W[-1], weights, atol=1e-14)
    np.testing.assert_allclose(table.a, 1.0)


def test_two_and_three_stages_have_their_known_tables():
    zero, root = torch.zeros((), dtype=torch.float64), 15**0.5
    two = [[1 / 4, 1 / 4 - 3**0.5 / 6], [1 / 4 + 3**0.5 / 6, 1 / 4], [1 / 2, 1 / 2]]
    three = [
        [5 / 36, 2 / 9 - root / 15, 5 / 36 - root / 30],
        [5 / 36 + root / 24, 2 / 9, 5 / 36 - root / 24],
        [5 / 36 + root / 30, 2 / 9 + root / 15, 5 / 36],
        [5 / 18, 4 / 9, 5 / 18],
    ]
    for degree, table in ((2, two), (3, three)):
        np.testing.assert_allclose(-nodal_tableau(zero, degree, zero + 0.5).W, table, atol=1e-15)


@pytest.mark.parametrize("degree", range(1, 7))
def test_the_nodal_table_is_the_solved_element(degree):
    generator = torch.Generator().manual_seed(degree)
    z, drive, start = (torch.rand(9, dtype=torch.float64, generator=generator) * size for size in (50, 1, 1))
    rows = torch.randn(degree, 9, dtype=torch.float64, generator=generator)
    points, to_moments = gauss(degree)
    right = -drive * (to_moments @ rows)
    right[0] -= z * start
    c = solve(factorise(z, degree), right, axis=0)
    table = nodal_tableau(z, degree, drive)
    values = table.a * start + torch.einsum("ij...,j...->i...", table.W, rows)
    ends = torch.cat([points, torch.ones(1, dtype=torch.float64)])
    assert torch.allclose(values, start + basis(degree, ends) @ c, rtol=0, atol=1e-14 * degree)


@pytest.mark.parametrize(("degree", "accuracy"), [(1, 1e-15), (2, 1e-15), (3, 5e-15), (4, 1e-14), (6, 1e-13), (8, 1e-12)])
def test_shifted_solves_in_complex_numbers_give_the_same_element(degree, accuracy):
    z = torch.logspace(-3, 4, 15, dtype=torch.float64)
    right = torch.randn(degree, 15, dtype=torch.float64, generator=torch.Generator().manual_seed(degree))
    found = torch.zeros_like(right)
    for value, column, row, multiplicity in diagonalise(degree).shifts:
        assert value.real > 0
        shifted = (row @ right.to(row.dtype)) / (1 + value * z)
        found += multiplicity * (column[:, None] * shifted).real
    thomas = solve(factorise(z, degree), right, axis=0)
    assert (found - thomas).abs().max() <= accuracy * thomas.abs().max()
    assert sum(multiplicity for *_, multiplicity in diagonalise(degree).shifts) == degree


@pytest.mark.parametrize("ratio", [0.3, 1.0, 2.5])
def test_continuation_is_the_same_polynomial_on_the_next_element(ratio):
    c = torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    further = continuation(4, torch.tensor(ratio, dtype=torch.float64)) @ c
    xi = torch.linspace(-1, 1, 7, dtype=torch.float64)
    assert torch.allclose(basis(4, xi) @ further, basis(4, 1 + ratio * (xi + 1)) @ c - 2 * c[0], atol=1e-12)


def test_lagrange_matrices_reproduce_polynomials():
    nodes, xi = torch.tensor([-3.0, -1.5, -0.2, 0.4], dtype=torch.float64), torch.linspace(-1, 1, 5, dtype=torch.float64)
    cubic = [0.3, -1.0, 0.5, 2.0]
    values = torch.from_numpy(np.polyval(cubic, nodes))
    assert torch.allclose(lagrange(nodes, xi) @ values, torch.from_numpy(np.polyval(cubic, xi)), atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_combine_is_a_product_over_the_rows(dtype):
    rows = torch.randn(2, 3, 4, 5, dtype=dtype, generator=torch.Generator().manual_seed(1))
    matrices = torch.randn(2, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(combine(matrices[0], rows, 2), torch.einsum("qp,bpxy->bqxy", matrices[0].to(dtype), rows))
    assert torch.allclose(combine(matrices, rows, 2), torch.einsum("bqp,bpxy->bqxy", matrices.to(dtype), rows))
