"""Forcing, by solutions that are known because the forcing was made for them."""

import math

import pytest
import torch

from ernest.phasefield import AllenCahn, CahnHilliard, GaussSeidel, Grid, Implicit, SemiImplicit, march, mass_of
from tests.phasefield.problems import SQUARE, end, noise, order, rms


def wave(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return (x + t.sin()).sin() * (-0.3 * t).exp() + 0.2 * (2 * x - t).cos()


def source(t: torch.Tensor, coordinates: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """What Allen-Cahn with kappa = 0.1 lacks to have `wave` as its solution."""
    (x,) = coordinates
    u, phase, decay = wave(t, x), x + t.sin(), (-0.3 * t).exp()
    u_t = decay * (phase.cos() * t.cos() - 0.3 * phase.sin()) + 0.2 * (2 * x - t).sin()
    return u_t - 0.1 * (-phase.sin() * decay - 0.8 * (2 * x - t).cos()) + u**3 - u


@pytest.mark.parametrize(
    ("scheme", "claim", "counts"),
    [
        (Implicit(2, tolerance=1e-15), 4, (16, 24, 32)),
        (Implicit(3, tolerance=1e-15), 6, (8, 12, 16)),
        (GaussSeidel(3, 4, 2), 6, (32, 40, 48)),
        (SemiImplicit(2, 1), 4, (64, 80, 96)),
    ],
    ids=str,
)
def test_forcing_keeps_the_order(scheme, claim, counts):
    grid = Grid.cube(32, 2 * math.pi, 1)
    (x,) = grid.coordinates()
    flow, exact = AllenCahn(0.1, forcing=source), wave(torch.tensor(2.0, dtype=torch.float64), x)
    u = wave(torch.tensor(0.0, dtype=torch.float64), x)
    assert order(flow, grid, u, 2.0, counts, scheme, exact) == pytest.approx(claim, abs=0.15)


@pytest.mark.parametrize("scheme", [Implicit(2), Implicit(3), GaussSeidel(3, 4, 2), SemiImplicit(2, 1)], ids=str)
def test_the_correction_knows_the_forcing(scheme):
    grid = Grid.cube(32, 2 * math.pi, 1)
    (x,) = grid.coordinates()
    u = wave(torch.tensor(0.0, dtype=torch.float64), x)
    flow = AllenCahn(0.1, forcing=source)
    *_, element = march(flow, grid, u, [0.05] * 4, scheme)
    plain, corrected = (
        max(rms(each.at_time(t) - wave(torch.tensor(t, dtype=torch.float64), x)) for t in (0.16, 0.18, 0.19))
        for each in (element, element.corrected(flow))
    )
    assert corrected < plain / 10


@pytest.mark.parametrize("scheme", [SemiImplicit(3, 2), Implicit(2), GaussSeidel(3, 4, 2)], ids=str)
def test_forcing_moves_what_the_mobility_conserves(scheme):
    flow = CahnHilliard(0.1, forcing=lambda t, coordinates: 0.5 + 0 * t)
    u = noise(SQUARE, amplitude=0.5)
    gained = mass_of(end(flow, SQUARE, u, [0.01] * 4, scheme), SQUARE) - mass_of(u, SQUARE)
    assert gained.item() == pytest.approx(0.5 * 0.04 * SQUARE.volume, rel=1e-12)
