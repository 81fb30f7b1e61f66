"""What holds for every flow and scheme: laws, restarts, batches, precision, forcing, gradients; and marching on every grid."""

import math

import numpy as np
import pytest
import torch

from ernest.phasefield import (
    AllenCahn,
    CahnHilliard,
    ConservativeAllenCahn,
    DoubleWell,
    FloryHugginsAllenCahn,
    FloryHugginsCahnHilliard,
    Flow,
    GaussSeidel,
    GradientFlow,
    Grid,
    Implicit,
    OhtaKawasaki,
    PhaseFieldCrystal,
    Scheme,
    SemiImplicit,
    SwiftHohenberg,
    energy_of,
    march,
    mass_of,
)
from ernest.phasefield.element import dissipation
from ernest.phasefield.stepping import State
from tests.phasefield.problems import SQUARE, end, noise, order, slope, smooth

WIDE = Grid.cube(32, 8 * math.pi)
FINE = GaussSeidel(7, 7, 9)

FLOWS: dict[str, tuple[Flow, Grid, float, bool]] = {
    "AC": (AllenCahn(0.02), SQUARE, 0.4, False),
    "CAC": (ConservativeAllenCahn(0.02), SQUARE, 0.4, True),
    "CH": (CahnHilliard(0.02), SQUARE, 0.01, True),
    "Swift-Hohenberg": (SwiftHohenberg(0.25), WIDE, 0.4, False),
    "crystal": (PhaseFieldCrystal(0.25), WIDE, 0.1, True),
    "Ohta-Kawasaki": (OhtaKawasaki(0.02, 0.3), SQUARE, 0.01, True),
    "Flory-Huggins AC": (FloryHugginsAllenCahn(0.02, 0.8, 1.6), SQUARE, 0.2, False),
    "Flory-Huggins CH": (FloryHugginsCahnHilliard(0.02, 0.8, 1.6), SQUARE, 0.01, True),
    "own": (GradientFlow(lambda k2: k2 / (1 + k2), lambda k2: 0.02 * k2, DoubleWell()), SQUARE, 0.2, True),
}
"""Every flow with a grid, a length of step, and whether it keeps the mass."""

SCHEMES: list[Scheme] = [SemiImplicit(3, 2), Implicit(2, tolerance=1e-14), GaussSeidel(3, 4, 2)]


def first(grid: Grid, members: int | None = None) -> torch.Tensor:
    """Noise of a few waves along the side, with a mean."""
    return noise(grid, 6 * 2 * math.pi / grid.lengths[0], 0.5, mean=0.1, members=members)


@pytest.mark.parametrize("name", FLOWS)
def test_energy_falls_by_exactly_the_dissipation(name):
    flow, grid, tau, _ = FLOWS[name]
    u = first(grid)
    energies, dissipated = [energy_of(u, flow, grid).item()], []
    for element in march(flow, grid, u, [tau] * 6, Implicit(3, tolerance=1e-15)):
        energies.append(energy_of(element.end, flow, grid).item())
        dissipated.append(dissipation(element, flow).item())
    defects = np.abs(np.diff(energies) + dissipated)
    assert min(dissipated) > 1e-3 * energies[0]
    # Exact for polynomials; for the logarithm as good as its quadrature.
    assert defects.max() <= 1e-14 * abs(energies[0]) * (1 if flow.potential.degree else 100)
    assert defects.max() <= 1e-12 * (energies[0] - energies[-1])


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("name", FLOWS)
def test_mass_is_kept_to_round_off_where_the_flow_keeps_it(name, scheme):
    flow, grid, tau, keeps = FLOWS[name]
    u = first(grid, members=2)
    drift = (mass_of(end(flow, grid, u, [tau / 2] * 20, scheme), grid) - mass_of(u, grid)).abs()
    assert (drift.max() <= 1e-14 * grid.volume) if keeps else (drift.min() > 1e-6 * grid.volume)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("name", FLOWS)
