"""Differences next to walls: exact for polynomials, as are their adjoints, with weights that integrate."""

import numpy as np
import pytest

from ernest.phasefield import Grid
from ernest.phasefield.evolution.closures import FEWEST, SIZES, between_walls
from ernest.phasefield.grid import BOUNDARIES, ends_of

LENGTH = 1.5


@pytest.mark.parametrize("boundary", [one for one in BOUNDARIES if one != "periodic"])
@pytest.mark.parametrize("n", [FEWEST, 9, 10, 17, 18, 40])
def test_polynomials_are_exact_for_slopes_middles_and_their_adjoints_from_wall_to_wall(boundary, n):
    slope, middle, faces, points, of_slope, of_middle, entry = between_walls(n, LENGTH, boundary)
    degree = next(r for least, _, r in SIZES if n >= least)
    ends, h = ends_of(boundary), Grid((n,), (LENGTH,), boundary).spacings[0]
    x = Grid((n,), (LENGTH,), boundary).lines()[0].numpy()
    y = (np.arange(n + 1) + (0.5 if ends[0] == "dirichlet" else 0)) * h
    assert min(faces.min(), points.min()) > 0.3
    for k in range(degree + 2):
        u, rise = np.polynomial.Polynomial.basis(k, (0, LENGTH)), np.polynomial.Polynomial.basis(k, (0, LENGTH)).deriv()
        sides = list(zip(ends, (0.0, LENGTH), (-1, 1), strict=True))
        data = [u(at) if end == "dirichlet" else sign * rise(at) for end, at, sign in sides]
        through = [0.0 if end == "dirichlet" else sign * u(at) for end, at, sign in sides]
        assert abs(slope @ u(x) + of_slope @ data - rise(y)).max() < 1e-9
        if k <= degree:
            assert abs(middle @ u(x) + of_middle @ data - u(y)).max() < 1e-9
            assert abs(-(slope.T @ (faces * u(y))) / points + entry @ through - rise(x)).max() < 1e-9
            assert abs(middle.T @ (faces * u(y)) / points - u(x)).max() < 1e-9
            if ends[0] == ends[1] == "neumann":
                assert h * points @ u(x) == pytest.approx(u.integ()(LENGTH) - u.integ()(0.0), abs=1e-12)


@pytest.mark.parametrize("boundary", [one for one in BOUNDARIES if one != "periodic"])
@pytest.mark.parametrize("n", [6, 12, 40])
def test_only_constants_have_no_slope_and_no_wave_is_stiffer_than_those_of_the_series(boundary, n):
    slope, _, faces, points, *_ = between_walls(n, LENGTH, boundary)
    rates = np.sort(np.linalg.eigvals((slope.T * faces) @ slope / points[:, None]).real)
    assert (rates[0] > 0.5) or (boundary == "neumann" and abs(rates[0]) < 1e-9 and rates[1] > 0.5)
    assert rates[-1] < 1.1 * (np.pi / Grid((n,), (LENGTH,), boundary).spacings[0]) ** 2
