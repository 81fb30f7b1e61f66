"""Walls with values, slopes, contact angles and inflow, constant and in time, on mixtures of axes."""

import math

import pytest
import torch

from ernest.phasefield import (
    DoubleWell,
    EnergeticElements,
    Grid,
    Inflow,
    Slope,
    Value,
    VariableFlow,
    contact_angle,
    march,
    solve,
)
from tests.phasefield.evolution.manufactured import error, forced
from tests.phasefield.problems import rms, slope

MIXTURES = [("neumann",), ("dirichlet",), ("periodic", "dirichlet"), ("neumann", "periodic"), ("dirichlet", "neumann")]


def well(u, x, t):
    return (u * u - 1) ** 2 / 4


def kappa(u, x, t):
    return 0.1 + 0.03 * torch.sin(math.pi * x[0])


def mobility(u, x, t):
    return 1 + u * u / 2


def grid_of(boundaries, points):
    return Grid((points,) * len(boundaries), (2.0,) * len(boundaries), boundaries)


def moving(boundaries):
    """A function that is periodic where the axis is, and has values and slopes at the walls that move, and its slopes."""

    def phase(axis, c, t):
        return (math.pi if boundaries[axis] == "periodic" else 1.1) * c + t / 2 + axis

    def exact(x, t):
        return sum(0.3 * torch.sin(phase(axis, c, t)) for axis, c in enumerate(x)) + 0.2 * torch.cos(t)

    def outwards(axis, sign):
        return lambda u, x, t: sign * 0.33 * torch.cos(phase(axis, x[axis], t))

    walls = {}
    for axis, boundary in enumerate(boundaries):
        if boundary == "dirichlet":
            walls[axis] = (Value(exact), Value(exact))
        elif boundary == "neumann":
            walls[axis] = (Slope(outwards(axis, -1)), Slope(outwards(axis, 1)))
    return exact, walls


@pytest.mark.parametrize("boundaries", MIXTURES, ids=" ".join)
def test_walls_that_move_are_followed_in_space_and_with_order_2p_in_time(boundaries):
    exact, walls = moving(boundaries)
    forcing = forced(exact, well, [kappa] * 2, mobility, False)
    flow = VariableFlow(well, kappa, mobility, degree=4, forcing=forcing, walls=walls)
    sizes = (6, 12)
    in_space = [error(flow, grid_of(boundaries, n), exact, 0.5, 2, EnergeticElements(3)) for n in sizes]
    assert slope(sizes, in_space) > (1.4 if "dirichlet" in boundaries else 1.8)
    assert in_space[-1] < 6e-4
    grid = grid_of(boundaries, 4)
    start = exact(grid.coordinates(), torch.tensor(0.0, dtype=torch.float64))
    ends = []
    for degree, steps in ((2, 6), (2, 12), (3, 16)):
        *_, last = march(flow, grid, start, [1 / steps] * steps, EnergeticElements(degree))
        ends.append(last.end)
    assert 3.85 < slope((6, 12), [rms(end - ends[2]) for end in ends[:2]]) < 4.15


@pytest.mark.parametrize("conserved", [False, True])
@pytest.mark.parametrize("boundary", ["neumann", "dirichlet"])
def test_the_energy_law_holds_where_walls_are_at_rest(boundary, conserved):
    grid = Grid((12, 8), (2.0, 2.0), (boundary, "periodic"))
    kind, data = (Slope, (0.3, -0.2)) if boundary == "neumann" else (Value, (0.5, -0.3))
    walls = {
        0: (kind(data[0]), kind(lambda *at: data[1] + 0.1 * torch.cos(math.pi * at[-2][1])) if kind is Value else kind(data[1]))
    }
    flow = VariableFlow(DoubleWell(), kappa, lambda u, x, t: 0.1 + u * u, conserved, 4, walls=walls)
    x = grid.coordinates()
    solution = solve(flow, grid, 0.2 * torch.sin(math.pi * x[1]) + 0.3 * x[0].cos(), 0.2, step=0.05, progress=False)
    falls = -torch.tensor(solution.energy).diff()
    assert (falls > 0).all()
    assert (torch.tensor([record.defect for record in solution.records[1:]]).abs() < 1e-10 * falls).all()


def test_a_tilted_front_rests_between_walls_with_its_contact_angles():
    grid, tilt, kappa = Grid((40, 40), (1.0, 1.0), "neumann"), 1.1, 0.02
    x, y = grid.coordinates()
    front = torch.tanh(((x - 0.5) * math.cos(tilt) + (y - 0.5) * math.sin(tilt)) / math.sqrt(2 * kappa))
    # The front's normal has the angle `tilt` to the x axis, pi/2 - tilt to the y axis.
    angles = {0: tilt, 1: math.pi / 2 - tilt}
    walls = {axis: (contact_angle(math.pi - angle, kappa), contact_angle(angle, kappa)) for axis, angle in angles.items()}
    *_, with_walls = march(VariableFlow(DoubleWell(), kappa, walls=walls), grid, front, [0.5] * 2, EnergeticElements(1))
    *_, without = march(VariableFlow(DoubleWell(), kappa), grid, front, [0.5] * 2, EnergeticElements(1))
    assert rms(with_walls.end - front) < 2e-3 < 1e-2 < rms(without.end - front)


def test_the_mass_grows_by_what_comes_in():
    grid = Grid((10, 6), (2.0, 1.0), ("neumann", "periodic"))
    inflow = {0: (Inflow(0.3), Inflow(lambda u, x, t: 0.1 * t))}
    flow = VariableFlow(DoubleWell(), 0.1, lambda u, x, t: 1 + u * u, True, potential_walls=inflow)
    solution = solve(flow, grid, 0.1 * grid.coordinates()[0].cos(), 0.5, step=0.1, progress=False)
    assert abs(solution.mass[-1] - solution.mass[0] - (0.3 * 0.5 + 0.1 * 0.5**2 / 2)) < 1e-13


@pytest.mark.parametrize("wall", [(Value(1.0), Value(0.0)), (Slope(1.0),)])
def test_walls_that_do_not_fit_the_grid_are_refused(wall):
    grid = Grid((8,), (1.0,), "neumann")
    with pytest.raises(ValueError, match="walls: axis 0 with boundary neumann: expected two Values on a dirichlet axis"):
        solve(VariableFlow(DoubleWell(), 0.1, walls={0: wall}), grid, torch.zeros(8, dtype=torch.float64), 1.0)


def test_a_box_of_twice_the_length_has_no_slope_in_its_middle():
    """What the docs say of a wall that holds a value opposite one without slope."""
    grid = Grid((15,), (4.0,), "dirichlet")
    x = grid.coordinates()[0]
    flow = VariableFlow(DoubleWell(), lambda u, x, t: 0.1 + 0.02 * (x[0] - 2) ** 2, walls={0: (Value(0.7), Value(0.7))})
    solution = solve(flow, grid, 0.7 - 0.3 * torch.sin(math.pi * x / 4), 0.5, step=0.1, progress=False)
    assert (solution.end - solution.end.flip(0)).abs().max() < 1e-13
