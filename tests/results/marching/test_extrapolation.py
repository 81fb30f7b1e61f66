"""The linear scheme with its nonlinear term extrapolated: order, and fixed point."""

import math

import pytest
import torch

from ernest.phasefield import AllenCahn, Grid, Implicit, march
from ernest.results.marching.extrapolation import ExtrapolatedTerm
from ernest.results.marching.superconvergence import long_waves

FLOW, GRID = AllenCahn(0.1), Grid.cube(16, 2 * math.pi)


def end(scheme, steps) -> torch.Tensor:
    *_, last = march(FLOW, GRID, long_waves(GRID), steps, scheme)
    return last.end


EXACT = end(Implicit(4, tolerance=1e-14), [1 / 32] * 32)


def rms(scheme, steps) -> float:
    return float((end(scheme, steps) - EXACT).square().mean().sqrt())


@pytest.mark.parametrize(("degree", "sweeps"), [(2, 0), (2, 1), (3, 0), (3, 2)])
def test_the_order_is_p_plus_sweeps(degree, sweeps):
    """One less than with u extrapolated, up to 2p; steps of changing lengths keep it."""
    scheme = ExtrapolatedTerm(degree, sweeps, 1.0)
    for lengths in (lambda n: [1 / n] * n, lambda n: [2 / 3 / n, 4 / 3 / n] * (n // 2)):
        coarse, fine = (rms(scheme, lengths(n)) for n in (16, 32))
        assert math.log2(coarse / fine) == pytest.approx(min(2 * degree, degree + sweeps), abs=0.45)


def test_many_sweeps_are_the_implicit_scheme_with_p_nodes():
    steps = [0.125] * 8
    exact = end(Implicit(3, quadrature=3, tolerance=1e-14), steps)
    assert torch.allclose(end(ExtrapolatedTerm(3, 12, 0.5), steps), exact, atol=1e-12)


def test_bad_parameters_are_refused():
    with pytest.raises(ValueError, match="sweeps"):
        ExtrapolatedTerm(3, -1)
    with pytest.raises(ValueError, match="degree"):
        ExtrapolatedTerm(9)