def test_a_run_goes_on_from_its_state_bit_by_bit(name, scheme):
    flow, grid, tau, _ = FLOWS[name]
    steps = [tau / 4, tau / 4, tau / 3, tau / 3, tau / 5, tau / 5]
    u = first(grid)
    stepper = scheme.stepper(flow, grid, u)
    state, states = stepper.init(u, 1.5), []
    for step in steps:
        state, _, _ = stepper.step(state, step)
        states.append(state)
    kept = states[2]
    restored = State(kept.time, kept.modes.clone(), kept.history.clone(), kept.taus, kept.count)
    fresh = scheme.stepper(flow, grid, u)
    for step in steps[3:]:
        restored, _, _ = fresh.step(restored, step)
    assert torch.equal(restored.modes, states[-1].modes)
    assert torch.equal(restored.history, states[-1].history)
    assert (restored.time, restored.taus, restored.count) == (states[-1].time, states[-1].taus, 6)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_a_step_that_is_repeated_is_the_same(scheme):
    stepper = scheme.stepper(AllenCahn(0.1), SQUARE, smooth())
    state, _, _ = stepper.step(stepper.init(smooth()), 0.1)
    once, _, _ = stepper.step(state, 0.2)
    stepper.step(state, 0.05)
    again, _, _ = stepper.step(state, 0.2)
    assert torch.equal(once.modes, again.modes)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_a_batch_equals_its_members(scheme):
    kappas = torch.linspace(0.05, 0.2, 16, dtype=torch.float64)
    u = first(SQUARE, members=16)
    steps = [0.1, 0.1, 0.2]
    for flow, alone in (
        (CahnHilliard(0.1), lambda i: CahnHilliard(0.1)),
        (ConservativeAllenCahn(kappas), lambda i: ConservativeAllenCahn(kappas[i].item())),
    ):
        lengths = steps if isinstance(flow, ConservativeAllenCahn) else [0.01 * step for step in steps]
        together = end(flow, SQUARE, u, lengths, scheme)
        for i in (0, 7, 15):
            assert (together[i] - end(alone(i), SQUARE, u[i], lengths, scheme)).abs().max() <= 1e-13


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("scheme", [SemiImplicit(3, 1), Implicit(2, tolerance=1e-6)], ids=str)
def test_members_may_have_lengths_of_their_own(scheme, dtype):
    u = first(SQUARE, members=3).to(dtype)
    steps = [torch.tensor([0.1, 0.2, 0.3], dtype=dtype) * factor for factor in (1, 1, 0.5)]
    together = end(ConservativeAllenCahn(0.1), SQUARE, u, steps, scheme)
    assert together.dtype == dtype
    for i in range(3):
        alone = end(ConservativeAllenCahn(0.1), SQUARE, u[i], [step[i].item() for step in steps], scheme)
        close = 1e-13 if dtype == torch.float64 and isinstance(scheme, SemiImplicit) else 1e-5
        assert torch.allclose(together[i], alone, rtol=0, atol=close)


