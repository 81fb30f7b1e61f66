"""Slopes and middle values next to a wall that holds something, of high order, and with adjoints of high order.

A series that is odd or even about a wall knows only slowly what has another second derivative there, whatever line or parabola
is taken off, and sums with equal weights integrate it with an error of h^2. So on an axis whose walls hold something, faces take
differences of a finite width: central ones inside, and next to a wall rows that are found here, with weights w of the points and
v of the faces next to it, so that for polynomials about the wall, data of the wall included,

    slope D u and middle value M u on the faces are exact up to a degree r + 1, and r,
    -w^{-1} D^T v, the divergence of a flux, and w^{-1} M^T v, which spreads what is on faces over the points, up to r.

All four are linear in v D, v M, v and w together: of all solutions the one nearest to what is inside, with weights of one, is
taken. The slopes are then wrong by h^{r+1} on a few faces, which a solution sees with the power r + 2. With the weights the
energy's gradient and what is dissipated stay exact, as between walls that hold zero, and no mass is lost.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ernest.phasefield.grid import ends_of

Array = np.ndarray
SIZES = ((18, 9, 3), (10, 5, 2), (6, 3, 1))
"""From so many points on: how many of the faces and points at an end have rows of their own, and the degree r."""
FEWEST = SIZES[-1][0]
"""Points of an axis below which there is no room."""


@dataclass(frozen=True)
class Closure:
    """The first rows at an end, in units of the spacing: `slope` and `middle` `[size, size]` times the weights of their faces,
    what the wall's datum adds to both, what a flux through the wall adds to the points, times theirs, and the weights `[size]`.
    """

    slope: Array
    middle: Array
    wall_slope: Array
    wall_middle: Array
    entry: Array
    faces: Array
    points: Array


def stencil(size: int, derivative: int) -> Array:
    """The differences (1) or middle values (0) of 2 size points about a face."""
    offsets = np.arange(2 * size) + 0.5 - size
    right = np.zeros(2 * size)
    right[derivative] = 1
    return np.linalg.solve(np.vander(offsets / size, increasing=True).T, right / size**derivative)


def inside(size: int, rows: int, columns: int, derivative: int) -> Array:
    """Rows of the stencil without walls; face f lies between the points f - 1 and f."""
    matrix, weights = np.zeros((rows, columns)), stencil(size, derivative)
    for f in range(rows):
        for k, weight in enumerate(weights):
            if 0 <= f - size + k < columns:
                matrix[f, f - size + k] = weight
    return matrix


@cache
def closure(end: str, size: int, degree: int) -> Closure:
    """The rows at an end that holds a value ("dirichlet"; points at 1, 2, .., faces at 1/2, ..) or a slope ("neumann"; points at
    1/2, .., faces at 0, 1, .., of which the first has the slope of the wall itself).
    """
    n, far = size, 3 * size
    D, M = (inside(size, far, far, derivative) for derivative in (1, 0))
    begin = np.concatenate([D[:n, :n].ravel(), M[:n, :n].ravel(), np.zeros(3 * n), np.ones(2 * n)])
    unknowns = np.arange(len(begin))
    places: dict[str, Array] = dict(zip(UNKNOWNS, np.split(unknowns, np.cumsum([n * n, n * n, n, n, n, n])), strict=True))
    A, b = _conditions(end, size, degree, D, M, places)
    found = begin + np.linalg.lstsq(A, b - A @ begin, rcond=1e-12)[0]
    parts = {name: found[place] for name, place in places.items()}
    if not (abs(A @ found - b).max() < 1e-9 and min(parts["v"].min(), parts["w"].min()) > 0):
        raise ValueError(f"closure: none of degree {degree} with {size} rows and positive weights at a {end} end")
    D, M, *others = parts.values()
    return Closure(D.reshape(n, n), M.reshape(n, n), *others)


UNKNOWNS: tuple[str, ...] = ("vD", "vM", "vd", "vi", "we", "v", "w")
"""Of a closure, in the order of its fields."""


def _conditions(
    end: str,
    n: int,
    degree: int,
    D: Array,
    M: Array,
    places: dict[str, Array],
) -> tuple[Array, Array]:
    """The linear equations A found = b for the rows and columns of the first n faces and points, beyond which are D and M."""
    value, rows, right = end == "dirichlet", [], []
    x, y = np.arange(len(D)) + (1.0 if value else 0.5), np.arange(len(D)) + (0.5 if value else 0.0)
    of_slope, of_middle = places["vD"].reshape(n, n), places["vM"].reshape(n, n)

    def equation(value: Any, *terms: tuple[Array, Array | float]) -> None:
        row = np.zeros(sum(map(len, places.values())))
        for place, factor in terms:
            row[place] = factor
        rows.append(row)
        right.append(value)

    for k in range(degree + 2):
        P, F = (x / n) ** k, (y / n) ** k  # a monomial on points and on faces, and its slope there
        dP, dF = (k * (at / n) ** max(k - 1, 0) / n for at in (x, y))
        held = float(k == 0) if value else -float(k == 1) / n  # its value at the wall, or its slope outwards
        inwards = 0.0 if value else -float(k == 0)
        for f in range(n):
            v, w = (places["v"][f], -dF[f]), (places["w"][f], dP[f])
            equation(-D[f, n:] @ P[n:], (of_slope[f], P[:n]), (places["vd"][f], held), v)
            if k <= degree:
                equation(-M[f, n:] @ P[n:], (of_middle[f], P[:n]), (places["vi"][f], held), (places["v"][f], -F[f]))
                equation(-D[n:, f] @ F[n:], (of_slope[:, f], F[:n]), (places["we"][f], -inwards), w)
                equation(-M[n:, f] @ F[n:], (of_middle[:, f], F[:n]), (places["w"][f], -P[f]))
    for place in places["we"] if value else of_slope[0]:  # no flux enters, or the slope on the wall is what the wall holds
        equation(0.0, (place, 1.0))
    return np.array(rows), np.array(right)


Parts = tuple[Array, ...]
"""Slope and middle `[n + 1, n]`, weights of faces `[n + 1]` and points `[n]`, and columns for the data of both walls: of the
slope and the middle `[n + 1, 2]`, and of what goes through them `[n, 2]`. In units of length.
"""


def between_walls(n: int, length: float, boundary: str) -> Parts:
    """The matrices of an axis whose ends hold values or slopes. Raises ValueError for less than `FEWEST` points."""
    ends = ends_of(boundary)
    if n < FEWEST:
        raise ValueError(f"grid points: an axis whose walls hold something needs {FEWEST} or more, got {n}")
    size, degree = next(of for least, *of in SIZES if n >= least)
    h = length / (n + ends.count("dirichlet") / 2)
    slope, middle = (inside(size, n + 1, n, derivative) for derivative in (1, 0))
    faces, points = np.ones(n + 1), np.ones(n)
    of_slope, of_middle, entry = np.zeros((n + 1, 2)), np.zeros((n + 1, 2)), np.zeros((n, 2))
    for side, end in enumerate(ends):
        # At the last end all is mirrored: a slope along the axis, of fields and of what they are by data, changes its sign.
        rows, columns, sign = (slice(size), slice(size), 1) if side == 0 else (slice(-1, -size - 1, -1),) * 2 + (-1,)
        one, unit = closure(end, size, degree), 1.0 if end == "dirichlet" else h
        slope[rows, columns], middle[rows, columns] = sign * one.slope, one.middle
        faces[rows], points[columns] = one.faces, one.points
        of_slope[rows, side], of_middle[rows, side] = sign * one.wall_slope * unit, one.wall_middle * unit
        entry[columns, side] = one.entry
    v, w = faces[:, None], points[:, None]
    return slope / v / h, middle / v, faces, points, of_slope / v / h, of_middle / v, entry / w / h
