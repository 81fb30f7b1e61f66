import math

import pytest
import torch

from ernest.phasefield import AllenCahn, CahnHilliard, ConservativeAllenCahn, GaussSeidel, Grid, State, energy_of, march, mass_of
from ernest.phasefield.compiled.stepper import fused_stepper
from ernest.phasefield.schemes.coarse import CoarseGaussSeidel
from ernest.phasefield.schemes.coarsening import low_modes, make_level
from ernest.phasefield.schemes.spectrum import prefers_coarse, tail_amplitude
from tests.phasefield.problems import noise, rms

GRID = Grid.cube(48, 2 * math.pi)
FLOW = AllenCahn(0.05)
SPARSE = CoarseGaussSeidel(4, 4, 1, 3, ratio=0.75, fine_nodes=(1, 3), outer_window=3)


def waves(grid: Grid) -> torch.Tensor:
    x, y = grid.coordinates()
    return 0.05 * x.sin() * y.sin() + 0.02 * (2 * x + y).cos() + 0.1 * (5 * x - 3 * y).cos() + 0.1 * (7 * y + 2 * x).sin()


def seven_circles(grid: Grid) -> torch.Tensor:
    x, y = grid.coordinates()
    u = -torch.ones_like(x)
    for a, b, r in ((2, 2, 5), (1, 3, 7.5), (2, 5, 7.5), (4, 1, 10), (6, 1, 10), (4, 4, 4), (6, 6, 4)):
        distance = ((x - a * math.pi / 4) ** 2 + (y - b * math.pi / 4) ** 2).sqrt() - math.pi / r
        u = u + torch.where(distance < 0, 2 * torch.exp(-0.01 / distance.clamp(max=-1e-9) ** 2), 0)
    return u


def test_blocks_of_a_level_are_the_low_modes_of_the_full_grid():
    coarse = (24, 24)
    inside, level = low_modes(GRID.points, coarse), make_level(GRID, coarse, coarse, torch.device("cpu"))
    u = noise(GRID, cut=11)
    block = GRID.modes(u)[(..., *inside)]
    assert (level.field(block) - u[::2, ::2]).abs().max() < 1e-13
    assert (level.block(u[::2, ::2]) - block).abs().max() < 1e-10
    quarter = make_level(GRID, coarse, (12, 12), torch.device("cpu"))
    smooth = noise(GRID, cut=5)
    part = GRID.modes(smooth)[(..., *inside)][(..., *quarter.within)]
    assert (quarter.field(part) - smooth[::4, ::4]).abs().max() < 1e-13


@pytest.mark.parametrize(
    "scheme",
    [
        CoarseGaussSeidel(3, 4, 1, 3, outer_window=3),
        CoarseGaussSeidel(4, 4, 1, 3),
        CoarseGaussSeidel(4, 4, 4, 0, outer_window=3),
        SPARSE,
        CoarseGaussSeidel(4, 4, 1, 3, fine_nodes=(3,)),
    ],
)
def test_where_the_tail_is_nothing_coarse_sweeps_equal_full_ones(scheme):
    # Beyond the first level there are only amplitudes of 1e-9, and a quarter of the grid resolves all but 1e-5.
    u = noise(GRID, cut=2, amplitude=0.5)
    steps = [0.1] * 5
    *_, full = march(AllenCahn(0.5), GRID, u, steps, GaussSeidel(scheme.degree, scheme.window, 5))
    *_, coarse = march(AllenCahn(0.5), GRID, u, steps, scheme)
    assert (full.end - coarse.end).abs().max() < 2e-7
    *_, single = march(AllenCahn(0.5), GRID, u, steps, GaussSeidel(scheme.degree, scheme.window, 1))
    assert (full.end - coarse.end).abs().max() < 0.1 * (full.end - single.end).abs().max()
    assert (full.at(0.3) - coarse.at(0.3)).abs().max() < 1e-6