def test_numpy_gives_the_same_fields():
    # The semi-implicit scheme once more, with dense matrices for each mode, and nothing shared.
    n, p, tau, S, kappa = 32, 3, 0.125, 0.5, 0.05
    points, weights = np.polynomial.legendre.leggauss(p)
    polynomials = [np.polynomial.legendre.Legendre.basis(k) for k in range(p)]

    def psi(x: np.ndarray) -> np.ndarray:
        return np.stack([polynomial.integ(lbnd=-1)(x) for polynomial in polynomials], -1)

    moments = np.stack([(k + 0.5) * weights * polynomial(points) for k, polynomial in enumerate(polynomials)])
    A = moments @ psi(points)
    k = np.fft.fftfreq(n, 1 / n)
    z = tau / 2 * (kappa * (k[:, None] ** 2 + k[None, : n // 2 + 1] ** 2) + S)
    inverse = np.linalg.inv(np.eye(p) + z[..., None, None] * A)
    u, c, before = smooth().numpy(), np.zeros((p, n, n)), None
    for count in range(32):
        nodes = u + np.tensordot(psi(points), c, 1) if before is None else before + np.tensordot(psi(points + 2), c, 1)
        for _ in range(8 if count == 0 else 3):
            right = -tau / 2 * np.fft.rfft2(np.tensordot(moments, nodes**3 - nodes - S * nodes, 1))
            right[0] -= z * np.fft.rfft2(u)
            c = np.fft.irfft2(np.einsum("xyij,jxy->ixy", inverse, right), s=(n, n))
            nodes = u + np.tensordot(psi(points), c, 1)
        u, before = u + 2 * c[0], u
    ours = end(AllenCahn(kappa), SQUARE, smooth(), [tau] * 32, SemiImplicit(p, 2, S))
    assert np.abs(ours.numpy() - u).max() <= 1e-13


@pytest.mark.parametrize(
    ("grid", "tau"),
    [
        (Grid.cube(24, 2.0, 2, "neumann"), 0.4),
        (Grid.cube(23, math.pi, 2, "dirichlet"), 2.0),
        (Grid((16, 20), (2 * math.pi, 2.0), ("periodic", "neumann")), 0.5),
        (Grid.cube(48, 2 * math.pi, 1), 2.0),
    ],
    ids=str,
)
def test_order_energy_and_mass_on_every_kind_of_grid(grid, tau):
    waves = torch.ones(grid.points, dtype=torch.float64)
    for x, length, boundary in zip(grid.coordinates(), grid.lengths, grid.boundaries, strict=True):
        if boundary == "dirichlet":
            waves = waves * ((math.pi * x / length).sin() + 0.3 * (2 * math.pi * x / length).sin())
        else:
            turns = (2 if boundary == "periodic" else 1) * math.pi * x / length
            waves = waves * (turns.cos() + 0.5 * (2 * turns).cos())
    u, flow = 0.4 * waves, AllenCahn(0.1)
    exact = end(flow, grid, u, [tau / 12] * 12, FINE)
    for degree in (2, 3):
        found = order(flow, grid, u, tau, (10, 14, 20), Implicit(degree, tolerance=1e-14), exact)
        assert found == pytest.approx(2 * degree, abs=0.15)
    defect, energy = 0.0, energy_of(u, flow, grid)
    for element in march(flow, grid, u, [tau / 4] * 4, Implicit(3, tolerance=1e-15)):
        energy, before = energy_of(element.end, flow, grid), energy
        defect = max(defect, abs((energy - before + dissipation(element, flow)).item()))
    assert defect <= 1e-14 * energy_of(u, flow, grid).item()
    if "dirichlet" not in grid.boundaries:
        start = u + 0.2
        drift = mass_of(end(ConservativeAllenCahn(0.2), grid, start, [tau / 8] * 8, GaussSeidel(3, 3, 2)), grid) - mass_of(
            start, grid
        )
        assert abs(drift.item()) <= 1e-14 * grid.volume


def test_three_dimensions_keep_the_order():
    grid = Grid.cube(16, 2 * math.pi, 3)
    x, y, z = grid.coordinates()
    u, flow = 0.4 * x.sin() * y.cos() * z.cos() + 0.3 * (x + y - z).cos(), AllenCahn(0.1)
    exact = end(flow, grid, u, [0.125] * 8, FINE)
    for degree in (2, 3):
        assert order(flow, grid, u, 1.0, (2, 4, 8), Implicit(degree, tolerance=1e-13), exact) == pytest.approx(
            2 * degree, abs=0.1
        )


@pytest.mark.parametrize(
    ("flow", "time"),
    [(FloryHugginsAllenCahn(0.3, 0.8, 1.6), 2.0), (FloryHugginsCahnHilliard(0.3, 0.8, 1.6), 0.5)],
    ids=["AC", "CH"],
)
def test_logarithmic_potentials_keep_the_order(flow, time):
    x, y = WIDE.coordinates()
    u = 0.2 * x.cos() * (y / 2).cos() + 0.1 * (x / 2 + y / 4).sin() + 0.05 * (3 * x / 4 - y).cos()
    exact = end(flow, WIDE, u, [time / 40] * 40, Implicit(5, tolerance=1e-14))
    for degree in (2, 3):
        found = order(flow, WIDE, u, time, (8, 12, 16), Implicit(degree, tolerance=1e-14), exact)
        assert found == pytest.approx(2 * degree, abs=0.1)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_gradients_pass_through_a_run(scheme):
    flow, grid = AllenCahn(0.1), Grid.cube(8, 2 * math.pi)
    u = noise(grid, 3, 0.5).requires_grad_()

    def final(start: torch.Tensor) -> torch.Tensor:
        return energy_of(end(flow, grid, start, [0.2] * 3, scheme), flow, grid)

    (gradient,) = torch.autograd.grad(final(u), u)
    direction = noise(grid, 3, 1.0, seed=2)
    step = 1e-5
    with torch.no_grad():
        difference = (final(u + step * direction) - final(u - step * direction)) / (2 * step)
    assert (gradient * direction).sum().item() == pytest.approx(difference.item(), rel=1e-6)


def test_scalings_of_the_well_agree():
    # With s and gamma, time runs s gamma times faster and kappa counts in units of s.
    u = first(SQUARE)
    plain = end(AllenCahn(0.1), SQUARE, u, [0.1] * 5, SemiImplicit(3, 1))
    scaled = end(AllenCahn(0.2, s=2.0, gamma=0.5), SQUARE, u, [0.1] * 5, SemiImplicit(3, 1))
    assert torch.allclose(plain, scaled, atol=1e-12)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_the_gpu_gives_the_same_fields(scheme):
    u = first(SQUARE, members=2)
    there = end(AllenCahn(0.1), SQUARE, u.cuda(), [0.1] * 4, scheme)
    assert there.is_cuda
    assert (there.cpu() - end(AllenCahn(0.1), SQUARE, u, [0.1] * 4, scheme)).abs().max() <= 1e-12


def test_bad_input_is_refused_with_its_name_before_the_first_step():
    with pytest.raises(ValueError, match="u0: expected"):
        march(AllenCahn(0.1), SQUARE, torch.zeros(32, 30), [0.1], SemiImplicit())
    with pytest.raises(ValueError, match="u0: 1024 values are not finite"):
        march(AllenCahn(0.1), SQUARE, torch.full((32, 32), math.nan), [0.1], SemiImplicit())
    for scheme in SCHEMES:
        with pytest.raises(ValueError, match="steps: expected positive lengths, got -0"):
            list(march(AllenCahn(0.1), SQUARE, smooth(), [0.1, -0.1], scheme))
    with pytest.raises(ValueError, match="steps: expected positive lengths, one or 1"):
        list(march(AllenCahn(0.1), SQUARE, smooth()[None], [torch.ones(2)], SemiImplicit()))


def test_orders_are_found_by_regression():
    assert slope((10, 20, 40), [1e-2, 1e-2 / 8, 1e-2 / 64]) == pytest.approx(3)
