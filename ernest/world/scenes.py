"""Draw the initial conditions of the physics videos: two phases, u = -1 and u = 1, with interfaces at rest between them.

A scene draws from its generator the field u `[size, size]` and the time T to which it is followed, long enough
for the story to be told and short enough for its object to be still there. Lengths are in units of which a side of the canvas
has `BOX`, times in those of the double well with s = 1, in which an interface moves with speed KAPPA times its curvature.
"""

import math

import numpy as np

from ernest.world.sizes import BOX, SIZE

KAPPA = 1.3**2
"""Gradient energy, in units of length squared: interfaces are tanh(distance / 1.84)."""

_WIDTH = math.sqrt(2 * KAPPA)

Field = np.ndarray
Scene = tuple[Field, float]


def disk(rng: np.random.Generator, size: int = SIZE) -> Scene:
    """A disk of radius R, which vanishes at R^2 / 2 KAPPA."""
    radius = rng.uniform(8, 12.5)
    x, y = rng.uniform(-2.8, 2.8, 2)
    return _interface(_disk(x, y, radius, size)), rng.uniform(0.75, 0.9) * radius**2 / (2 * KAPPA)


def star(rng: np.random.Generator, size: int = SIZE) -> Scene:
    """A star of m rays; mode m of a circle relaxes at the rate KAPPA (m^2 - 1) / R^2.

    With fewer than four rays the energy would fall by little more than the tenth that separates a rounding star from a still one.
    """
    radius, rays, depth = rng.uniform(8, 9.5), rng.integers(4, 7), rng.uniform(0.28, 0.4)
    x, y = rng.uniform(-2, 2, 2)
    right, down = _offsets(x, y, size)
    angle = np.arctan2(down, right)
    wave = 1 + depth * np.cos(rays * angle + rng.uniform(0, 2 * math.pi))
    field = _interface(radius * wave - np.hypot(right, down))
    return field, rng.uniform(0.9, 1.1) * radius**2 / ((rays**2 - 1) * KAPPA)


def two_discs(rng: np.random.Generator, size: int = SIZE) -> Scene:
    """Two equal disks that just touch, and so become one."""
    radius = rng.uniform(5, 6.3)
    x, y = rng.uniform(-2.4, 2.4, 2)
    dx, dy = _direction(rng.uniform(0, 2 * math.pi), radius * rng.uniform(0.95, 1.03))
    field = _interface(np.maximum(_disk(x + dx, y + dy, radius, size), _disk(x - dx, y - dy, radius, size)))
    return field, rng.uniform(0.99, 1.21) * 2 * radius**2 / (3 * KAPPA)


def two_drops(rng: np.random.Generator, size: int = SIZE) -> Scene:
    """A large and a small drop apart: mass flows from the small to the large one until the small one is gone.

    They lie along a diagonal, where the canvas has room for two drops and for the gap that keeps them from merging,
    the large one nearer to the middle, since it grows.
    """
    large, small = rng.uniform(6.8, 7.6), rng.uniform(5.0, 5.7)
    distance = large + small + rng.uniform(6, 6.5)
    x, y = rng.uniform(-0.8, 0.8, 2)
    turn = rng.integers(4) * math.pi / 2 + math.pi / 4 + rng.uniform(-0.1, 0.1)
    ax, ay = _direction(turn, -0.36 * distance)
    bx, by = _direction(turn, 0.64 * distance)
    field = _interface(np.maximum(_disk(x + ax, y + ay, large, size), _disk(x + bx, y + by, small, size)))
    return field, rng.uniform(0.75, 0.9) * _life_of_the_smaller(large, small)


def mixture(rng: np.random.Generator, size: int = SIZE) -> Scene:
    """A mixture with small smooth fluctuations, unstable to separation."""
    noise = rng.standard_normal((size, size))
    k = 2 * math.pi * np.fft.fftfreq(size, BOX / size)
    half = 2 * math.pi * np.fft.rfftfreq(size, BOX / size)
    smooth = np.fft.irfft2(np.fft.rfft2(noise) * np.exp(-2 * (k[:, None] ** 2 + half**2)), s=(size, size))
    smooth -= smooth.mean()
    return smooth / smooth.std() * rng.uniform(0.25, 0.4) + rng.uniform(-0.15, 0.15), rng.uniform(35, 60)


def _interface(distance: Field) -> Field:
    """The profile at rest, from the distance to the interface (positive inside)."""
    return np.tanh(distance / _WIDTH)


def _disk(x: float, y: float, radius: float, size: int) -> Field:
    return radius - np.hypot(*_offsets(x, y, size))


def _offsets(x: float, y: float, size: int) -> tuple[Field, Field]:
    """How far each pixel lies to the right of and below a point, which is given from the middle of the canvas."""
    line = (np.arange(size) - (size - 1) / 2) * (BOX / size)
    return np.broadcast_to(line - x, (size, size)), np.broadcast_to((line - y)[:, None], (size, size))


def _direction(angle: float, length: float) -> tuple[float, float]:
    return length * math.cos(angle), length * math.sin(angle)


def _life_of_the_smaller(large: float, small: float) -> float:
    """Time until the smaller of two drops is gone.

    With radii a > b of constant a^2 + b^2, curvature gives db/dt = -KAPPA (a - b) / (b (a + b)); the time is an integral over b.
    """
    points, weights = np.polynomial.legendre.leggauss(16)
    b = small * (points + 1) / 2
    a = np.sqrt(large**2 + small**2 - b**2)
    return float(small / 2 * np.sum(weights * b * (a + b) / (a - b)) / KAPPA)
