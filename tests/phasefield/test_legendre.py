import math

import numpy as np
import pytest
import torch

from ernest.phasefield.element import dissipation
from ernest.phasefield.flow_terms import energy_of, mass_of
from ernest.phasefield.flows import AllenCahn, CahnHilliard, ConservativeAllenCahn
from ernest.phasefield.grid import Grid
from ernest.phasefield.legendre import LegendreGrid, neumann_modes
from ernest.phasefield.schemes.exponential import ETDRK4
from ernest.phasefield.schemes.gaussseidel import GaussSeidel
from ernest.phasefield.schemes.implicit import Implicit
from ernest.phasefield.schemes.semiimplicit import SemiImplicit
from ernest.phasefield.stepping import march

INTERFACE = AllenCahn(kappa=0.2, s=5.0)
GRIDS = [LegendreGrid((9,), (3.0,)), LegendreGrid((6, 9), (1.0, 2.5)), LegendreGrid((4, 5, 3), (1.0, 2.0, 3.0), (5, 9, 4))]


def waves(grid):
    """A field without flux through the sides of a square of side 2."""
    x, y = grid.coordinates()
    return 0.6 * torch.cos(torch.pi * x) * torch.cos(torch.pi * y) + 0.3 * torch.cos(2 * torch.pi * x)


def end_of(flow, grid, start, steps, scheme, end=0.4):
    *_, last = march(flow, grid, start, [end / steps] * steps, scheme)
    return last


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_modes_are_orthonormal_and_diagonalise_the_laplacian(grid):
    generator = torch.Generator().manual_seed(0)
    modes = torch.randn(2, *grid.mode_shape, dtype=torch.float64, generator=generator)
    u = grid.field(modes)
    axes = tuple(range(-grid.dimensions, 0))
    assert u.shape == (2, *grid.points)
    torch.testing.assert_close(grid.modes(u), modes, rtol=0, atol=1e-13)
    torch.testing.assert_close(grid.integral(u * u), modes.square().sum(axes), rtol=1e-13, atol=0)
    torch.testing.assert_close(grid.norm(modes), (grid.integral(u * u) / grid.volume).sqrt(), rtol=1e-13, atol=0)
    assert grid.integral(torch.ones(grid.points, dtype=torch.float64)).item() == pytest.approx(grid.volume, rel=1e-14)
    gradient = gradient_energy(grid, u[0])
    assert (grid.squared_wavenumbers() * modes[0].square()).sum().item() == pytest.approx(gradient, rel=1e-12)


def gradient_energy(grid, u):
    """Integral of |grad u|^2, by differentiating the Legendre series of u on each axis."""
    total = 0.0
    for axis, (q, length) in enumerate(zip(grid.points, grid.lengths, strict=True)):
        nodes = np.polynomial.legendre.leggauss(q)[0]
        vandermonde = np.polynomial.legendre.legvander(nodes, q - 1)
        derivative = np.stack([np.polynomial.legendre.legval(nodes, np.polynomial.legendre.legder(e)) for e in np.eye(q)], 1)
        matrix = torch.from_numpy(derivative @ np.linalg.inv(vandermonde)) * 2 / length
        total += float(grid.integral(torch.tensordot(u, matrix, ([axis], [1])).movedim(-1, axis).square()))
    return total


def test_symbol_comes_close_to_that_of_the_cosines():
    symbol, _ = neumann_modes(32)
    assert symbol[0] == 0
    np.testing.assert_allclose(symbol[1:17], (np.pi * np.arange(1, 17) / 2) ** 2, rtol=3e-4)
    assert symbol[-1] > 20 * (np.pi * 32 / 2) ** 2


def test_coordinates_and_constant():
    grid = LegendreGrid((5, 7), (2.0, 3.0))
    x, y = grid.coordinates()
    assert x.shape == y.shape == grid.points
    assert 0 < x.min() < x.max() < 2
    assert (x.diff(dim=0) > 0).all()
    assert (y.diff(dim=1) > 0).all()
    modes = grid.modes(torch.full(grid.points, 0.7, dtype=torch.float64))
    assert modes[0, 0].item() == pytest.approx(0.7 * math.sqrt(6), rel=1e-14)
    assert modes.flatten()[1:].abs().max() <= 1e-14