@pytest.mark.parametrize("nodes", [(3,), (1, 3)])
def test_sweeps_may_change_from_element_to_element(nodes):
    """Sparse ones begin without defects, and leave rows that end with the block to the next ones."""
    u, flow, S = noise(GRID, cut=2, amplitude=0.5), AllenCahn(0.5), 0.5
    full, coarse, sparse = (
        GaussSeidel(4, 4, 5, S),
        CoarseGaussSeidel(4, 4, 1, 3, S),
        CoarseGaussSeidel(4, 4, 1, 3, S, None, nodes),
    )
    turns = (full, sparse, sparse, sparse, full, coarse, sparse, coarse, sparse, sparse, sparse, coarse)
    *_, right = march(flow, GRID, u, [0.1] * len(turns), full)
    ends = []
    for make in (lambda scheme: scheme.stepper(flow, GRID, u), lambda scheme: fused_stepper(scheme, flow, GRID)):
        steppers = {scheme: make(scheme) for scheme in set(turns)}
        if None in steppers.values():
            continue  # without numba
        state = steppers[full].init(u)
        for scheme in turns:
            if scheme is not sparse:
                state = steppers[sparse].filled_state(state)
            state, _, stats = steppers[scheme].step(state, 0.1)
            if stats.unsettled is not None:
                assert rms(GRID.field(stats.unsettled())) < 1e-6
        ends.append(GRID.field(state.modes))
    assert (ends[0] - right.end).abs().max() < 2e-7
    assert (ends[-1] - ends[0]).abs().max() < 1e-12


@pytest.mark.parametrize("scheme", [CoarseGaussSeidel(4, 4, 1, 3), SPARSE])
@pytest.mark.parametrize(
    ("flow", "tau"), [(AllenCahn(0.05), 0.4), (ConservativeAllenCahn(0.05), 0.4), (CahnHilliard(0.05), 0.02)]
)
def test_energy_falls_and_mass_stays(scheme, flow, tau):
    u = noise(GRID, cut=5, amplitude=0.6, mean=0.1)
    fields = [u, *(element.end for element in march(flow, GRID, u, [tau] * 12, scheme))]
    energies = torch.stack([energy_of(field, flow, GRID) for field in fields])
    assert (energies.diff() < 0).all()
    if not isinstance(flow, AllenCahn):
        assert abs(mass_of(fields[-1], GRID) - mass_of(u, GRID)) < 1e-14 * GRID.volume


@pytest.mark.parametrize("scheme", [CoarseGaussSeidel(4, 5, 1, 3), SPARSE, CoarseGaussSeidel(3, 3, 1, 2, fine_nodes=(1,))])
def test_going_on_from_a_saved_state_is_bitwise_the_same(scheme):
    stepper = scheme.stepper(FLOW, GRID, waves(GRID))
    state = stepper.init(waves(GRID))
    for tau in (0.2, 0.2, 0.3):
        state, _, _ = stepper.step(state, tau)
    saved = State(state.time, state.modes.clone(), state.history.clone(), state.taus, state.count)
    other = scheme.stepper(FLOW, GRID, waves(GRID))
    for tau in (0.3, 0.2):
        state, saved = stepper.step(state, tau)[0], other.step(saved, tau)[0]
        assert torch.equal(state.modes, saved.modes)


def test_members_of_a_batch_march_as_if_alone():
    u = torch.stack([waves(GRID), noise(GRID, cut=4)])
    for scheme in (CoarseGaussSeidel(3, 3, 1, 2), SPARSE):
        *_, together = march(FLOW, GRID, u, [0.2] * 4, scheme)
        for member in range(2):
            *_, alone = march(FLOW, GRID, u[member], [0.2] * 4, scheme)
            assert (together.end[member] - alone.end).abs().max() < 1e-13


def test_three_dimensions():
    grid = Grid.cube(16, 2 * math.pi, 3)
    x, y, z = grid.coordinates()
    u = 0.4 * x.sin() * y.cos() * (z + 1).sin() + 0.2 * (x + y - z).cos()
    *_, full = march(AllenCahn(0.2), grid, u, [0.1] * 4, GaussSeidel(3, 3, 4))
    *_, coarse = march(AllenCahn(0.2), grid, u, [0.1] * 4, CoarseGaussSeidel(3, 3, 2, 1))
    assert (full.end - coarse.end).abs().max() < 1e-5


def test_the_spectrum_decides():
    grid = Grid.cube(128, 2 * math.pi)
    smooth = grid.modes(waves(grid))
    assert prefers_coarse(smooth, grid, 1e-6)
    assert not prefers_coarse(grid.modes(seven_circles(grid)), grid, 1e-6)
    assert not prefers_coarse(grid.modes(noise(grid, cut=200, amplitude=0.1)), grid, 1e-6)
    assert not prefers_coarse(torch.stack([smooth, grid.modes(seven_circles(grid))]), grid, 1e-6)
    assert not prefers_coarse(smooth, Grid.cube(128, 2 * math.pi, boundary="neumann"), 1e-6)
    x, y = grid.coordinates()
    assert tail_amplitude(grid.modes(0.3 * (32 * y).cos() * x.cos() + (31 * x).sin()), grid) == pytest.approx(0.075, abs=1e-12)


