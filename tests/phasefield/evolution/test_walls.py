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
from ernest.phasefield.grid import ends_of
from tests.phasefield.evolution.manufactured import error, forced
from tests.phasefield.problems import rms, slope

MIXTURES = [
    ("neumann",),
    ("dirichlet",),
    ("periodic", "dirichlet"),
    ("neumann", "periodic"),
    ("dirichlet", "neumann"),
    ("dirichlet-neumann",),
    ("neumann-dirichlet", "dirichlet-neumann"),
]


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

    def wall(axis, end, sign):
        slope = Slope(lambda u, x, t: sign * 0.33 * torch.cos(phase(axis, x[axis], t)))
        return Value(exact) if end == "dirichlet" else slope

    ends = {axis: ends_of(boundary) for axis, boundary in enumerate(boundaries) if boundary != "periodic"}
    return exact, {axis: (wall(axis, first, -1), wall(axis, last, 1)) for axis, (first, last) in ends.items()}


@pytest.mark.parametrize("boundaries", MIXTURES, ids=" ".join)
def test_walls_that_move_are_followed_in_space_and_with_order_2p_in_time(boundaries):
    exact, walls = moving(boundaries)
    forcing = forced(exact, well, [kappa] * 2, mobility, False)
    flow = VariableFlow(well, kappa, mobility, degree=4, forcing=forcing, walls=walls)
    sizes = (6, 12)
    in_space = [error(flow, grid_of(boundaries, n), exact, 0.5, 2, EnergeticElements(3)) for n in sizes]
    assert slope(sizes, in_space) > (1.4 if "dirichlet" in " ".join(boundaries) else 1.8)
    assert in_space[-1] < 6e-4
    grid = grid_of(boundaries, 4)
    start = exact(grid.coordinates(), torch.tensor(0.0, dtype=torch.float64))
    ends = []
    for degree, steps in ((2, 6), (2, 12), (3, 16)):
        *_, last = march(flow, grid, start, [1 / steps] * steps, EnergeticElements(degree))
        ends.append(last.end)
    assert 3.85 < slope((6, 12), [rms(end - ends[2]) for end in ends[:2]]) < 4.15


@pytest.mark.parametrize("conserved", [False, True])
@pytest.mark.parametrize("boundary", ["neumann", "dirichlet", "neumann-dirichlet"])
def test_the_energy_law_holds_where_walls_are_at_rest(boundary, conserved):
    grid = Grid((12, 8), (2.0, 2.0), (boundary, "periodic"))
    first, last = ends_of(boundary)
    value = Value(lambda x, t: 0.1 * torch.cos(math.pi * x[1]) - 0.3)
    walls = {0: (Slope(0.3) if first == "neumann" else Value(0.5), Slope(-0.2) if last == "neumann" else value)}
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


@pytest.mark.parametrize(
    ("boundary", "name", "pair", "words"),
    [
        ("neumann", "walls", (Value(1.0), Value(0.0)), "a Value for each dirichlet end and a Slope for each neumann one"),
        ("neumann", "walls", (Slope(1.0),), "a Value for each dirichlet end and a Slope"),
        ("dirichlet-neumann", "walls", (Slope(1.0), Value(1.0)), "a Value for each dirichlet end and a Slope"),
        ("periodic", "walls", (Value(1.0), Value(0.0)), "a Value for each dirichlet end and a Slope"),
        # What comes in is told of the potential, and a slope of the field: neither is the other.
        ("neumann", "walls", (Inflow(1.0), Inflow(1.0)), "a Value for each dirichlet end and a Slope"),
        ("neumann", "potential_walls", (Slope(1.0), Slope(1.0)), "a Value for each dirichlet end and an Inflow"),
    ],
)
def test_walls_that_do_not_fit_the_grid_are_refused(boundary, name, pair, words):
    flow = VariableFlow(DoubleWell(), 0.1, conserved=True, **{name: {0: pair}})
    with pytest.raises(ValueError, match=f"^{name}: axis 0 with boundary {boundary}: expected {words}"):
        solve(flow, Grid((8,), (1.0,), boundary), torch.zeros(8, dtype=torch.float64), 1.0)


def test_a_field_that_is_not_conserved_has_no_walls_of_its_potential():
    with pytest.raises(ValueError, match="potential_walls: expected them for conserved fields only"):
        VariableFlow(DoubleWell(), 0.1, potential_walls={0: (Inflow(1.0), Inflow(0.0))}).coupled()


@pytest.mark.parametrize("conserved", [False, True])
def test_a_mixed_axis_is_half_of_a_box_of_twice_its_length(conserved):
    whole, half = Grid((14,), (4.0,), "dirichlet"), Grid((7,), (2.0,), "dirichlet-neumann")

    def kappa(u, x, t):
        return 0.1 + 0.02 * (x[0] - 2) ** 2 + 0.02 * u * u

    def mirrored_kappa(u, x, t):
        return kappa(u, (2 - x[0],), t)

    ends = []
    for grid, k, last in ((whole, kappa, Value(0.7)), (half, kappa, Slope(0.0))):
        flow = VariableFlow(DoubleWell(), k, lambda u, x, t: 1 + u * u, conserved, walls={0: (Value(0.7), last)})
        ends.append(solve(flow, grid, 0.7 - 0.3 * torch.sin(math.pi * grid.coordinates()[0] / 4), 0.3, step=0.1, progress=False))
    assert (ends[0].end[:7] - ends[1].end).abs().max() < 1e-12
    assert abs(ends[0].energy - 2 * ends[1].energy).max() < 1e-12 * abs(ends[0].energy[0])
    image = Grid((7,), (2.0,), "neumann-dirichlet")
    flow = VariableFlow(DoubleWell(), mirrored_kappa, lambda u, x, t: 1 + u * u, conserved, walls={0: (Slope(0.0), Value(0.7))})
    start = 0.7 - 0.3 * torch.sin(math.pi * (2 - image.coordinates()[0]) / 4)
    turned = solve(flow, image, start, 0.3, step=0.1, progress=False)
    assert (turned.end.flip(0) - ends[1].end).abs().max() < 1e-12


def test_what_comes_in_at_one_end_goes_out_at_the_other():
    """At rest mu falls from what an inflow needs to the value that the other wall holds, by q / M along the way."""
    grid = Grid((16,), (2.0,), "neumann-dirichlet")
    q, held = 0.2, 0.3
    flow = VariableFlow(
        lambda u, x, t: u * u / 2,
        0.0,
        2.0,
        conserved=True,
        degree=2,
        potential_walls={0: (Inflow(q), Value(held))},
    )
    x = grid.coordinates()[0]
    rest = held + q / 2 * (2 - x)
    start = rest + 0.1 * torch.cos(math.pi * x / 4)  # falls by exp(-1.23 t)
    solution = solve(flow, grid, start, 20.0, step=0.25, scheme=EnergeticElements(2), progress=False, dense=False)
    assert (solution.end - rest).abs().max() < 1e-10
