"""Coefficients that vary: exact solutions, order 2p, the energy law, mass, and the flow with constant coefficients."""

import math

import pytest
import torch

from ernest.phasefield import (
    AllenCahn,
    CahnHilliard,
    CoupledFlow,
    DoubleWell,
    EnergeticElements,
    Grid,
    Implicit,
    VariableFlow,
    energy_of,
    march,
    solve,
)
from ernest.phasefield.timeelement import gauss, legendre
from tests.phasefield.evolution.manufactured import error, forced, wave
from tests.phasefield.problems import rms, slope

LINE, SQUARE = Grid((12,), (2 * math.pi,)), Grid.cube(12, 2 * math.pi)
KINDS = {
    "mobility of u": (lambda u, x, t: 0.1, lambda u, x, t: 1 + u**2 / 2),
    "mobility of x and t": (lambda u, x, t: 0.1, lambda u, x, t: 1 + torch.cos(x[0]) / 2 + torch.sin(t) / 3),
    "kappa of x": (lambda u, x, t: 0.1 + 0.05 * torch.sin(x[0]), lambda u, x, t: 1.0),
    "kappa of u": (lambda u, x, t: 0.1 + 0.05 * u**2, lambda u, x, t: 1.0),
    "all": (lambda u, x, t: 0.1 + 0.03 * torch.sin(x[0] + t) + 0.02 * u, lambda u, x, t: 1 + torch.cos(x[0]) / 3 + u / 3),
}


def well(u, x, t):
    """A double well whose depth changes in time."""
    return u**4 / 4 - (1 + 0.3 * torch.sin(t)) * u**2 / 2


