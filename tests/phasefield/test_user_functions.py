"""Functions of users that would give a wrong result without a word are refused in a line, and what looks like one is not."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ernest.phasefield import (
    AllenCahn,
    CahnHilliard,
    CoupledFlow,
    DoubleWell,
    DynamicalSystem,
    GradientFlow,
    Grid,
    Noise,
    Polynomial,
    Potential,
    VariableFlow,
    contact_angle,
    solve,
    solve_system,
)
from ernest.phasefield.flow_terms import check_flow
from ernest.phasefield.user_functions import ask

GRID = Grid((8, 6), (2 * math.pi, 3.0))
X, Y = GRID.coordinates()
U = 0.3 + 0.4 * X.cos() * (2 * math.pi / 3 * Y).sin()


def well(u, x, t):
    return (u**2 - 1) ** 2 / 4


@torch.no_grad()
def without_gradients(u, x, t):
    return well(u, x, t)


def in_place(u, x, t):
    u.clamp_(-2, 2)  # it changes no value here, and would do so later
    return 1 + u**2


def moved(u, x, t):
    across = x[0]
    across -= 1.0
    return 1 + across**2


def doubled(u, x, t):
    t *= 2
    return 1 + t


VARIABLE = [
    ({"potential": lambda u, x, t: well(u, x, t).sum()}, "potential: expected the density F at every point"),
    ({"potential": lambda u, x, t: well(u, x, t).float()}, "potential: expected values of torch.float64"),
    ({"potential": without_gradients}, "potential: torch finds another derivative"),
    ({"potential": lambda u, x, t: u**4 / 4 - u.detach() ** 2 / 2}, "potential: torch finds another derivative"),
    ({"potential": lambda u, x, t: torch.as_tensor(np.cosh(u.numpy()))}, "potential: expected torch operations on u"),
    ({"potential": lambda u, x, t: u**2 * u.mean()}, "potential: mixes several states"),
    ({"kappa": lambda u, x, t: torch.as_tensor(1 + u.detach().numpy() ** 2)}, "kappa: torch finds another derivative"),
    ({"kappa": (0.1, in_place)}, "kappa: changes what it is given in place"),
    ({"mobility": in_place, "conserved": True}, "mobility: changes what it is given in place"),
    ({"mobility": moved}, "mobility: changes what it is given in place"),
    ({"mobility": lambda u, x, t: 1 + u.mean() ** 2}, r"mobility: mixes .* the points only, u\.mean\(\(-2, -1\), keepdim=True\)"),
    ({"mobility": lambda u, x, t: torch.ones(7)}, r"mobility: expected .* broadcast to \[2, 8, 6\].*got \[7\]"),
    ({"mobility": lambda u, x, t: 1.0 if t < 1 else 2.0}, "mobility: fails for the fields and times .* is ambiguous"),
    ({"forcing": in_place}, "forcing: changes what it is given in place"),
    ({"forcing": doubled}, "forcing: changes what it is given in place"),
    ({"noise": Noise(strength=in_place)}, "noise: changes what it is given in place"),
]


@pytest.mark.parametrize(("parts", "words"), VARIABLE)
def test_functions_of_a_flow_that_varies_are_asked_before_the_run(parts, words):
    flow = VariableFlow(**{"potential": well, "kappa": 0.1} | parts)
    before = U.clone()
    with pytest.raises(ValueError, match=words):
        check_flow(flow, GRID, U)
    assert torch.equal(U, before)


def test_of_several_fields_each_function_gets_the_tuple():
    def energy(u, x, t):
        return u[0] ** 2 * u[1] ** 2

    check_flow(CoupledFlow(energy, (0.1, 0.1), (1.0, 1.0), (True, False)), GRID, torch.stack([U, U]))
    flow = CoupledFlow(lambda u, x, t: energy(u, x, t) + u[0].detach() ** 4, (0.1, 0.1), (1.0, 1.0), (True, False))
    with pytest.raises(ValueError, match="potential: torch finds another derivative"):
        check_flow(flow, GRID, torch.stack([U, U]))


@settings(max_examples=10, deadline=None)
@given(st.floats(-2, 2), st.floats(-2, 2), st.integers(0, 4), st.sampled_from(["step", "clamp", "abs", "log", "time", "none"]))
def test_densities_that_torch_can_differentiate_are_never_refused(a, b, power, kind):
    """Kinks, steps, constants, zeros and ends of a domain included."""

    def density(u, x, t):
        more = {
            "step": lambda: torch.where(u > 0.3, 1.0, 0.0),
            "clamp": lambda: u.clamp(-0.1, 0.1) ** 2,
            "abs": (u - 0.3).abs,
            "log": lambda: torch.special.xlogy(1 + u, 1 + u),
            "time": lambda: torch.sin(t) * x[0] * u,
            "none": lambda: 0.0,
        }
        return a * u**power + b + more[kind]()

    for start in (U, 0 * U, 0 * U + a / 3, 1e-9 * U, U - 0.2999):
        check_flow(VariableFlow(density, 0.1), GRID, start)


@dataclass(frozen=True)
class Odd(Potential):
    """A double well, or what stands in its place."""

    slope: object = None
    curvature: object = None

    def F(self, u):
        return (u * u - 1) ** 2 / 4

    def f(self, u):
        return u**3 - u if self.slope is None else self.slope(u)

    def df(self, u):
        return 3 * u * u - 1 if self.curvature is None else self.curvature(u)


@pytest.mark.parametrize(
    ("potential", "words"),
    [
        (Odd(lambda u: 0.5), r"potential f: expected a tensor \[8, 6\] of values at the points of u, got 0.5"),
        (Odd(lambda u: (u**3 - u).mean()), r"potential f: expected a tensor \[8, 6\]"),
        (Odd(lambda u: u**3 - u.mean()), "potential f: mixes several states"),
        (Odd(lambda u: u.clamp_(-1, 1) ** 3 - u), "potential f: changes what it is given in place"),
        (Odd(lambda u: (u**3 - u).float()), "potential f: expected values of torch.float64"),
        (Odd(None, lambda u: 2.0), "potential df: expected a tensor"),
    ],
)
def test_potentials_of_users_are_asked_before_the_run(potential, words):
    with pytest.raises(ValueError, match=words):
        check_flow(GradientFlow(1.0, lambda k2: 0.1 * k2, potential), GRID, U)


def test_a_symbol_that_edits_its_argument_harms_no_other_run():
    def repulsive(k2):
        k2[0, 0] = 1.0  # as people do before they divide
        return 0.5 * k2 + 0.2 / k2

    own = solve(GradientFlow(lambda k2: k2, repulsive, DoubleWell()), GRID, U, 0.2, 1e-4, progress=False)
    after = solve(CahnHilliard(0.5), GRID, U, 0.2, 1e-4, progress=False)
    for run in (own, after):
        assert abs(run.mass[-1] - run.mass[0]) < 1e-12


def test_a_forcing_that_moves_its_coordinates_is_refused():
    def source(time, x):
        return float(time) * moved(None, x, None)

    with pytest.raises(ValueError, match="forcing: changes what it is given in place"):
        check_flow(AllenCahn(0.1, forcing=source), GRID, U)


TWO, THREE = torch.tensor([1.0, 0.5], dtype=torch.float64), torch.tensor([1.0, 0.5, 0.2], dtype=torch.float64)


@pytest.mark.parametrize(
    ("rate", "start", "words"),
    [
        (lambda t, u: torch.stack([u[1], -u[0]]), TWO, r"rate: expected float64 \[3, 2\].*u\[\.\.\., 0\]"),
        (lambda t, u: torch.stack([u[1], -u[0], -u[2]]), THREE, "rate: fails .* index 2 is out of bounds"),
        (lambda t, u: u.mul_(-1), TWO, "rate: changes what it is given in place"),
        (lambda t, u: torch.sin(u.mean() - u), THREE, "rate: mixes several states"),
    ],
)
def test_a_rate_is_one_of_many_states_at_once(rate, start, words):
    with pytest.raises(ValueError, match=words):
        solve_system(DynamicalSystem(rate), start, 1.0)


def test_the_start_of_a_solution_is_its_own():
    start = TWO.clone()
    solution = solve_system(DynamicalSystem(lambda t, u: -u), start, 0.5, 1e-4)
    start.zero_()
    assert torch.equal(solution.start, TWO)


def test_what_a_function_raises_keeps_its_cause():
    def broken(u):
        raise IndexError("mine")

    with pytest.raises(ValueError, match=r"name: fails .*: mine") as raised:
        ask("name", broken, U)
    assert isinstance(raised.value.__cause__, IndexError)


def test_numbers_of_other_libraries_are_numbers():
    assert Polynomial([0, 1, np.float32(0.5)]) == Polynomial((0.0, 1.0, 0.5))
    rates = tuple(map(tuple, np.array([[1, 0], [0, 2]], dtype=np.float32)))
    flow = CoupledFlow(lambda u, x, t: u[0] ** 2 + u[1] ** 2, (0.1, 0.1), rates, (True, False))
    check_flow(flow, GRID, torch.stack([U, U]))
    with pytest.raises(ValueError, match="contact angle: expected radians from 0 to pi, got 60"):
        contact_angle(60, 0.1)