@pytest.mark.parametrize("name", ["seven circles", "noise"])
def test_where_the_tail_is_high_the_run_falls_back_and_loses_nothing(name):
    pytest.importorskip("numba")
    grid, flow, tolerance, taus = Grid.cube(96, 2 * math.pi), AllenCahn(0.02), 1e-6, [0.02] * 10 + [0.1] * 30
    start = seven_circles(grid)
    if name == "noise":
        start = 0.5 * torch.randn(96, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    full, coarse = (fused_stepper(scheme, flow, grid) for scheme in (GaussSeidel(4, 4, 3), CoarseGaussSeidel(4, 4, 1, 3)))
    chosen = []

    def run(choose: bool) -> torch.Tensor:
        state = full.init(start)
        for tau in taus:
            smooth = choose and state.count > 0 and prefers_coarse(state.modes, grid, tolerance)
            chosen.append(smooth)
            state, _, _ = (coarse if smooth else full).step(state, tau)
        return grid.field(state.modes)

    plain = run(choose=False)
    chosen.clear()
    mixed = run(choose=True)
    assert not any(chosen[:3])
    assert all(chosen[-10:])
    assert rms(mixed - plain) < tolerance


@pytest.mark.slow
def test_accuracy_of_whole_runs_on_a_resolved_grid():
    # Bars for 256 x 256 points at time 8; the reference agrees with one of twice the steps to 1e-12.
    pytest.importorskip("numba")
    grid = Grid.cube(256, 2 * math.pi)
    start, flow = waves(grid), AllenCahn(0.01)

    def run(scheme, n: int) -> torch.Tensor:
        return fused_stepper(scheme, flow, grid).run(start, 8 / n, n)

    reference = run(GaussSeidel(5, 5, 3), 72)
    sparse = CoarseGaussSeidel(4, 4, 1, 3, fine_nodes=(1, 3))
    for scheme, n, bar in (
        (CoarseGaussSeidel(4, 4, 1, 3), 10, 1e-7),
        (CoarseGaussSeidel(5, 5, 2, 2), 8, 2.5e-8),
        (CoarseGaussSeidel(5, 5, 2, 2), 12, 1e-9),
        (sparse, 10, 1e-7),
    ):
        assert rms(run(scheme, n) - reference) <= bar


def test_bad_input_is_refused_with_its_name():
    with pytest.raises(ValueError, match="periodic grid"):
        CoarseGaussSeidel().stepper(FLOW, Grid.cube(48, 1.0, boundary="neumann"), torch.zeros(48, 48))
    with pytest.raises(ValueError, match="knows no forcing"):
        CoarseGaussSeidel().stepper(AllenCahn(0.1, forcing=lambda t, x: 0 * t + 0 * x[0]), GRID, waves(GRID))
    with pytest.raises(ValueError, match="4 or more points"):
        CoarseGaussSeidel().stepper(FLOW, Grid.cube(4, 1.0), torch.zeros(4, 4))
    with pytest.raises(ValueError, match="one length for all"):
        list(march(FLOW, GRID, waves(GRID).expand(2, -1, -1), [torch.tensor([0.1, 0.2])], CoarseGaussSeidel()))
    for changes, name in (
        ({"degree": 9}, "degree"),
        ({"start_sweeps": -1}, "start_sweeps"),
        ({"half_sweeps": 0}, "half_sweeps"),
        ({"fine_nodes": (3, 1)}, "fine_nodes"),
        ({"fine_nodes": (4,)}, "fine_nodes"),
        ({"ratio": 1.5}, "ratio"),
    ):
        with pytest.raises(ValueError, match=name):
            CoarseGaussSeidel(**changes)


@pytest.mark.parametrize("quarter", [0, 2])
def test_more_sweeps_of_the_first_element_settle_it(quarter):
    # Under an H^-1 flow sweeps contract slowly; the second element then takes over what the first one left.
    u, flow, grid = noise(GRID, cut=4, amplitude=0.6), CahnHilliard(0.05), GRID
    moved = []
    for start in (2, 6):
        scheme = CoarseGaussSeidel(3, 4, 2, quarter, stabilisation=1.0, start_sweeps=start)
        stepper = scheme.stepper(flow, grid, u)
        _, _, facts = stepper.step(stepper.init(u), 0.02)
        assert facts.iterations == 1 + sum(scheme.sweeps(0)) == (4 if quarter else 3) + quarter + start
        moved.append(facts.differences[-1])
    assert moved[1] < 0.05 * moved[0]
