import math

import numpy as np
import pytest
import torch

from ernest.phasefield import (
    Flow,
    PeriodicGrid,
    Scheme,
    allen_cahn,
    cahn_hilliard,
    conservative_allen_cahn,
    energy_of,
    march,
    mass_of,
)

GRID = PeriodicGrid(32, 2 * math.pi)
FLOWS = {"AC": allen_cahn(0.1), "CAC": conservative_allen_cahn(0.1), "CH": cahn_hilliard(0.1)}


def smooth_start() -> torch.Tensor:
    x, y = GRID.coordinates()
    return (0.4 * x.sin() * y.cos() + 0.3 * (x + 2 * y).cos() + 0.2 * (2 * x - y + 1).sin() + 0.1)[None]


def noisy_start(members: int, seed: int) -> torch.Tensor:
    noise = torch.randn(members, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    modes = GRID.modes(noise) * torch.exp(-GRID.squared_wavenumbers() / 18)
    return 2 * GRID.field(modes) + 0.1


def end(flow: Flow, start: torch.Tensor, steps: list, scheme: Scheme) -> torch.Tensor:
    return list(march(flow, GRID, start, steps, scheme))[-1].end


@pytest.fixture(scope="module")
def exact() -> dict[str, torch.Tensor]:
    return {name: end(FLOWS[name], smooth_start(), [0.04] * 50, Scheme(6, 12, 0.5)) for name in ("AC", "CAC")}


@pytest.mark.parametrize(
    ("name", "degree", "sweeps", "elements"),
    [
        ("AC", 1, 0, (64, 128, 256)),
        ("CAC", 1, 2, (32, 64, 128)),
        ("AC", 2, 0, (64, 128, 256)),
        ("AC", 2, 1, (32, 64, 128)),
        ("CAC", 2, 3, (16, 32, 64)),
        ("CAC", 3, 0, (128, 256)),
        ("AC", 3, 1, (16, 32, 64)),
        ("AC", 3, 2, (24, 32, 48)),
        ("CAC", 3, 2, (24, 32, 48)),
        ("AC", 4, 0, (160, 256)),
        ("CAC", 4, 1, (16, 32, 64)),
    ],
)
def test_order_is_min_of_2p_and_p_plus_1_plus_sweeps(exact, name, degree, sweeps, elements):
    scheme = Scheme(degree, sweeps)
    errors = [(end(FLOWS[name], smooth_start(), [2 / n] * n, scheme) - exact[name]).norm() for n in elements]
    slope = -np.polyfit(np.log(elements), np.log(errors), 1)[0]
    assert slope == pytest.approx(min(2 * degree, degree + 1 + sweeps), abs=0.15)


def test_inside_an_element_the_polynomial_has_order_p_plus_1():
    # A point of the last element that is no point of superconvergence, against a fine run that ends at that very time.
    errors = []
    for n in (10, 20, 40):
        *_, element = march(FLOWS["AC"], GRID, smooth_start(), [1 / n] * n, Scheme(2, 4))
        reference = end(FLOWS["AC"], smooth_start(), [(1 - 0.3 / n) / 40] * 40, Scheme(5, 8, 0.5))
        errors.append((element.at(torch.tensor([0.4], dtype=torch.float64))[:, 0] - reference).norm())
    assert -np.polyfit(np.log([10, 20, 40]), np.log(errors), 1)[0] == pytest.approx(3, abs=0.15)


@pytest.mark.parametrize(
    ("name", "step", "scheme"),
    [
        ("AC", 0.4, Scheme(3, 0)),
        ("AC", 0.8, Scheme(2, 1)),
        ("CAC", 0.4, Scheme(3, 0)),
        ("CAC", 0.8, Scheme(3, 2, 0.5)),
        ("CH", 0.02, Scheme(2, 1)),
        ("CH", 0.02, Scheme(3, 2, 0.5)),
    ],
)
def test_energy_falls_on_every_element(name, step, scheme):
    flow, u = FLOWS[name], noisy_start(3, 1)
    fields = [u, *(element.end for element in march(flow, GRID, u, [step] * 40, scheme))]
    energies = torch.stack([energy_of(u, flow.energy, GRID) for u in fields])
    assert (energies.diff(dim=0) < 0).all()
    assert (energies[-1] < 0.9 * energies[0]).all()


@pytest.mark.parametrize(("name", "step"), [("CAC", 0.3), ("CH", 0.02)])
def test_mass_is_kept_to_round_off(name, step):
    u = noisy_start(3, 2)
    drift = mass_of(end(FLOWS[name], u, [step] * 20, Scheme(3, 1)), GRID) - mass_of(u, GRID)
    assert drift.abs().max() <= 1e-14 * GRID.length**2
    loss = mass_of(end(FLOWS["AC"], u, [step] * 20, Scheme(3, 1)), GRID) - mass_of(u, GRID)
    assert loss.abs().min() > 1e-6


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_batch_with_steps_of_its_own_equals_single_runs(dtype):
    u = noisy_start(4, 3).to(dtype)
    steps = [torch.tensor([0.1, 0.2, 0.05, 0.3], dtype=dtype) * factor for factor in (1, 1, 0.5, 0.7, 1.2)]
    together = end(FLOWS["CAC"], u, steps, Scheme(3, 1))
    assert together.dtype == dtype
    for i in range(4):
        alone = end(FLOWS["CAC"], u[i : i + 1], [step[i].item() for step in steps], Scheme(3, 1))
        assert torch.allclose(together[i], alone[0], rtol=0, atol=1e-13 if dtype == torch.float64 else 1e-5)


def test_steps_of_changing_length_keep_the_order(exact):
    errors = []
    for n in (32, 64, 128):
        steps = 2 / n * (1 + 0.5 * np.sin(2 * np.pi * np.arange(n) / 4))
        errors.append((end(FLOWS["AC"], smooth_start(), steps.tolist(), Scheme(2, 0)) - exact["AC"]).norm())
    assert -np.polyfit(np.log([32, 64, 128]), np.log(errors), 1)[0] > 2.7


def test_scalings_of_the_well_agree():
    # With s and gamma, time runs s gamma times faster and kappa counts in units of s.
    u = noisy_start(1, 4)
    plain = end(allen_cahn(0.1), u, [0.1] * 10, Scheme(3, 1, 1.0))
    scaled = end(allen_cahn(0.2, s=2.0, gamma=0.5), u, [0.1] * 10, Scheme(3, 1, 2.0))
    assert torch.allclose(plain, scaled, atol=1e-12)


def test_energy_of_a_wave_is_exact():
    x, _ = GRID.coordinates()
    # For u = sin(3x): kappa/2 * 9 * mean(cos^2) + mean(cos^4) / 4.
    value = energy_of((3 * x).sin(), allen_cahn(0.1).energy, GRID) / GRID.length**2
    assert value.item() == pytest.approx(0.05 * 9 / 2 + 3 / 32, abs=1e-13)


def test_bad_input_is_refused_with_its_name():
    flow, scheme = FLOWS["AC"], Scheme()
    with pytest.raises(ValueError, match="start: expected"):
        list(march(flow, GRID, torch.zeros(32, 32), [0.1], scheme))
    with pytest.raises(ValueError, match="steps: expected positive"):
        list(march(flow, GRID, torch.zeros(1, 32, 32), [0.1, -0.1], scheme))
    with pytest.raises(ValueError, match="steps: expected positive lengths, one or 1"):
        list(march(flow, GRID, torch.zeros(1, 32, 32), [torch.ones(2)], scheme))
    with pytest.raises(ValueError, match="degree"):
        Scheme(degree=0)
    with pytest.raises(ValueError, match="kappa"):
        allen_cahn(-1.0)
