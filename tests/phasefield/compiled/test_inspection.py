"""What compiled loops measure of an element is what torch measures."""

import math

import pytest
import torch

from ernest.phasefield import AllenCahn, CahnHilliard, CoarseGaussSeidel, ConservativeAllenCahn, GaussSeidel, Grid, Polynomial
from ernest.phasefield.flows import GradientFlow
from ernest.phasefield.initial_conditions import spinodal_noise
from ernest.phasefield.solver.controller import Adaptive
from ernest.phasefield.solver.diagnostics import Diagnostics
from ernest.phasefield.solver.initial_step import time_derivative
from ernest.phasefield.solver.measurement import FusedMeasurement, TorchMeasurement, measure
from ernest.phasefield.solver.own_units import own_units
from ernest.phasefield.solver.scheme_selection import SchemeChoice
from ernest.phasefield.solver.steppers import Steppers
from ernest.phasefield.solver.try_step import initial_state

pytest.importorskip("numba")
pytest.importorskip("pyfftw")

SEXTIC = GradientFlow(torch.ones_like, lambda k2: 0.02 * k2, Polynomial((0.1, 0.05, -0.5, 0.0, 0.1, 0.0, 0.2)))
FULL, SPARSE = GaussSeidel(4, 5, 3, 0.7), CoarseGaussSeidel(4, 4, 1, 3, 0.7, fine_nodes=(1, 3))


@pytest.mark.parametrize("scheme", [FULL, CoarseGaussSeidel(4, 4, 1, 3, 0.7), SPARSE], ids=["full", "coarse", "sparse"])
@pytest.mark.parametrize(
    "flow", [AllenCahn(0.02), ConservativeAllenCahn(0.02), CahnHilliard(0.02), SEXTIC], ids=lambda f: type(f).__name__
)
@pytest.mark.parametrize("keep", [True, False])
def test_compiled_and_torch_measurements_agree(flow, scheme, keep):
    """The third element of a run: the second has a past, and from there on some nodes may miss the full grid."""
    grid = Grid((48, 32), (2 * math.pi, 5.0))
    u0 = spinodal_noise(grid, 0.4, waves=3, seed=4) + 0.1
    units, S = own_units(flow, grid, u0, 1.0), 0.7
    steppers = Steppers(SchemeChoice(scheme, S), flow, grid, u0, 1.0, 1e-6, units, keep)
    diagnostics = Diagnostics(flow, grid, u0)
    norms = grid.norm(grid.modes(u0)), grid.norm(time_derivative(flow, grid, grid.modes(u0), 0.0))
    current, _ = initial_state(steppers, diagnostics, u0, norms, Adaptive(1e-6 * units.speed, 6, 0.01))
    stepper, state = steppers.stepper(scheme), current.state
    for _ in range(2):
        state, _, _ = stepper.step(state, 0.004)
    _, element, stats = stepper.step(state, 0.004)
    mine = measure(steppers, diagnostics, current, element, stats)
    right = TorchMeasurement(steppers, diagnostics, current, element, stats)
    assert isinstance(mine, FusedMeasurement)
    for name in ("size", "change", "truncation", "missed", "grown"):
        assert getattr(mine, name) == pytest.approx(getattr(right, name), rel=1e-7, abs=1e-13), name
    for name in ("energy", "mass", "largest", "dissipated"):
        assert float(getattr(mine, name)) == pytest.approx(float(getattr(right, name)), rel=1e-11, abs=1e-13), name
    assert torch.allclose(mine.element.coefficients, element.coefficients, rtol=0, atol=1e-9)
    assert (mine.missed > 0) == isinstance(scheme, CoarseGaussSeidel)
