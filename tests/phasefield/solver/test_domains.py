"""Potentials that are defined on a part of the numbers only: logarithms on (0, 1), barriers on (1, 2)."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from ernest.phasefield import DoubleWell, FloryHuggins, GradientFlow, Grid, Potential, energy_of, solve
from ernest.phasefield.initial_conditions import spinodal_noise
from ernest.phasefield.potentials import domain_of, limit_at, samples_of, slope_inside, working_range
from ernest.phasefield.solver.checkpoint import problem_of

LINE = Grid((32,), (2 * math.pi,))


@dataclass(frozen=True)
class Mixing(Potential):
    """c ln c + (1 - c) ln(1 - c) + chi c (1 - c), written as one would, with its domain left to be found."""

    chi: float = 2.6

    def F(self, u: Tensor) -> Tensor:
        return u * u.log() + (1 - u) * (1 - u).log() + self.chi * u * (1 - u)

    def f(self, u: Tensor) -> Tensor:
        return u.log() - (1 - u).log() + self.chi * (1 - 2 * u)

    def df(self, u: Tensor) -> Tensor:
        return 1 / u + 1 / (1 - u) - 2 * self.chi


@dataclass(frozen=True)
class Barrier(Potential):
    """-A/2 (u - 3/2)^2 between walls at 1 and 2, beyond which its formula has finite values too."""

    height: float = 0.01

    @property
    def domain(self) -> tuple[float, float]:
        return 1.0, 2.0

    def F(self, u: Tensor) -> Tensor:
        return self.height * (1 / (u - 1) + 1 / (2 - u)) - (u - 1.5) ** 2 / 2

    def f(self, u: Tensor) -> Tensor:
        return self.height * (1 / (2 - u) ** 2 - 1 / (u - 1) ** 2) - (u - 1.5)

    def df(self, u: Tensor) -> Tensor:
        return 2 * self.height * (1 / (2 - u) ** 3 + 1 / (u - 1) ** 3) - 1


def reference(G: np.ndarray | float, potential: Potential, u0: Tensor, end: float) -> np.ndarray:
    """The line's fields at the end, by the method of lines in numpy and scipy's Radau."""
    k2 = np.fft.rfftfreq(32, 1 / 32) ** 2

    def slope(t: float, u: np.ndarray) -> np.ndarray:
        return np.fft.irfft(-G * (0.02 * k2 * np.fft.rfft(u) + np.fft.rfft(potential.f(torch.from_numpy(u)).numpy())), 32)

    return solve_ivp(slope, (0, end), u0.numpy(), method="Radau", rtol=1e-9, atol=1e-11).y[:, -1]


@pytest.mark.parametrize("potential", [Mixing(), Barrier()], ids=["logarithms", "barrier"])
@pytest.mark.parametrize("conserved", [True, False])
def test_a_potential_with_a_domain_runs_like_any_other(potential, conserved):
    middle = sum(domain_of(potential)) / 2
    u0, end = spinodal_noise(LINE, 0.02, mean=middle, waves=5, seed=5), 0.4 if conserved else 4.0
    run = solve(GradientFlow(lambda k2: k2 if conserved else 1.0, lambda k2: 0.02 * k2, potential), LINE, u0, end, 1e-6)
    k2 = np.fft.rfftfreq(32, 1 / 32) ** 2
    exact = reference(k2 if conserved else 1.0, potential, u0, end)
    assert np.sqrt(np.mean((run.end.numpy() - exact) ** 2)) <= 2e-6 * end
    assert float((run.end - middle).abs().max()) > 0.05
    assert np.isfinite(run.energy).all()
    assert (np.diff(run.energy) < 1e-12).all()


def test_a_domain_is_as_stated_or_where_f_is_finite():
    assert domain_of(Mixing()) == (0.0, 1.0)
    assert domain_of(Barrier()) == (1.0, 2.0)
    assert domain_of(FloryHuggins(0.5, 1.0)) == (-1.0, 1.0)
    assert domain_of(DoubleWell()) == (-math.inf, math.inf)

    class Half(Mixing):
        def f(self, u: Tensor) -> Tensor:
            return (u - 0.3).log()

    low, high = domain_of(Half())
    assert low == pytest.approx(0.3, abs=1e-14)
    assert high == math.inf


def test_the_working_range_lies_between_the_wells():
    low, high = working_range(Mixing())
    wells = Mixing().f(torch.tensor([low - 1e-3, low + 1e-3, high - 1e-3, high + 1e-3], dtype=torch.float64))
    assert (wells < 0).tolist() == [True, False, True, False]
    assert low == pytest.approx(1 - high, abs=1e-3)
    assert 0.05 < low < 0.2
    assert Mixing().slopes == pytest.approx((4 - 5.2, 1 / low + 1 / high - 5.2), abs=1e-2)
    assert Mixing(chi=1.0).slopes[0] == pytest.approx(2.0, abs=1e-2)  # one phase only
    assert 1 < working_range(Barrier())[0] < 1.2


def test_x_ln_x_is_zero_at_both_ends():
    potential = FloryHuggins(0.7, 1.0)
    ends = potential.F(torch.tensor([-1.0, 1.0], dtype=torch.float64))
    assert ends.tolist() == pytest.approx([0.7 * math.log(2) - 0.5] * 2, abs=1e-15)
    assert limit_at(Mixing(), 0.0) == pytest.approx(0, abs=1e-14)
    assert limit_at(Mixing(), 1.0) == pytest.approx(0, abs=1e-13)
    assert math.isnan(limit_at(Mixing(), -0.5))

    class Stated(Mixing):
        @property
        def domain(self) -> tuple[float, float]:
            return 0.0, 1.0

    flow = GradientFlow(1.0, 0.0, Stated())
    phases = torch.tensor([0.0, 1.0, 0.5, 0.5], dtype=torch.float64)
    assert energy_of(phases, flow, Grid((4,), (1.0,))).item() == pytest.approx((0.65 - math.log(2)) / 2, abs=1e-13)


def test_beyond_a_barrier_nothing_is_defined():
    u = torch.tensor([0.5, 1.5, 2.5], dtype=torch.float64)
    assert slope_inside(Barrier(), u).isnan().tolist() == [True, False, True]
    assert energy_of(u[:2], GradientFlow(1.0, 0.0, Barrier()), Grid((2,), (1.0,))).isnan()


def test_fields_and_walls_outside_of_a_domain_are_refused():
    flow = GradientFlow(1.0, lambda k2: 0.02 * k2, Mixing())
    with pytest.raises(ValueError, match=r"inside the potential's domain 0\.0 < u < 1\.0, got"):
        solve(flow, LINE, torch.full((32,), 1.1, dtype=torch.float64), 1.0)
    walls = Grid((32,), (2 * math.pi,), "dirichlet")
    with pytest.raises(ValueError, match=r"Dirichlet walls hold u = 0, where this potential is not defined: its domain is 1\.0"):
        solve(GradientFlow(1.0, lambda k2: k2, Barrier()), walls, torch.full((32,), 1.5, dtype=torch.float64), 1.0)
    # At u = 0 the mixing energy has a limit.
    x = walls.coordinates()[0]
    assert math.isfinite(float(energy_of(0.5 * (x / 2).sin(), flow, walls)))


def test_potentials_far_from_zero_are_told_apart():
    @dataclass(frozen=True)
    class Far(Barrier):
        @property
        def domain(self) -> tuple[float, float]:
            return 3.0, 4.0

    inside = samples_of(Far())
    assert ((inside > 3) & (inside < 4)).all()
    u0 = torch.full((32,), 3.5, dtype=torch.float64)
    one, other = (problem_of(GradientFlow(1.0, 0.0, Far(height)), LINE, u0) for height in (0.01, 0.02))
    assert one["potential"] != other["potential"]