@pytest.mark.parametrize("potential", [DoubleWell(), lambda u, x, t: (u * u - 1) ** 2 / 4], ids=["potential", "function"])
@pytest.mark.parametrize("boundary", [("dirichlet",), ("dirichlet-neumann", "dirichlet"), ("periodic", "neumann-dirichlet")])
def test_the_energy_counts_the_ends_that_a_dirichlet_axis_leaves_out(boundary, potential):
    grid = Grid((6, 7)[: len(boundary)], (3.0, 2.0)[: len(boundary)], boundary)
    u0 = torch.rand(2, *grid.points, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 3
    right = energy_of(u0, AllenCahn(0.1), grid).numpy()
    energy = solve(VariableFlow(potential, 0.1), grid, u0, 1e-6, 1e-3, progress=False).energy[0]
    assert abs(energy - right).max() < 1e-13
    both = CoupledFlow(lambda u, x, t: sum((v * v - 1) ** 2 / 4 for v in u), (0.1, 0.1), (1.0, 1.0), (False, False))
    assert abs(solve(both, grid, u0, 1e-6, 1e-3, progress=False).energy[0] - right.sum()) < 1e-13


@pytest.mark.parametrize(("kind", "conserved"), [*((kind, False) for kind in KINDS), ("mobility of u", True), ("all", True)])
def test_a_forced_solution_is_reached_with_order_2p(kind, conserved):
    kappa, mobility = KINDS[kind]
    forcing = forced(wave, well, [kappa], mobility, conserved)
    flow = VariableFlow(well, kappa, mobility, conserved, degree=4, forcing=forcing)
    counts = (8, 16) if conserved else (4, 8)
    errors = [error(flow, LINE, wave, 1.0, n, EnergeticElements(2)) for n in counts]
    assert errors[-1] < 2e-5
    assert 3.85 < slope(counts, errors) < (4.6 if conserved else 4.15)


def test_every_axis_may_have_its_own_coefficients():
    kappas = (lambda u, x, t: 0.1 + 0.02 * torch.sin(x[1]), lambda u, x, t: 0.02 + 0 * u)
    forcing = forced(wave, well, kappas, lambda u, x, t: 1 + u / 2, False)
    flow = VariableFlow(well, kappas, lambda u, x, t: 1 + u / 2, degree=4, forcing=forcing)
    errors = [error(flow, SQUARE, wave, 1.0, n, EnergeticElements(2)) for n in (2, 4)]
    assert 3.85 < slope((2, 4), errors) < 4.2


def start(grid: Grid) -> torch.Tensor:
    x = grid.coordinates()
    return 0.5 * x[0].sin() + 0.3 * (2 * x[-1] + 1).cos()


@pytest.mark.parametrize("boundary", ["periodic", "neumann", "dirichlet", "dirichlet-neumann"])
@pytest.mark.parametrize("conserved", [False, True])
def test_the_energy_falls_by_what_is_dissipated_and_mass_stays(boundary, conserved):
    grid = Grid.cube(12, 2 * math.pi, boundary=boundary)
    flow = VariableFlow(
        DoubleWell(), lambda u, x, t: 0.1 + 0.05 * u**2 * x[0].sin() ** 2, lambda u, x, t: 1.1 - u**2, conserved, 6
    )
    solution = solve(flow, grid, start(grid), 1.0, step=0.1, progress=False)
    falls = -torch.tensor(solution.energy).diff()
    assert (falls > 0).all()
    assert (torch.tensor([record.defect for record in solution.records[1:]]).abs() < 1e-10 * falls).all()
    if conserved and "dirichlet" not in boundary:
        assert abs(solution.mass - solution.mass[0]).max() < 1e-13


@pytest.mark.parametrize("length", [0.1, 2.0])
def test_what_is_dissipated_is_the_mobility_times_the_square_of_mu(length):
    """With mu as its moments in time: then it is nowhere negative, whatever the length of the step."""
    p, q, start_ = 2, 4, start(SQUARE)
    flow = VariableFlow(DoubleWell(), 0.1, lambda u, x, t: 1.5 + torch.sin(5 * u), degree=4)
    (element,) = march(flow, SQUARE, start_, [length], EnergeticElements(p))
    xi, to_moments = gauss(p, q)
    u = element.at(xi)
    mu = u**3 - u + 0.1 * SQUARE.field(SQUARE.squared_wavenumbers() * SQUARE.modes(u))
    moments = torch.einsum("kq,qxy->kxy", to_moments, mu)
    mu = torch.einsum("qk,kxy->qxy", legendre(p - 1, xi), moments)
    powers = SQUARE.integral((1.5 + torch.sin(5 * u)) * mu**2)
    dissipated = length * float(gauss(1, q)[1][0] @ powers)
    constant = AllenCahn(0.1)
    fall = float(energy_of(start_, constant, SQUARE) - energy_of(element.end, constant, SQUARE))
    assert abs(fall - dissipated) < 1e-10 * fall


def test_constant_coefficients_give_the_elements_of_the_flow_that_has_them():
    grid, steps = SQUARE, [0.05] * 4
    *_, one = march(VariableFlow(DoubleWell(), 0.1, conserved=True), grid, start(grid), steps, EnergeticElements(3))
    *_, other = march(CahnHilliard(0.1), grid, start(grid), steps, Implicit(3))
    assert rms(one.end - other.end) < 1e-11
    array = torch.full(grid.points, 0.1, dtype=torch.float64)
    *_, other = march(VariableFlow(DoubleWell(), array, array * 10, True), grid, start(grid), steps, EnergeticElements(3))
    assert rms(one.end - other.end) < 1e-11


@pytest.mark.parametrize(
    ("coefficients", "words"),
    [
        ({"kappa": -1.0}, "nowhere negative, got a least of -1.0"),
        ({"kappa": torch.ones(3)}, r"or an array \[12\], got \[3\]"),
        ({"kappa": 0.1, "mobility": lambda u, x, t: u}, "nowhere negative, got "),
        ({"kappa": (0.1, 0.2)}, "expected one for all axes or one for each of 1, got 2"),
    ],
)
def test_bad_coefficients_are_named(coefficients, words):
    with pytest.raises(ValueError, match=words):
        solve(VariableFlow(DoubleWell(), **coefficients), LINE, start(LINE), 1.0, progress=False)


TENSORS = {
    "constant": ((0.1, 0.04), (0.04, 0.06)),
    "of x": ((0.1, MIXED := lambda u, x, t: 0.03 * torch.sin(x[0]) + 0 * x[1]), (MIXED, 0.06)),
    "of u": ((0.1, TURNED := lambda u, x, t: 0.02 * u), (TURNED, 0.06)),
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_gives_the_variation_by_hand_and_the_energy_law(name):
    kappa, grid = TENSORS[name], Grid.cube(16, 2 * math.pi)
    flow = VariableFlow(DoubleWell(), kappa, 1.0, degree=6 if name == "of u" else 4)
    x, y = (c.clone().requires_grad_() for c in grid.coordinates())
    u = 0.4 * torch.sin(x + y) + 0.2 * torch.cos(2 * x - y)
    ux, uy = torch.autograd.grad(u.sum(), (x, y), create_graph=True)
    free = u * 1
    cross = kappa[0][1](free, (x, y), torch.zeros(1)) if callable(kappa[0][1]) else kappa[0][1] + 0 * x + 0 * free
    by_u = torch.autograd.grad(cross.sum(), free, retain_graph=True, materialize_grads=True)[0]
    along = cross if name != "of u" else 0.02 * u
    flux = torch.autograd.grad((0.1 * ux + along * uy).sum(), x, create_graph=True)[0]
    flux = flux + torch.autograd.grad((along * ux + 0.06 * uy).sum(), y)[0]
    by_hand = (u**3 - u - flux + by_u * ux * uy).detach()
    operators = EnergeticElements(2).stepper(flow, grid, u.detach()).operators
    fields = u.detach()[None, None]
    mu = grid.field(operators.variation(fields, grid.modes(fields), torch.zeros(1)))[0, 0]
    assert (mu - by_hand).abs().max() < 1e-12
    solution = solve(flow, grid, u.detach(), 0.6, step=0.3, progress=False)
    falls = -torch.tensor(solution.energy).diff()
    assert (falls > 0).all()
    assert (torch.tensor([record.defect for record in solution.records[1:]]).abs() < 1e-10 * falls).all()


def test_a_tensor_turns_a_wave_that_runs_along_its_weak_axis_slower():
    """A plane wave k decays like exp(-(k kappa k) t) where the potential is flat."""
    grid, kappa = Grid.cube(12, 2 * math.pi), ((0.1, 0.04), (0.04, 0.06))
    x, y = grid.coordinates()
    for k in ((1, 1), (1, -1), (2, 1)):
        wave = torch.cos(k[0] * x + k[1] * y)
        rate = sum(k[a] * kappa[a][b] * k[b] for a in range(2) for b in range(2))
        solution = solve(VariableFlow(lambda u, x, t: 0 * u, kappa, degree=2), grid, wave, 1.0, 1e-8, progress=False)
        assert (solution.end - math.exp(-rate) * wave).abs().max() < 1e-7


@pytest.mark.parametrize(
    ("kappa", "boundary", "words"),
    [
        (((0.1, 0.2), (0.2, 0.1)), "periodic", "expected a tensor that is nowhere negative"),
        (((0.1, 0.01), (0.02, 0.1)), "periodic", "expected a symmetric tensor"),
        (((0.1, 0.01), 0.1), "periodic", "expected a tensor of 2 rows of 2"),
        (((0.1, 0.01), (0.01, 0.1)), "neumann", "a tensor between axes 0 and 1 needs both to be periodic"),
    ],
)
def test_tensors_that_are_none_are_refused(kappa, boundary, words):
    grid = Grid.cube(8, 1.0, boundary=boundary)
    with pytest.raises(ValueError, match=words):
        solve(VariableFlow(DoubleWell(), kappa), grid, torch.zeros(8, 8, dtype=torch.float64), 1.0, progress=False)
