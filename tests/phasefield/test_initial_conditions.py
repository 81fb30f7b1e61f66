"""First fields: shapes with interfaces at rest wherever the grid puts them, and noise that no grid has a say in."""

import math

import pytest
import torch

from ernest.phasefield import initial_conditions
from ernest.phasefield.grid import BOUNDARIES, Grid

SIDE = 2 * math.pi
SQUARE = Grid.cube(128, SIDE)
SHAPES = {
    "circle": initial_conditions.circle,
    "star": initial_conditions.star,
    "seven circles": initial_conditions.seven_circles,
    "two drops": initial_conditions.two_drops,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("points", [(48, 64), (24, 32, 28)])
def test_shapes_are_two_phases_on_every_grid(shape, boundary, points):
    u = SHAPES[shape](Grid(points, (6.0, 8.0, 7.0)[: len(points)], boundary), 0.02)
    assert u.shape == points
    assert u.dtype == torch.float64
    assert torch.isfinite(u).all()
    assert (u.abs() <= 1).all()
    assert u.max() > 0.7
    assert u.min() < -0.9
    # More of the first phase than of the second, and a fair share of both.
    assert 0.005 < float((u > 0).double().mean()) < 0.5


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_scale_with_the_grid(shape):
    small, large = SHAPES[shape](Grid.cube(64, 1.0), 1e-4), SHAPES[shape](Grid.cube(64, 3.0), 9e-4)
    torch.testing.assert_close(small, large, rtol=0, atol=1e-12)


def test_the_circle_is_the_profile_at_rest():
    u = initial_conditions.circle(SQUARE, 0.01, radius=2.0)
    x = SQUARE.lines()[0]
    torch.testing.assert_close(u[:, 64], torch.tanh((2 - (x - math.pi).abs()) / (0.1 * math.sqrt(2))), rtol=0, atol=1e-12)
    torch.testing.assert_close(initial_conditions.circle(SQUARE, 0.01), u, rtol=0, atol=1e-12)
    # At this distance from flat the share of the first phase is that of the disk.
    assert float((u + 1).mean()) / 2 * SIDE**2 == pytest.approx(math.pi * 4, rel=0.01)


def test_shapes_go_round_a_periodic_grid_and_stop_at_walls():
    middle, moved = ((math.pi, math.pi), (0.25 * SIDE + math.pi - SIDE, math.pi))
    for radius in (1.0, 2.0):
        u = initial_conditions.circle(SQUARE, 0.01, radius, middle)
        torch.testing.assert_close(initial_conditions.circle(SQUARE, 0.01, radius, moved), u.roll(32, 0), rtol=0, atol=1e-12)
    walled = initial_conditions.circle(Grid.cube(64, 1.0, boundary="neumann"), 1e-4, 0.2, (0.0, 0.5))
    assert walled[0, 32] > 0.99
    assert walled[-1].max() < -0.99


def test_two_drops_differ_and_do_not_touch():
    u = initial_conditions.two_drops(SQUARE, 0.01)
    at = [round(share / math.pi * 128) for share in (1.0, 2.2)]
    assert u[at[0], at[0]] > 0.999
    assert u[at[1], at[1]] > 0.99
    middle = round(0.5 * (at[0] + at[1] + (1.0 - 0.7) / SIDE * 128 / math.sqrt(2)))
    assert u[middle, middle] < -0.99
    line = initial_conditions.two_drops(Grid((400,), (SIDE,)), 0.001)
    assert int((line[1:] * line[:-1] < 0).sum()) == 4


def test_the_star_has_its_rays():
    grid = Grid.cube(256, 1.0)
    u = initial_conditions.star(grid, 1e-4, radius=0.25, rays=5, depth=0.4)
    angle = torch.linspace(0, 2 * math.pi, 721, dtype=torch.float64)[:-1]
    ring = [u[round(256 * (0.5 + 0.25 * math.cos(a))) % 256, round(256 * (0.5 + 0.25 * math.sin(a))) % 256] for a in angle]
    signs = torch.stack(ring) > 0
    assert int((signs != signs.roll(1)).sum()) == 10
    assert u[128, 128] > 0.99


def test_seven_circles_are_the_formula_of_the_benchmark():
    """Written once more, point by point, as in the paper."""
    u = initial_conditions.seven_circles(SQUARE, 0.01)
    pi = math.pi
    x = (pi / 2, pi / 4, pi / 2, pi, 3 * pi / 2, pi, 3 * pi / 2)
    y = (pi / 2, 3 * pi / 4, 5 * pi / 4, pi / 4, pi / 4, pi, 3 * pi / 2)
    r = (pi / 5, 2 * pi / 15, 2 * pi / 15, pi / 10, pi / 10, pi / 4, pi / 4)
    for i, j in [(32, 32), (16, 48), (33, 75), (64, 17), (95, 16), (70, 58), (99, 90), (10, 100), (40, 40)]:
        a, b = SIDE / 128 * i, SIDE / 128 * j
        value = -1.0
        for k in range(7):
            s = math.hypot(a - x[k], b - y[k]) - r[k]
            value += 2 * math.exp(-0.01 / s**2) if s < 0 else 0
        assert float(u[i, j]) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_smooth_noise_is_one_function_on_every_grid(boundary):
    # Halves of Neumann cells have other centres than the wholes; the middle ones of thirds have the same.
    factor, first, more = {
        "periodic": (2, 0, 0),
        "neumann": (3, 1, 0),
        "dirichlet": (2, 1, 1),
        "neumann-dirichlet": (3, 1, 1),
        "dirichlet-neumann": (3, 2, 1),
    }[boundary]
    coarse, fine = (Grid(points, (3.0, 6.0), boundary) for points in ((32, 64), (32 * factor + more, 64 * factor + more)))
    few, many = (initial_conditions.spinodal_noise(grid, 0.2, seed=3, waves=6) for grid in (coarse, fine))
    torch.testing.assert_close(few, many[first::factor, first::factor][:32, :64], rtol=0, atol=1e-12)
    k2 = fine.squared_wavenumbers()
    modes = fine.modes(many).abs()
    assert modes[k2 > (2 * math.pi * 6 / 3.0) ** 2 * 1.001].max() < 1e-10 * modes.max()


def test_noise_has_its_size_its_mean_and_its_seed():
    for waves in (None, 8):
        u = initial_conditions.spinodal_noise(SQUARE, 0.1, 0.2, seed=1, waves=waves)
        assert float(u.mean()) == pytest.approx(0.2, abs=1e-3 if waves is None else 1e-14)
        assert float((u - 0.2).square().mean().sqrt()) == pytest.approx(0.1, rel=0.02 if waves is None else 1e-12)
        assert torch.equal(u, initial_conditions.spinodal_noise(SQUARE, 0.1, 0.2, seed=1, waves=waves))
        assert not torch.equal(u, initial_conditions.spinodal_noise(SQUARE, 0.1, 0.2, seed=2, waves=waves))
    rough = initial_conditions.spinodal_noise(SQUARE, 0.1)
    assert rough.abs().max() <= 0.1 * math.sqrt(3)
    spectrum = SQUARE.modes(rough).abs()
    assert spectrum[SQUARE.squared_wavenumbers() > 60**2].mean() > 0.5 * spectrum.mean()


def test_dirichlet_walls_hold_zero():
    grid = Grid.cube(255, 1.0, boundary="dirichlet")
    u = initial_conditions.circle(grid, 1e-4, 0.3)
    torch.testing.assert_close(u[:20, 128], -torch.tanh(grid.lines()[0][:20] / math.sqrt(2e-4)), rtol=0, atol=1e-6)
    assert u[128, 128] > 0.99


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: initial_conditions.circle(SQUARE, -0.01), "kappa: expected a positive number, got -0.01"),
        (lambda: initial_conditions.circle(SQUARE, 0.01, radius=4.0), "radius: expected a length between 0 and 3.14159"),
        (lambda: initial_conditions.circle(SQUARE, 0.01, centre=(1.0,)), "centre: expected 2 coordinates"),
        (lambda: initial_conditions.star(Grid((64,), (1.0,)), 0.01), "star: expected a grid of two or three dimensions"),
        (lambda: initial_conditions.star(SQUARE, 0.01, depth=1.5), "depth=1.5"),
        (lambda: initial_conditions.star(SQUARE, 0.01, radius=3.0), "radius: expected a length between 0 and 2.24399"),
        (lambda: initial_conditions.seven_circles(Grid((64,), (1.0,)), 0.01), "seven circles: expected a grid of two or three"),
        (lambda: initial_conditions.seven_circles(SQUARE, 0.0), "kappa: expected a positive number, got 0.0"),
        (lambda: initial_conditions.two_drops(SQUARE, 0.01, radii=(1.0, -1.0)), "radius: expected a length"),
        (lambda: initial_conditions.spinodal_noise(SQUARE, -0.1), "amplitude=-0.1"),
        (lambda: initial_conditions.spinodal_noise(SQUARE, mean=math.nan), "mean=nan"),
        (lambda: initial_conditions.spinodal_noise(SQUARE, seed=2**64), "expected a seed below 2"),
        (lambda: initial_conditions.spinodal_noise(SQUARE, waves=64), "the shortest side has room for 1 to 63 waves, got 64"),
        (
            lambda: initial_conditions.spinodal_noise(Grid.cube(64, 1.0, boundary="dirichlet"), mean=0.1),
            "mean must be 0, got 0.1",
        ),
    ],
)
def test_what_cannot_be_is_said_in_a_line(make, message):
    with pytest.raises(ValueError, match=message):
        make()
