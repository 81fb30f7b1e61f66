"""Walls with values, slopes, contact angles and inflow, constant and in time, on mixtures of axes."""

import math

import pytest
import torch

from ernest.phasefield import (
    CoupledFlow,
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
from tests.phasefield.evolution.manufactured import derivatives, error, forced, potential_of, with_leaves
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
    sizes = (10, 16)
    in_space = [error(flow, grid_of(boundaries, n), exact, 0.5, 2, EnergeticElements(3)) for n in sizes]
    assert slope(sizes, in_space) > 3.8
    assert in_space[-1] < 3e-5
    grid = grid_of(boundaries, 6)
    start = exact(grid.coordinates(), torch.tensor(0.0, dtype=torch.float64))
    ends = []
    for degree, steps in ((2, 4), (2, 8), (3, 10)):
        *_, last = march(flow, grid, start, [0.6 / steps] * steps, EnergeticElements(degree))
        ends.append(last.end)
    assert 3.85 < slope((4, 8), [rms(end - ends[2]) for end in ends[:2]]) < 4.15


@pytest.mark.parametrize("boundary", ["neumann", "dirichlet", "dirichlet-neumann", "neumann-dirichlet"])
@pytest.mark.parametrize("kind", ["conserved", "slopes that depend on u"])
def test_other_walls_that_move_are_followed_in_space(boundary, kind):
    """A conserved field with walls of u and of mu; and slopes that lead u back to where it belongs."""
    conserved = kind == "conserved"
    exact, walls = moving((boundary,))

    def mu(x, t):
        return potential_of(exact, well, [kappa], x, t)

    def of_mu(end, sign):
        def inflow(u, x, t):
            return sign * with_leaves(lambda x, t: mobility(exact(x, t), x, t) * derivatives(mu(x, t), x)[0], x, t)

        return Value(lambda x, t: with_leaves(mu, x, t)) if end == "dirichlet" else Inflow(inflow)

    def led_back(wall):
        return wall if isinstance(wall, Value) else Slope(lambda u, x, t: wall.of(u, x, t) + 0.5 * (exact(x, t) - u))

    if conserved:
        more = {"potential_walls": {0: tuple(of_mu(end, sign) for end, sign in zip(ends_of(boundary), (-1, 1), strict=True))}}
    else:
        walls, more = {0: tuple(led_back(wall) for wall in walls[0])}, {}
    forcing = forced(exact, well, [kappa], mobility, conserved)
    flow = VariableFlow(well, kappa, mobility, conserved, 4, forcing=forcing, walls=walls, **more)
    sizes = (10, 16)
    errors = [error(flow, grid_of((boundary,), n), exact, 0.2, 1, EnergeticElements(3)) for n in sizes]
    assert slope(sizes, errors) > 3.8
    assert errors[-1] < 3e-4


@pytest.mark.parametrize("conserved", [False, True])
@pytest.mark.parametrize(
    ("boundary", "of", "slopes"),
    [
        ("neumann", kappa, "at rest"),
        ("neumann", lambda u, x, t: kappa(u, x, t) + 0.05 * u * u, "at rest"),
        ("neumann", lambda u, x, t: kappa(u, x, t) + 0.05 * u * u, "depending on u"),
        ("dirichlet", kappa, ""),
        ("neumann-dirichlet", lambda u, x, t: kappa(u, x, t) + 0.05 * u * u, ""),
    ],
)
def test_the_energy_law_holds_whatever_the_walls_hold(boundary, of, slopes, conserved):
    grid = Grid((12, 8), (2.0, 2.0), (boundary, "periodic"))
    first, last = ends_of(boundary)
    value = Value(lambda x, t: 0.1 * torch.cos(math.pi * x[1]) - 0.3)
    rough = {
        "at rest": Slope(-0.2),
        "depending on u": Slope(lambda u, x, t: 0.2 * torch.exp(u) + 0.1 * torch.cos(math.pi * x[1])),
    }
    walls = {0: (Slope(0.3) if first == "neumann" else Value(0.5), rough[slopes] if last == "neumann" else value)}
    flow = VariableFlow(DoubleWell(), of, lambda u, x, t: 0.1 + u * u, conserved, walls=walls)
    x = grid.coordinates()
    solution = solve(flow, grid, 0.2 * torch.sin(math.pi * x[1]) + 0.3 * x[0].cos(), 0.2, step=0.05, progress=False)
    falls = -torch.tensor(solution.energy).diff()
    assert (falls > 0).all()
    assert (torch.tensor([record.defect for record in solution.records[1:]]).abs() < 1e-10 * falls).all()


def test_walls_whose_work_depends_on_which_field_moves_first_have_no_energy_law():
    grid = Grid((6,), (1.0,), "neumann")

    def coupled(kappa):
        walls = ({0: (Slope(0.3), Slope(0.0))}, None)
        return CoupledFlow(lambda u, x, t: u[0] ** 2 + u[1] ** 4, (kappa, 0.1), (1.0, 1.0), (False, False), 4, walls=walls)

    u0 = torch.stack([grid.coordinates()[0], 1 - grid.coordinates()[0]])
    for kappa, known in ((lambda u, x, t: 1 + u[1] ** 2, False), (lambda u, x, t: 1 + x[0], True)):
        record = solve(coupled(kappa), grid, u0, 0.1, step=0.1, progress=False).records[-1]
        assert (record.defect is not None) is known
        assert record.defect is None or abs(record.defect) < 1e-13


def test_walls_that_hold_something_need_room():
    flow = VariableFlow(DoubleWell(), 0.1, walls={0: (Value(0.5), Value(0.0))})
    with pytest.raises(ValueError, match="grid points: an axis whose walls hold something needs 6 or more, got 5"):
        solve(flow, Grid((5,), (1.0,), "dirichlet"), torch.zeros(5, dtype=torch.float64), 1.0)


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


@pytest.mark.parametrize(
    ("wall", "words"),
    [
        (Value(lambda x, t: math.nan), "expected finite values for u0"),
        (Value(lambda u, x, t: 1.0), "fails for the fields and times that it gets"),
        (Value(lambda x, t: torch.ones(7)), r"values that broadcast to \[2, 1, 8\]"),
        (Value(lambda x, t: None), r"values that broadcast to \[2, 1, 8\], .* got None"),
        (Value(lambda x, t: t.add_(1)), "changes what it is given in place"),
        (Value(lambda x, t: t.mean() + torch.arange(2.0).reshape(2, 1, 1)), None),
    ],
)
def test_functions_of_walls_are_asked_before_a_run(wall, words):
    grid = Grid((8, 8), (1.0, 1.0), ("dirichlet", "periodic"))
    flow, u0 = VariableFlow(DoubleWell(), 0.1, walls={0: (Value(0.0), wall)}), torch.zeros(8, 8, dtype=torch.float64)
    if words is None:
        flow.check_on(grid, u0)
        return
    with pytest.raises(ValueError, match=f"^walls: axis 0, last end: .*{words}"):
        solve(flow, grid, u0, 1.0, progress=False)
    mirrored = VariableFlow(DoubleWell(), 0.1, walls={"x": (Value(0.0), wall)})
    with pytest.raises(ValueError, match="walls: expected the number of an axis, 0 to 1, got 'x'"):
        mirrored.check_on(grid, u0)


def test_an_array_lies_along_its_wall_with_or_without_the_axis():
    grid = Grid((8, 9), (1.0, 1.0), "neumann")
    u0, slopes = torch.zeros(8, 9, dtype=torch.float64), torch.linspace(-1, 1, 8, dtype=torch.float64)
    ends = [
        solve(VariableFlow(DoubleWell(), 0.1, walls={1: (Slope(of), Slope(0.0))}), grid, u0, 1e-3, step=1e-3, progress=False).end
        for of in (slopes, slopes[:, None], slopes.tolist(), lambda u, x, t: 2 * (x[0] - 1 / 16) / (7 / 8) - 1)
    ]
    assert all(torch.equal(ends[0], end) for end in ends[1:3])
    assert abs(ends[0] - ends[3]).max() < 1e-12
    with pytest.raises(ValueError, match=r"^walls: axis 0: expected an array \[9\] or \[1, 9\] along the wall, got \[8\]"):
        VariableFlow(DoubleWell(), 0.1, walls={0: (Slope(slopes), Slope(0.0))}).check_on(grid, u0)


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

    def solved(grid, k, walls, held):
        flow = VariableFlow(DoubleWell(), k, lambda u, x, t: 1 + u * u, conserved, walls=walls)
        x = grid.coordinates()[0] if grid.boundary != "neumann-dirichlet" else 2 - grid.coordinates()[0]
        return solve(flow, grid, held - 0.3 * torch.sin(math.pi * x / 4), 0.3, step=0.1, progress=False, dense=False)

    ends = [solved(grid, kappa, None, 0.0) for grid in (whole, half)]
    assert (ends[0].end[:7] - ends[1].end).abs().max() < 1e-12
    assert abs(ends[0].energy - 2 * ends[1].energy).max() < 1e-12 * abs(ends[0].energy[0])
    image = Grid((7,), (2.0,), "neumann-dirichlet")
    assert (solved(image, mirrored_kappa, None, 0.0).end.flip(0) - ends[1].end).abs().max() < 1e-12
    held = solved(half, kappa, {0: (Value(0.7), Slope(0.1))}, 0.7)
    turned = solved(image, mirrored_kappa, {0: (Slope(0.1), Value(0.7))}, 0.7)
    assert (turned.end.flip(0) - held.end).abs().max() < 1e-12


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
    wave = 0.1 * torch.cos(math.pi * x / 4)
    *_, at_rest = march(flow, grid, rest, [0.5] * 2, EnergeticElements(2))
    assert (at_rest.end - rest).abs().max() < 1e-12
    *_, last = march(flow, grid, rest + wave, [0.05] * 20, EnergeticElements(2))
    assert (last.end - rest - wave * math.exp(-2 * (math.pi / 4) ** 2)).abs().max() < 1e-6
