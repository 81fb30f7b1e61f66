"""Jacobians, by groups of columns and by products; and the solver of an element against one dense matrix."""

import numpy as np
import pytest
import torch
from scipy.sparse import coo_array, random_array

from ernest.phasefield import DynamicalSystem
from ernest.phasefield.systems.linear import linearise
from ernest.phasefield.systems.system import group_columns
from ernest.phasefield.timeelement import coupling


def ring(t, u):
    """Each unknown is driven by its neighbours; no energy, no symmetry."""
    left, right = u.roll(1, -1), u.roll(-1, -1)
    return right * left - u.sin() + 0.3 * right**2 + t.cos()


def ring_pattern(n):
    rows = np.arange(n)
    columns = np.stack([rows, (rows + 1) % n, (rows - 1) % n])
    return coo_array((np.ones(3 * n), (np.tile(rows, 3), columns.ravel())), shape=(n, n))


N = 11
U = torch.linspace(-1, 1, N, dtype=torch.float64).sin()
DENSE = torch.autograd.functional.jacobian(lambda u: ring(torch.tensor([0.4]).double(), u), U)
KINDS = {
    "dense": DynamicalSystem(ring),
    "pattern": DynamicalSystem(ring, pattern=ring_pattern(N)),
    "jacobian": DynamicalSystem(ring, jacobian=lambda t, u: coo_array(DENSE.numpy())),
    "matrix-free": DynamicalSystem(ring, preconditioner=lambda t, u, shift: lambda r: r / (1 + shift)),
}


@pytest.mark.parametrize("name", ["dense", "pattern"])
def test_the_matrix_is_that_of_automatic_differentiation(name):
    matrix = KINDS[name].matrix(0.4, U)
    assert (torch.as_tensor(matrix if name == "dense" else matrix.toarray()) - DENSE).abs().max() < 1e-15


def test_columns_of_one_group_share_no_row():
    pattern = random_array((60, 60), density=0.06, rng=np.random.default_rng(1), format="csc")
    groups = group_columns(pattern)
    entries = pattern.toarray() != 0
    for number in range(groups.group.max() + 1):
        assert entries[:, groups.group == number].sum(1).max() <= 1
    assert groups.group.max() < 20
    rebuilt = groups.matrix(lambda seeds: seeds @ pattern.toarray().T)
    assert abs(rebuilt - pattern).max() == 0


@pytest.mark.parametrize("damped", [False, True])
@pytest.mark.parametrize("degree", [2, 3, 4, 5])
@pytest.mark.parametrize("name", KINDS)
def test_the_solver_of_an_element_is_that_of_the_whole_matrix(name, degree, damped, monkeypatch):
    monkeypatch.setattr("ernest.phasefield.systems.system.FEW", 0)
    tau = 0.7
    solver = linearise(KINDS[name], 0.4, U).time_solver(tau, degree, damped)
    right = torch.randn(degree, N, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = torch.eye(degree * N).double() - tau / 2 * torch.kron(coupling(degree, damped), DENSE)
    exact = torch.linalg.solve(whole, right.flatten()).view_as(right)
    near = 0.1 if name == "matrix-free" else 1e-12
    assert (solver.solve(right) - exact).norm() < near * exact.norm()


def test_few_unknowns_get_a_dense_matrix_whatever_the_preconditioner():
    assert isinstance(linearise(KINDS["matrix-free"], 0.4, U).matrix, torch.Tensor)
    assert KINDS["matrix-free"].is_matrix_free(513)
    assert not KINDS["dense"].is_matrix_free(1000)
    assert KINDS["dense"].is_matrix_free(1001)


@pytest.mark.parametrize("degree", [2, 3, 4])
def test_the_chain_is_the_rational_function_of_the_matrix(degree):
    tau = 0.7
    solver = linearise(KINDS["dense"], 0.4, U).time_solver(tau, degree, False)
    right = torch.randn(2, N, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z = (tau / 2 * DENSE).to(torch.complex128)
    for theta in torch.linalg.eigvals(coupling(degree)):
        z_part = torch.eye(N) - theta * (tau / 2 * DENSE).to(torch.complex128)
        right = torch.linalg.solve(z_part, z @ right.to(torch.complex128).mT).mT
    start = torch.randn(2, N, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert (solver.chain(start, degree) - right).abs().max() < 1e-12


def test_a_system_tells_of_one_jacobian_only():
    with pytest.raises(ValueError, match="expected one of pattern, jacobian and preconditioner, got pattern and jacobian"):
        DynamicalSystem(ring, pattern=ring_pattern(N), jacobian=lambda t, u: DENSE)
    with pytest.raises(ValueError, match=r"jacobian: expected a matrix \[11, 11\], got \[3, 3\]"):
        DynamicalSystem(ring, jacobian=lambda t, u: DENSE[:3, :3]).matrix(0.0, U)
