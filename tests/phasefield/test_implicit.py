import math
from itertools import pairwise

import pytest
import torch

from ernest.phasefield import (
    AllenCahn,
    CahnHilliard,
    ConservativeAllenCahn,
    DivergenceError,
    FloryHugginsAllenCahn,
    GaussSeidel,
    Grid,
    Implicit,
    energy_of,
)
from ernest.phasefield.schemes.implicit import exact_points
from ernest.phasefield.schemes.iterations import gmres
from tests.phasefield.problems import SQUARE, end, noise, order, rms, smooth

FINE = GaussSeidel(8, 8, 12)


@pytest.fixture(scope="module")
def exact() -> torch.Tensor:
    return end(AllenCahn(0.1), SQUARE, smooth(), [0.1] * 20, FINE)


@pytest.mark.parametrize(
    ("scheme", "counts"),
    [
        (Implicit(1, tolerance=1e-14), (16, 24, 32)),
        (Implicit(2, tolerance=1e-14), (16, 24, 32)),
        (Implicit(3, tolerance=1e-14), (16, 24, 32)),
        (Implicit(4, tolerance=1e-14), (8, 10, 12)),
        (Implicit(3, quadrature=3, tolerance=1e-14), (16, 24, 32)),
        (Implicit(2, iteration="picard", tolerance=1e-14), (8, 16)),
        (Implicit(2, iteration="newton", tolerance=1e-14), (8, 16)),
    ],
    ids=str,
)
def test_order_is_2p(exact, scheme, counts):
    found = order(AllenCahn(0.1), SQUARE, smooth(), 2.0, counts, scheme, exact)
    # Four nodes reach round-off before the slope settles.
    assert found == pytest.approx(2 * scheme.degree, abs=0.1 if scheme.degree < 4 else 0.35)


def test_three_nodes_in_sixteen_steps_are_exact_to_eleven_digits(exact):
    assert rms(end(AllenCahn(0.1), SQUARE, smooth(), [0.125] * 16, Implicit(3, tolerance=1e-14)) - exact) <= 2e-11


@pytest.mark.parametrize("flow", [AllenCahn(0.02), ConservativeAllenCahn(0.02)], ids=str)
def test_iterations_agree(flow):
    u = noise(SQUARE, mean=0.1)
    ends = [
        end(flow, SQUARE, u, [0.3, 0.5, 0.4], Implicit(3, iteration=iteration, tolerance=1e-13))
        for iteration in ("picard", "anderson", "newton")
    ]
    assert rms(ends[0] - ends[1]) <= 1e-13
    assert rms(ends[0] - ends[2]) <= 1e-13


def test_newton_and_anderson_converge_where_picard_does_not():
    flow, u = AllenCahn(0.02), noise(SQUARE)
    with pytest.raises(DivergenceError, match="no convergence at time 0"):
        end(flow, SQUARE, u, [8.0], Implicit(3, iteration="picard", limit=60))
    newton = Implicit(3, iteration="newton").stepper(flow, SQUARE, u)
    anderson = Implicit(3, iteration="anderson").stepper(flow, SQUARE, u)
    _, one, facts = newton.step(newton.init(u), 4.0)
    _, two, _ = anderson.step(anderson.init(u), 4.0)
    assert len(facts.differences) <= 12
    assert rms(one.end - two.end) <= 1e-11


def test_anderson_saves_iterations_in_long_steps():
    flow, u = AllenCahn(0.02), (4 * noise(SQUARE)).tanh()
    counts = {}
    for iteration in ("picard", "anderson"):
        stepper = Implicit(3, iteration=iteration).stepper(flow, SQUARE, u)
        counts[iteration] = stepper.step(stepper.init(u), 3.0)[2].iterations
    assert counts["anderson"] < 0.8 * counts["picard"]


@pytest.mark.parametrize("tau", [1.0, 2.0, 4.0, 8.0])
def test_energy_falls_in_steps_of_any_length(tau):
    flow, u = AllenCahn(0.02), noise(SQUARE)
    stepper = Implicit(3, tolerance=1e-11, limit=1000).stepper(flow, SQUARE, u)
    state, energies = stepper.init(u), [energy_of(u, flow, SQUARE).item()]
    for _ in range(3):
        state, element, _ = stepper.step(state, tau)
        energies.append(energy_of(element.end, flow, SQUARE).item())
    assert all(later < earlier for earlier, later in pairwise(energies))


def test_default_stabilisation_needs_the_fewest_iterations():
    # With both phases in place, f' takes all values from -s to 2s.
    flow, u = AllenCahn(0.02), (4 * noise(SQUARE)).tanh()
    counts = {}
    for S in (None, 0.0, 2.0):
        stepper = Implicit(3, stabilisation=S, iteration="picard").stepper(flow, SQUARE, u)
        _, _, facts = stepper.step(stepper.init(u), 0.5)
        counts[S] = facts.iterations
        assert len(facts.differences) == facts.iterations
    assert counts[None] < min(counts[0.0], counts[2.0])
    assert Implicit(3).stepper(flow, SQUARE, u).splitting.stabilisation == 0.5


def test_steps_of_changing_length_start_from_the_last_polynomial():
    # The prediction saves iterations, and it is the same polynomial whatever the next length.
    flow, u = AllenCahn(0.1), smooth()
    stepper = Implicit(3, iteration="picard").stepper(flow, SQUARE, u)
    state, _, first = stepper.step(stepper.init(u), 0.05)
    state, _, second = stepper.step(state, 0.08)
    _, _, third = stepper.step(state, 0.03)
    assert max(second.differences[0], third.differences[0]) < first.differences[0] / 100


def test_exact_quadrature_takes_half_the_degrees_of_the_potential():
    assert [exact_points(p, 4) for p in (1, 2, 3)] == [2, 4, 6]
    assert [exact_points(p, 6) for p in (1, 2, 3)] == [3, 6, 9]
    assert exact_points(3, 2) == 3
    assert exact_points(3, None) == 9


def test_gmres_solves_each_member():
    matrices = torch.eye(6, dtype=torch.float64) + 0.3 * torch.randn(
        2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    right = torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    right[1] = 0
    x, count = gmres(lambda v: (matrices @ v[..., None])[..., 0], right, 1, accuracy=1e-12)
    assert torch.allclose(x, torch.linalg.solve(matrices, right), atol=1e-11)
    assert count <= 6


def test_an_iteration_that_leaves_the_domain_is_a_divergence():
    flow, grid = FloryHugginsAllenCahn(0.01, 0.3, 1.6), Grid.cube(8, 2 * math.pi, 1)
    with pytest.raises(DivergenceError):
        end(flow, grid, noise(grid, 3, 0.99), [50.0], Implicit(2, iteration="picard"))


def test_bad_parameters_are_refused():
    for arguments, message in (
        ({"degree": 9}, "degree: expected 1 to 8"),
        ({"quadrature": 2}, "quadrature: expected 3 or more"),
        ({"depth": 0}, "depth"),
        ({"iteration": "broyden"}, "iteration: expected picard"),
        ({"tolerance": 0.0}, "tolerance"),
    ):
        with pytest.raises(ValueError, match=message):
            Implicit(**arguments)
    with pytest.raises(ValueError, match=r"stabilisation: expected S with L \+ S >= 0"):
        Implicit(3, stabilisation=-1.0).stepper(CahnHilliard(0.1), SQUARE, smooth())
