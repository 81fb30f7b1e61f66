import itertools
import math

import numpy as np
import pytest
import torch

from ernest.phasefield import Grid
from ernest.phasefield.grid import BOUNDARIES
from ernest.phasefield.sine_transforms import dct, dst, inverse_dct, inverse_dst

GRIDS = [
    *(Grid.cube(8, 3.0, dimensions, boundary) for dimensions in (1, 2, 3) for boundary in BOUNDARIES),
    Grid((6, 9), (1.0, 2.5), ("periodic", "neumann")),
    Grid((7, 6), (1.0, 2.5), ("dirichlet", "periodic")),
    Grid((5, 8), (2.0, 1.0), ("neumann", "dirichlet")),
    Grid((6, 4, 5), (1.0, 2.0, 3.0), ("periodic", "periodic", "dirichlet")),
]


def fields(grid: Grid, *batch: int) -> torch.Tensor:
    return torch.randn(*batch, *grid.points, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("n", [2, 5, 8, 13])
def test_cosine_and_sine_transforms_are_those_of_scipy(n):
    fft = pytest.importorskip("scipy.fft")
    u = torch.randn(3, n, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    np.testing.assert_allclose(dct(u), fft.dct(u.numpy(), axis=-1), atol=1e-13)
    np.testing.assert_allclose(dst(u), fft.dst(u.numpy(), type=1, axis=-1), atol=1e-13)
    np.testing.assert_allclose(inverse_dct(dct(u)), u, atol=1e-14)
    np.testing.assert_allclose(inverse_dst(dst(u)), u, atol=1e-14)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_modes_go_back_to_the_field(grid):
    u = fields(grid, 2, 3)
    modes = grid.modes(u)
    assert modes.shape == (2, 3, *grid.mode_shape)
    assert modes.is_complex() == ("periodic" in grid.boundaries)
    assert torch.allclose(grid.field(modes), u, atol=1e-14)
    assert torch.allclose(grid.modes(u[1, 2]), modes[1, 2], atol=1e-13)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_weights_give_the_integral_of_a_product(grid):
    u, v = fields(grid), fields(grid).roll(1, 0)
    by_modes = (grid.weights() * (grid.modes(u).conj() * grid.modes(v)).real).sum()
    assert by_modes.item() == pytest.approx((u * v).sum().item() * grid.cell, rel=1e-13)
    assert grid.norm(grid.modes(u)).item() == pytest.approx(((u * u).sum().item() * grid.cell / grid.volume) ** 0.5, rel=1e-13)


def eigenfunction(x: torch.Tensor, length: float, boundary: str, n: int) -> tuple[torch.Tensor, float]:
    """A function on one axis, and its factor under minus the second derivative."""
    if boundary == "periodic":
        return (2 * math.pi * n * x / length + 0.3).cos(), (2 * math.pi * n / length) ** 2
    k = math.pi * (n - 0.5 if "-" in boundary else n) / length
    return (k * x).cos() if boundary.startswith("neumann") else (k * x).sin(), k**2


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_squared_wavenumbers_are_the_symbol_of_minus_the_laplacian(grid):
    u, factor = torch.ones(grid.points, dtype=torch.float64), 0.0
    for x, length, boundary, n in zip(grid.coordinates(), grid.lengths, grid.boundaries, itertools.count(1), strict=False):
        wave, k2 = eigenfunction(x, length, boundary, 1 if n > 1 else 2)
        u, factor = u * wave, factor + k2
    image = grid.field(grid.squared_wavenumbers() * grid.modes(u))
    assert torch.allclose(image, factor * u, atol=1e-11)


def test_wavenumbers_of_a_side_of_two_pi_are_whole():
    k2 = Grid.cube(12, 2 * math.pi).squared_wavenumbers()
    assert torch.equal(k2, k2.round())
    assert k2[-1, 2] == 5


def test_spacing_leaves_out_the_ends_of_a_dirichlet_axis():
    (x,) = Grid((3,), (1.0,), "dirichlet").coordinates()
    assert x.tolist() == [0.25, 0.5, 0.75]
    (x,) = Grid((2,), (1.0,), "neumann").coordinates()
    assert x.tolist() == [0.25, 0.75]
    (x,) = Grid((2,), (1.0,), "dirichlet-neumann").coordinates()
    assert x.tolist() == [0.4, 0.8]
    (x,) = Grid((2,), (1.0,), "neumann-dirichlet").coordinates()
    assert x.tolist() == pytest.approx([0.2, 0.6])


@pytest.mark.parametrize("grid", GRIDS[3:6], ids=str)
def test_transforms_keep_the_precision_and_let_gradients_through(grid):
    u = fields(grid).float()
    assert grid.field(grid.modes(u)).dtype == torch.float32
    assert torch.autograd.gradcheck(lambda v: grid.field(grid.modes(v) * 2), fields(grid).requires_grad_())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((), ()), "one to three axes"),
        (((4, 4, 4, 4), (1.0,) * 4), "one to three axes"),
        (((4, 4), (1.0,)), "grid lengths: expected 2"),
        (((4, 5), (1.0, 1.0)), "even number on a periodic axis, got 5"),
        (((4, 1), (1.0, 1.0), "neumann"), "2 or more"),
        (((4, 6.0), (1.0, 1.0)), "even number on a periodic axis, got 6.0"),
        (((4,), (-1.0,)), "positive lengths, got -1.0"),
        (((4,), (math.inf,)), "positive lengths, got inf"),
        (((4,), (None,)), "grid lengths: expected a number, got None"),
        (((4,), (10**400,)), "grid lengths: expected a number, got 1000"),
        (((4,), (1.0,), "open"), "grid boundary: expected one of"),
        (((4, 4), (1.0, 1.0), ("periodic",)), "grid boundary: expected one of"),
    ],
)
def test_what_is_no_grid_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Grid(*arguments)


