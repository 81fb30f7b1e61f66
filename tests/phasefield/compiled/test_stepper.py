import math

import numpy as np
import pytest
import torch

from ernest.phasefield import (
    AllenCahn,
    CahnHilliard,
    ConservativeAllenCahn,
    FloryHugginsAllenCahn,
    GaussSeidel,
    Grid,
    OhtaKawasaki,
    PhaseFieldCrystal,
    SemiImplicit,
    State,
    SwiftHohenberg,
)
from ernest.phasefield.compiled.stepper import fused_stepper
from ernest.phasefield.compiled.workspace import fold_rows, make_workspace, reaction_coefficients, why_not_fused
from ernest.phasefield.schemes.coarse import CoarseGaussSeidel
from ernest.phasefield.schemes.exponential import ETDRK4, IMEXBDF4

pytest.importorskip("numba", reason="the fused steppers are compiled by numba")

LINE = Grid((36,), (2 * math.pi,))
SQUARE = Grid((32, 24), (2 * math.pi, 6.0))
BOX = Grid((16, 12, 16), (5.0, 4.0, 6.0))
CHANGING = (0.05, 0.05, 0.05, 0.07, 0.07, 0.04)


def start_on(grid: Grid, seed: int = 0) -> torch.Tensor:
    noise = torch.randn(grid.points, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    u = grid.field(grid.modes(noise) * torch.exp(-grid.squared_wavenumbers() / 8))
    return 0.8 * u / u.abs().max()


@pytest.mark.parametrize(
    ("scheme", "flow", "grid", "taus"),
    [
        (GaussSeidel(3, 4, 2), AllenCahn(0.1), SQUARE, CHANGING),
        (GaussSeidel(3, 3, 1), CahnHilliard(0.05, gamma=0.1), LINE, (0.01,) * 5),
        (GaussSeidel(2, 3, 2), SwiftHohenberg(0.3), BOX, CHANGING),
        (GaussSeidel(4, 4, 1, 0.7), ConservativeAllenCahn(0.1, s=1.5), SQUARE, CHANGING),
        (CoarseGaussSeidel(), AllenCahn(0.1), SQUARE, CHANGING),
        (CoarseGaussSeidel(3, 4, 1, 2, outer_window=3), OhtaKawasaki(0.05, 0.5, gamma=0.1), SQUARE, CHANGING),
        (CoarseGaussSeidel(3, 4, 2, 0, outer_window=3), AllenCahn(0.1), LINE, CHANGING),
        (CoarseGaussSeidel(3, 3, 1, 2, fine_nodes=(1,)), AllenCahn(0.1), SQUARE, CHANGING),
        (CoarseGaussSeidel(4, 5, 1, 2, ratio=0.75, fine_nodes=(1, 3), outer_window=3), AllenCahn(0.1), SQUARE, CHANGING),
        (CoarseGaussSeidel(2, 2, 1, 2), PhaseFieldCrystal(0.2, gamma=0.1), BOX, CHANGING),
        (ETDRK4(), AllenCahn(0.1), SQUARE, CHANGING),
        (ETDRK4(1.0), CahnHilliard(0.05, gamma=0.1), LINE, CHANGING),
        (IMEXBDF4(0.5), AllenCahn(0.1), SQUARE, (*CHANGING, *(0.04,) * 4)),
    ],
)
def test_twins_agree_to_round_off(scheme, flow, grid, taus):
    u = start_on(grid)
    plain, fused = scheme.stepper(flow, grid, u), fused_stepper(scheme, flow, grid)
    states = plain.init(u), fused.init(u)
    for tau in taus:
        (one, element, facts), (other, twin, twin_facts) = plain.step(states[0], tau), fused.step(states[1], tau)
        states = one, other
        assert (element.end - twin.end).abs().max() <= 1e-12
        assert (element.at(0.3) - twin.at(0.3)).abs().max() <= 1e-12
        assert facts.iterations == twin_facts.iterations
        np.testing.assert_allclose(facts.differences, twin_facts.differences, rtol=1e-6, atol=1e-13)
        assert (one.time, one.taus, one.count) == (other.time, other.taus, other.count)
        if one.history is not None:
            assert (one.history - other.history).abs().max() <= 1e-12 * math.prod(grid.points)


SCHEMES = [
    GaussSeidel(3, 4, 2),
    CoarseGaussSeidel(),
    CoarseGaussSeidel(4, 4, 1, 2, fine_nodes=(1, 3)),
    ETDRK4(),
    IMEXBDF4(0.5),
]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_bare_loop_gives_what_the_steps_give(scheme):
    u, stepper = start_on(SQUARE), fused_stepper(scheme, AllenCahn(0.1), SQUARE)
    stepper.prepare(0.05)
    states = [stepper.init(u)]
    for _ in range(7):
        states.append(stepper.step(states[-1], 0.05)[0])
    for steps in (1, 3, 7):
        assert (stepper.run(u, 0.05, steps) - SQUARE.field(states[steps].modes)).abs().max() <= 1e-14


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_state_stays_as_it_was_and_a_step_from_it_can_be_repeated(scheme):
    stepper = fused_stepper(scheme, AllenCahn(0.1), SQUARE)
    state = stepper.init(start_on(SQUARE))
    for _ in range(4):
        state, _, _ = stepper.step(state, 0.05)
    modes, history = state.modes.clone(), None if state.history is None else state.history.clone()
    after, element, _ = stepper.step(state, 0.05)
    first = after.modes.clone()
    elements = [element]
    for _ in range(4):
        after, element, _ = stepper.step(after, 0.03)
        elements.append(element)
    assert torch.equal(state.modes, modes)
    assert history is None or torch.equal(state.history, history)
    assert torch.equal(elements[0].end_modes, first)
    again, repeated, _ = stepper.step(state, 0.05)
    assert torch.equal(again.modes, first)
    assert torch.equal(repeated.at(0.2), elements[0].at(0.2))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_going_on_from_a_saved_state_is_bitwise_the_same(scheme):
    stepper = fused_stepper(scheme, CahnHilliard(0.05, gamma=0.1), SQUARE)
    state = stepper.init(start_on(SQUARE))
    for tau in (0.02, 0.02, 0.03, 0.03):
        state, _, _ = stepper.step(state, tau)
    saved = State(
        state.time, state.modes.clone(), None if state.history is None else state.history.clone(), state.taus, state.count
    )
    other = fused_stepper(scheme, CahnHilliard(0.05, gamma=0.1), SQUARE)
    for tau in (0.03, 0.02, 0.02):
        state, saved = stepper.step(state, tau)[0], other.step(saved, tau)[0]
        assert torch.equal(state.modes, saved.modes)


def test_states_pass_between_full_and_coarse_sweeps():
    u, flow = start_on(SQUARE), AllenCahn(0.1)
    full, coarse = GaussSeidel(4, 4, 3), CoarseGaussSeidel(4, 4, 1, 3)
    ends = []
    for make in (lambda scheme: scheme.stepper(flow, SQUARE, u), lambda scheme: fused_stepper(scheme, flow, SQUARE)):
        steppers = [make(full), make(coarse)]
        state = steppers[0].init(u)
        for number in (0, 0, 1, 1, 0, 1):
            state, _, _ = steppers[number].step(state, 0.05)
        ends.append(state.modes)
    assert (ends[0] - ends[1]).abs().max() <= 1e-12 * math.prod(SQUARE.points)


def test_two_threads_give_the_same_answers():
    pytest.importorskip("pyfftw")
    u, scheme = start_on(SQUARE), GaussSeidel(2, 2, 1)
    one, two = (fused_stepper(scheme, AllenCahn(0.1), SQUARE, threads=threads) for threads in (1, 2))
    assert (one.run(u, 0.05, 3) - two.run(u, 0.05, 3)).abs().max() <= 1e-13


@pytest.mark.parametrize(
    ("flow", "grid", "reason"),
    [
        (FloryHugginsAllenCahn(0.1, 1.0, 1.5), SQUARE, "polynomial"),
        (AllenCahn(0.1), Grid.cube(16, 1.0, boundary="neumann"), "periodic"),
        (AllenCahn(0.1, forcing=lambda t, x: 0 * t + 0 * x[0]), SQUARE, "forcing"),
        (AllenCahn(torch.tensor([0.1, 0.2])), SQUARE, "batch"),
    ],
)
def test_what_does_not_fit_is_left_to_torch(flow, grid, reason):
    assert reason in why_not_fused(flow, grid)
    assert fused_stepper(GaussSeidel(), flow, grid) is None
    assert fused_stepper(SemiImplicit(), AllenCahn(0.1), SQUARE) is None


def test_without_numba_there_is_no_twin(monkeypatch):
    monkeypatch.setattr("ernest.phasefield.compiled.workspace.find_spec", lambda name: None)
    assert why_not_fused(AllenCahn(0.1), SQUARE) == "numba is not installed"
    assert fused_stepper(GaussSeidel(), AllenCahn(0.1), SQUARE) is None


@pytest.mark.parametrize("flow", [AllenCahn(0.1, s=2.0), SwiftHohenberg(0.3)])
def test_reaction_coefficients_are_those_of_the_potential(flow):
    u = torch.linspace(-1.2, 1.2, 7, dtype=torch.float64)
    polynomial = np.polynomial.Polynomial(reaction_coefficients(flow.potential))
    np.testing.assert_allclose(polynomial(u.numpy()), flow.potential.f(u), atol=1e-14)


def test_folded_rows_have_the_wavenumbers_of_all_rows():
    k2 = BOX.squared_wavenumbers().numpy()
    folded = k2[:9, :7].reshape(63, -1)
    assert np.array_equal(folded[fold_rows((16, 12, 16), (9, 7, 9))], k2.reshape(-1, 9))


@pytest.mark.parametrize("use", ["part", "tensor", "part of a tensor"])
def test_memory_comes_back_when_nothing_lies_in_it_any_more(use):
    """Whatever array or tensor lies on a block keeps it from being lent again; then the same block is lent, aligned."""
    workspace = make_workspace(AllenCahn(0.1), Grid((6, 10), (1.0, 1.0)), None, 1)
    first, second = workspace.rows(2)
    places = {first.ctypes.data, second.ctypes.data}
    assert all(place % 64 == 0 for place in places)
    held = {"part": second[3:], "tensor": workspace.tensor(first), "part of a tensor": workspace.tensor(second).real[1:]}[use]
    before = held + 0
    del first, second
    others = workspace.rows(2)
    assert not places & {row.ctypes.data for row in others}
    for row in others:
        row[...] = 7
    assert (held == before).all()
    held, others, row = None, None, None
    assert {row.ctypes.data for _ in range(4) for row in workspace.rows(2)} >= places
    assert len({row.ctypes.data for _ in range(9) for row in workspace.rows(2)}) <= 4
    assert not {row.ctypes.data for row in workspace.rows(2, "other")} & places