def test_order_of_the_implicit_scheme():
    grid = LegendreGrid((32, 32), (2.0, 2.0), (48, 48))
    start = grid.field(grid.modes(waves(grid)))
    reference = end_of(INTERFACE, grid, start, 16, Implicit(6, 6, tolerance=1e-13)).end_modes
    errors = [
        float(grid.norm(end_of(INTERFACE, grid, start, n, Implicit(3, tolerance=1e-13)).end_modes - reference)) for n in (8, 16)
    ]
    assert math.log2(errors[0] / errors[1]) >= 5.3
    assert errors[1] <= 4e-10


def test_both_neumann_spaces_have_the_same_solution():
    legendre, cosine = LegendreGrid((28, 28), (2.0, 2.0), (40, 40)), Grid.cube(32, 2.0, 2, "neumann")
    one = end_of(INTERFACE, legendre, waves(legendre), 8, Implicit(4))
    other = end_of(INTERFACE, cosine, waves(cosine), 8, Implicit(4))
    for norm in (lambda grid, u: grid.integral(u.square()), lambda grid, u: energy_of(u, INTERFACE, grid)):
        assert norm(legendre, one.end).item() == pytest.approx(norm(cosine, other.end).item(), rel=1e-9)


def test_unresolved_data_stall_the_convergence():
    def error(degree):
        grid = LegendreGrid((degree,), (2.0,))
        (x,) = grid.coordinates()
        start = grid.field(grid.modes(0.6 * torch.cos(torch.pi * x) + 0.3 * torch.cos(2 * torch.pi * x)))
        reference = end_of(INTERFACE, grid, start, 32, Implicit(6, tolerance=1e-14)).end_modes
        return float(grid.norm(end_of(INTERFACE, grid, start, 16, Implicit(3, tolerance=1e-14)).end_modes - reference))

    assert error(20) > 10 * error(32)


@pytest.mark.parametrize(
    "flow", [INTERFACE, ConservativeAllenCahn(0.2, 5.0), CahnHilliard(0.02)], ids=lambda flow: type(flow).__name__
)
def test_energy_falls_by_the_dissipation_and_mass_is_kept(flow):
    grid = LegendreGrid((12, 16), (2.0, 2.0))
    start = grid.field(grid.modes(waves(grid) + 0.2))
    first = before = energy_of(start, flow, grid)
    steps = [0.1, 0.2, 0.1] if not isinstance(flow, CahnHilliard) else [0.002, 0.004, 0.002]
    for element in march(flow, grid, start, steps, Implicit(3, tolerance=1e-14)):
        after = energy_of(element.end, flow, grid)
        loss = dissipation(element, flow)
        assert loss > 0
        assert abs(after - before + loss) <= 2e-14 * first
        before = after
        if flow is not INTERFACE:
            assert abs(mass_of(element.end - start, grid)) <= 1e-14


@pytest.mark.parametrize("scheme", [SemiImplicit(3, 2), GaussSeidel(3, 4, 2), ETDRK4()], ids=lambda scheme: type(scheme).__name__)
def test_every_scheme_works_on_it(scheme):
    grid = LegendreGrid((16, 20), (2.0, 2.0), (24, 32))
    start = grid.field(grid.modes(waves(grid)))
    reference = end_of(INTERFACE, grid, start, 8, Implicit(4)).end
    assert (end_of(INTERFACE, grid, start, 40, scheme).end - reference).abs().max() <= 1e-5


def test_tables_by_shells_are_for_other_grids():
    grid = LegendreGrid((6, 6), (2.0, 2.0))
    with pytest.raises(ValueError, match="shells: expected waves"):
        GaussSeidel(shells=True).stepper(INTERFACE, grid, torch.zeros(grid.points, dtype=torch.float64))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((), ()), "degrees: expected one to three"),
        (((4, 0), (1.0, 1.0)), "degrees: expected one to three"),
        (((4,), (1.0, 1.0)), "lengths: expected 1 positive"),
        (((4,), (-1.0,)), "lengths: expected 1 positive"),
        (((4,), (1.0,), (4,)), "quadrature: expected more points"),
        (((4,), (1.0,), (8, 8)), "quadrature: expected more points"),
    ],
)
def test_what_is_no_grid_is_one_clear_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        LegendreGrid(*arguments)
