import math
from itertools import pairwise

import pytest
import torch

from ernest.phasefield import (
    AllenCahn,
    CahnHilliard,
    ConservativeAllenCahn,
    FloryHugginsCahnHilliard,
    Grid,
    OhtaKawasaki,
    PhaseFieldCrystal,
    SwiftHohenberg,
)
from ernest.phasefield.initial_conditions import spinodal_noise
from ernest.phasefield.solver.initial_step import (
    first_step,
    graded_lengths,
    is_diffusive,
    stabilisation_for,
    stiff_imbalance,
    time_derivative,
    turnover,
)

GRID = Grid.cube(32, 2 * math.pi)


def lasting(flow, modes):
    return turnover(GRID.norm(modes), GRID.norm(time_derivative(flow, GRID, modes, 0.0)))


def test_flows_that_conserve_by_diffusion_are_known():
    for flow in (AllenCahn(0.1), ConservativeAllenCahn(0.1, gamma=3.0), SwiftHohenberg(0.2)):
        assert not is_diffusive(flow, GRID)
    for flow in (CahnHilliard(0.1), OhtaKawasaki(0.1, 1.0), PhaseFieldCrystal(0.2), CahnHilliard(torch.tensor([0.1, 0.2]))):
        assert is_diffusive(flow, GRID)


def test_stabilisation_follows_the_slopes_of_the_potential():
    u = spinodal_noise(GRID, 0.1)
    assert stabilisation_for(AllenCahn(0.1, s=3.0), u, False) == 1.5
    assert stabilisation_for(CahnHilliard(0.1, s=3.0), u, True) == 3.0
    # Data beyond the wells widen the range: f'(2) = 11 for the double well with s = 1.
    assert stabilisation_for(AllenCahn(0.1), 2 * torch.ones(32, 32), False) == 5.0
    slope = 0.3 / (1 - 0.5**2) - 1.0
    flow = FloryHugginsCahnHilliard(0.1, 0.9, 1.0)
    assert stabilisation_for(flow, u, True) >= max(slope, 0.0)


def test_rough_data_begin_in_steps_that_their_roughest_modes_need():
    x, y = GRID.coordinates()
    smooth, rough = 0.1 * x.sin() * y.cos(), spinodal_noise(GRID, 0.1)
    flow = AllenCahn(1.0)
    times = [lasting(flow, GRID.modes(u)) for u in (smooth, rough)]
    lengths = [first_step(time, 10.0) for time in times]
    assert 1e-3 < lengths[0] < 0.1
    assert lengths[1] < 2e-2 / 128
    # Of a rough start most is out of balance in the modes that a step of 0.1 would not damp; of a smooth one nothing.
    out = [stiff_imbalance(flow, GRID, time_derivative(flow, GRID, GRID.modes(u), 0.0), 0.1) for u in (smooth, rough)]
    assert out[0] < 1e-15
    assert out[1] > 0.09


def test_modes_at_their_balance_are_settled():
    # u = -N / Lambda in a stiff mode, as behind an interface: nothing is left to decay.
    flow, x = AllenCahn(1.0), GRID.coordinates()[0]
    k = 12
    u = 0.5 * x.sin()
    modes = GRID.modes(u)
    driven = modes - GRID.modes(flow.potential.f(u)) / (GRID.squared_wavenumbers() + 1e-300) * (
        GRID.squared_wavenumbers() > k * k
    )
    off = stiff_imbalance(flow, GRID, time_derivative(flow, GRID, driven + 1e-3 * GRID.modes((k * x).sin()), 0.0), 0.1)
    assert off == pytest.approx(1e-3 / math.sqrt(2), rel=0.05)
    assert stiff_imbalance(flow, GRID, time_derivative(flow, GRID, driven, 0.0), 0.1) < 1e-8


def test_a_state_at_rest_has_a_first_length():
    zero = torch.zeros(32, 32, dtype=torch.float64)
    modes = GRID.modes(zero)
    assert first_step(lasting(AllenCahn(0.1), modes), 10.0) > 0
    ones = GRID.modes(zero + 1)
    assert first_step(lasting(AllenCahn(0.1), ones), 10.0) == pytest.approx(0.1)


@pytest.mark.parametrize("first", [1e-9, 1e-4, 0.03, 0.1, 0.2])
def test_graded_lengths_double_and_make_one_step(first):
    lengths, exponential = graded_lengths(0.1, first)
    assert not exponential
    assert math.fsum(lengths or (0.1,)) == pytest.approx(0.1, rel=1e-15)
    if lengths:
        assert lengths[0] <= first * (1 + 1e-12)
        assert lengths[0] >= first / 2
        assert all(b == 2 * a for a, b in pairwise(lengths[1:]))


def test_a_start_too_rough_for_halvings_takes_exponential_elements():
    lengths, exponential = graded_lengths(0.1, 1e-12)
    assert exponential
    assert len(lengths) == 13
    assert math.fsum(lengths) == pytest.approx(0.1, rel=1e-15)


def test_a_forced_start_takes_halvings_only():
    lengths, exponential = graded_lengths(0.1, 1e-12, forced=True)
    assert not exponential
    assert len(lengths) == 33
    assert math.fsum(lengths) == pytest.approx(0.1, rel=1e-15)