def test_fields_that_do_not_fit_are_refused_by_name():
    grid = Grid.cube(4, 1.0)
    grid.check_field(torch.zeros(2, 4, 4), "start")
    with pytest.raises(ValueError, match=r"start: expected \[\.\.\., 4, 4\] to fit the grid, got \[4, 3\]"):
        grid.check_field(torch.zeros(4, 3), "start")
    with pytest.raises(ValueError, match=r"to fit the grid, got \[4\]"):
        grid.check_field(torch.zeros(4), "start")
    with pytest.raises(ValueError, match="scene: expected a real floating-point field"):
        grid.check_field(torch.zeros(4, 4, dtype=torch.int64), "scene")
    u = torch.zeros(4, 4)
    u[0, 0], u[2, 1] = math.nan, math.inf
    with pytest.raises(ValueError, match="start: 2 values are not finite"):
        grid.check_field(u, "start")


def test_lists_and_bare_numbers_are_a_clear_error():
    with pytest.raises(ValueError, match=r"points: expected a tuple with one number for each axis, got \[8, 8\]"):
        Grid([8, 8], (1.0, 1.0))
    with pytest.raises(ValueError, match=r"lengths: expected a tuple with one number for each axis, got 1.0"):
        Grid((8,), 1.0)
    with pytest.raises(ValueError, match=r"boundary: expected one of .*, or a tuple .*, got \['periodic', 'neumann'\]"):
        Grid((8, 8), (1.0, 1.0), ["periodic", "neumann"])


def test_what_is_kept_of_a_grid_takes_part_in_gradients_whoever_asked_first():
    grid = Grid.cube(14, 1.234)
    with torch.inference_mode():
        grid.norm(grid.squared_wavenumbers() * torch.ones(grid.mode_shape, dtype=torch.complex128))
    u = torch.ones(grid.points, dtype=torch.float64, requires_grad=True)
    grid.norm(grid.squared_wavenumbers() * grid.modes(u)).backward()
    assert u.grad is not None
