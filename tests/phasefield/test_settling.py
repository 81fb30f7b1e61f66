"""Sweeps end where an element is settled, and go on where it is not."""

import math

import pytest
import torch

from ernest.phasefield import AllenCahn, CoarseGaussSeidel, GaussSeidel, Grid
from ernest.phasefield.compiled.stepper import fused_stepper
from ernest.phasefield.initial_conditions import spinodal_noise
from ernest.phasefield.schemes.settling import Settling

FLOW = AllenCahn(0.05)
GRID = Grid.cube(32, 2 * math.pi)


def test_sweeps_end_when_the_rest_of_a_geometric_series_is_enough():
    settling = Settling(enough=1e-6, further=3, contraction=0.3, noise=1e-14)
    assert not settling.ends(())
    assert settling.ends((1e-6,))  # 0.3 / 0.7 of it
    assert not settling.ends((3e-6,))
    assert settling.ends((1e-3, 1e-5 / 2**0.5 / 2))  # rho 3.5e-3
    assert settling.ends((1e-5, 1.9e-6)) == (1.9e-6 * 0.19 / 0.81 <= 1e-6)
    assert not settling.ends((2e-6, 1.5e-6))  # what contracts slowly leaves more than its last change
    assert not settling.ends((1e-7, 2e-7))  # nor does what grows ever settle
    assert settling.ends((5e-15, 9e-15))  # but for round-off
    assert not Settling(1e-6, 3, 0.3, 1e-14, least=2).ends((1e-15,))
    # An element before that contracted at once is no promise for this one.
    assert not Settling(1e-6, 3, 0.0, 0.0).ends((2e-5,))


@pytest.mark.parametrize(
    "scheme",
    [GaussSeidel(3, 4, 2, 0.5), CoarseGaussSeidel(3, 4, 1, 2, 0.5), CoarseGaussSeidel(3, 4, 2, 0, 0.5)],
)
def test_an_element_has_the_sweeps_that_settle_it(scheme):
    start = spinodal_noise(GRID, 0.5, waves=2, seed=1)
    plain, compiled = scheme.stepper(FLOW, GRID, start), fused_stepper(scheme, FLOW, GRID)
    for stepper in [plain] + ([compiled] if compiled else []):
        state, _, first = stepper.step(stepper.init(start), 0.2)
        counts = []
        for enough in (1.0, 1e-7, 1e-12, 0.0):
            _, element, stats = stepper.step(state, 0.2, Settling(enough, 3, 0.1, 1e-16))
            exact = stepper.step(state, 0.2, Settling(0.0, 12, 0.1, 1e-16))[1]
            assert stats.iterations == 1 + len(stats.differences)
            assert float(GRID.norm(element.end_modes - exact.end_modes).max()) <= 3 * enough + 1e-9
            counts.append(stats.iterations)
        assert counts == sorted(counts)
        assert counts[0] < stepper.step(state, 0.2)[2].iterations < counts[-1]
        assert stepper.step(state, 0.2)[2].iterations + 3 == counts[-1]
        assert stepper.step(stepper.init(start), 0.2, Settling(1e-3, 3, 0.2, 1e-16))[2].iterations < first.iterations


def test_compiled_and_plain_sweeps_settle_alike():
    scheme, start = GaussSeidel(4, 4, 3, 0.5), spinodal_noise(GRID, 0.5, waves=2, seed=1)
    compiled, plain = fused_stepper(scheme, FLOW, GRID), scheme.stepper(FLOW, GRID, start)
    if compiled is None:
        pytest.skip("numba or pyfftw is not installed")
    for enough in (1e-3, 1e-6, 1e-9):
        settling = Settling(enough, 3, 0.1, 1e-16)
        one, other = (stepper.step(stepper.init(start), 0.3, settling) for stepper in (plain, compiled))
        assert one[2].iterations == other[2].iterations
        assert torch.allclose(one[1].end, other[1].end, rtol=0, atol=1e-12)
