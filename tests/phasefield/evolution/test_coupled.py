"""Several fields: an exact solution, a mixture of conserved and other fields, and three fields on 256^2."""

import math

import numpy as np
import pytest
import torch

from ernest.phasefield import CoupledFlow, EnergeticElements, Grid, Noise, Units, march, solve
from tests.phasefield.problems import rms, slope

GRID = Grid((16,), (2 * math.pi,))
X = GRID.coordinates()[0]


def solidification(u, x, t):
    """Model C: phase and composition, which the phase prefers at minus and plus 0.4."""
    phase, c = u
    return (phase * phase - 1) ** 2 / 4 + (c - 0.4 * phase) ** 2


FLOW = CoupledFlow(
    solidification, (0.1, 0.05), (lambda u, x, t: 1 + u[1] ** 2, lambda u, x, t: 1.2 - u[0] ** 2), (False, True), 4
)
START = torch.stack([0.5 * X.sin() + 0.2 * (2 * X).cos(), 0.1 + 0.3 * (X + 1).cos()])


def test_model_c_keeps_energy_law_and_mass_and_has_order_2p():
    reference = solve(FLOW, GRID, START, 0.5, 1e-10, progress=False)
    ends = []
    for steps in (8, 16):
        *_, last = march(FLOW, GRID, START, [0.5 / steps] * steps, EnergeticElements(2))
        ends.append(rms(last.end - reference.end))
    assert 3.85 < slope((8, 16), ends) < 4.6
    energy, mass = torch.tensor(reference.energy), torch.tensor(reference.mass)
    assert (energy.diff() < 0).all()
    defects = torch.tensor([record.defect for record in reference.records[1:]])
    assert float(defects.abs().max()) < 1e-10 * float(energy[0] - energy[-1])
    assert float((mass[:, 1] - mass[0, 1]).abs().max()) < 1e-13


def test_a_matrix_of_mobilities_drives_each_field_by_the_others():
    """Waves of a quadratic energy decay like exp(-k^2 M H t), H the matrix of the energy."""
    M, H = torch.tensor([[1.0, 0.4], [0.4, 0.5]]).double(), torch.tensor([[1.0, 0.3], [0.3, 2.0]]).double()
    energy = lambda u, x, t: (u[0] ** 2 + 0.6 * u[0] * u[1] + 2 * u[1] ** 2) / 2
    flow = CoupledFlow(energy, (0.2, 0.1), tuple(tuple(row) for row in M.tolist()), (True, True), 2)
    start = torch.stack([X.sin(), -0.3 * X.sin()])
    solution = solve(flow, GRID, start, 1.0, 1e-8, progress=False)
    decay = torch.matrix_exp(-M @ (H + torch.diag(torch.tensor([0.2, 0.1]).double())))
    exact = torch.outer(decay @ torch.tensor([1.0, -0.3]).double(), X.sin())
    assert rms(solution.end - exact) < 1e-8


def brusselator(u, x, t):
    """A reaction that is the gradient of nothing: it goes round."""
    a, b = u
    return 1 - 4 * a + a * a * b, 3 * a - a * a * b


def test_a_reaction_that_is_no_gradient_goes_in_as_a_forcing():
    from scipy.integrate import solve_ivp

    flow = CoupledFlow(lambda u, x, t: 0.0, (0.1, 0.05), (1.0, 1.0), (False, False), forcing=brusselator)
    start = torch.stack([1 + 0.3 * X.sin(), 3 + 0.2 * X.cos()])
    solution = solve(flow, GRID, start, 2.0, 1e-6, units=Units(), progress=False)
    k2 = np.arange(9) ** 2

    def rate(t, flat):
        u = flat.reshape(2, 16)
        diffusion = np.fft.irfft(-np.array([[0.1], [0.05]]) * k2 * np.fft.rfft(u), 16)
        return (diffusion + np.stack(brusselator(u, None, t))).ravel()

    exact = solve_ivp(rate, (0, 2.0), start.numpy().ravel(), "DOP853", rtol=1e-10, atol=1e-12, t_eval=[0.7, 2.0]).y
    for time, field in zip((0.7, 2.0), exact.T, strict=True):
        assert rms(solution(time) - torch.from_numpy(field.reshape(2, 16))) < 1e-6 * time


def grains(u, x, t):
    """Fan and Chen's potential: one of the fields is 1, the others 0."""
    squares = [field * field for field in u]
    wells = sum((s * s / 4 - s / 2 for s in squares), torch.zeros_like(u[0]))
    return wells + sum(1.5 * squares[i] * squares[j] for i in range(len(u)) for j in range(i))


def test_three_grains_on_256_squared():
    grid = Grid.cube(256, 64.0)
    x, y = grid.coordinates()
    angle = torch.atan2(y - 32, x - 32)
    start = torch.stack([((angle - turn).cos() > 0.5).double() for turn in (0.0, 2 * math.pi / 3, -2 * math.pi / 3)])
    start = grid.field(grid.modes(start) * torch.exp(-grid.squared_wavenumbers()))
    flow = CoupledFlow(grains, (1.0,) * 3, (1.0,) * 3, (False,) * 3, 4)
    first, second = march(flow, grid, start, [0.3] * 2, EnergeticElements(1, tolerance=1e-8))
    assert first.end.shape == (3, 256, 256)
    assert float(second.end.sum(0).min()) > 0.3


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (((0.1,), (1.0, 1.0), (False, False)), "kappa: expected a tuple of 2"),
        (((0.1, 0.1), ((1.0, 2.0), (2.0, 1.0)), (True, True)), "symmetric matrix that is nowhere negative"),
        (((0.1, 0.1), ((1.0, 0.2), (0.2, 1.0)), (False, True)), "fields 0 and 1 are not of one kind"),
    ],
)
def test_what_is_no_coupled_flow_is_refused(parts, words):
    with pytest.raises(ValueError, match=words):
        CoupledFlow(solidification, *parts)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"forcing": lambda u, x, t: (u[0],)}, "forcing: expected a tuple of 2 values, one for each field, got 1 of them"),
        ({"forcing": lambda u, x, t: u[0]}, "forcing: expected a tuple of 2 values, one for each field, got Tensor"),
        ({"forcing": lambda u, x, t: (u[0], torch.ones(3))}, r"forcing: expected a function .* got \[3\]"),
        ({"noise": Noise(0.1)}, "noise: a temperature needs mobilities without entries between fields"),
    ],
)
def test_what_does_not_fit_several_fields_is_refused(settings, words):
    def run():
        flow = CoupledFlow(solidification, (0.1, 0.1), ((1.0, 0.1), (0.1, 1.0)), (True, True), **settings)
        solve(flow, GRID, START, 1.0, progress=False)

    with pytest.raises(ValueError, match=words):
        run()


@pytest.mark.parametrize(("one", "other", "words"), [(0.2, 0.3, "a symmetric matrix"), (2.0, 2.0, "got eigenvalues from -1")])
def test_a_matrix_of_functions_is_one_that_numbers_may_be(one, other, words):
    rows = ((1.0, lambda u, x, t: one + 0 * u[0]), (lambda u, x, t: torch.as_tensor(other), 1.0))
    flow = CoupledFlow(solidification, (0.1, 0.1), rows, (True, True))
    with pytest.raises(ValueError, match=f"^coupled flow: mobility: expected .*{words}"):
        flow.check_on(GRID, START)


def test_fields_that_are_not_as_many_as_the_flow_has_are_refused():
    with pytest.raises(ValueError, match=r"u0: expected \[.., 2 fields, \*points\], got \[16\]"):
        solve(FLOW, GRID, X, 1.0, progress=False)
