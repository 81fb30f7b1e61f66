"""Initial fields for any grid: shapes of u = 1 in u = -1 with equilibrium interfaces, and noise about a mean.

Every function returns a field `[*points]` in float64. Lengths are those of the grid, and shapes scale with its shortest side
unless given. An interface at rest is tanh(distance / sqrt(2 kappa)) for the double well with s = 1; with another s,
pass kappa / s. Distances go round a periodic grid the shorter way. On a Dirichlet grid, whose walls hold u = 0,
both phases meet them in a profile at rest. A shape that the grid has no room for raises ValueError.
"""

import math

import torch
from torch import Tensor

from ernest.device import HOST
from ernest.phasefield.grid import Grid, ends_of, holds_zero
from ernest.phasefield.numeric import number, whole

_SEVEN = (
    (1 / 2, 1 / 2, 1 / 5),
    (1 / 4, 3 / 4, 2 / 15),
    (1 / 2, 5 / 4, 2 / 15),
    (1, 1 / 4, 1 / 10),
    (3 / 2, 1 / 4, 1 / 10),
    (1, 1, 1 / 4),
    (3 / 2, 3 / 2, 1 / 4),
)
"""x, y and radius of the seven circles in units of half a side."""


def circle(grid: Grid, kappa: float, radius: float | None = None, centre: tuple[float, ...] | None = None) -> Tensor:
    """A disk of u = 1; in one dimension an interval, in three a ball.

    By default its radius is a share 1 / pi of the shortest side and it lies in the middle: on the square of side 2 pi the
    disk of radius 2 which, with kappa = 0.01 under Allen-Cahn, is gone at about t = 197.709.
    """
    side = min(grid.lengths)
    radius = _length("radius", side / math.pi if radius is None else radius, side / 2)
    distance = _distance(grid, tuple(length / 2 for length in grid.lengths) if centre is None else centre)
    return _between_walls(grid, kappa, _interface(radius - distance, kappa))


def star(grid: Grid, kappa: float, radius: float | None = None, rays: int = 6, depth: float = 0.4) -> Tensor:
    """A star whose edge lies at radius (1 + depth cos(rays * angle)) from the middle; in three dimensions its rays point around
    the equator, cos(rays * angle) times the power `rays` of the sine of the polar angle.

    By default the mean radius is a quarter of the shortest side. Raises ValueError on a line, and where it finds no room.
    """
    if grid.dimensions < 2:
        raise ValueError(f"star: expected a grid of two or three dimensions, got points={grid.points}")
    if not (rays >= 2 and 0 <= depth < 1):
        raise ValueError(f"star: expected rays >= 2 and 0 <= depth < 1, got rays={rays}, depth={depth}")
    side = min(grid.lengths)
    radius = _length("radius", side / 4 if radius is None else radius, side / 2 / (1 + depth))
    middle = tuple(length / 2 for length in grid.lengths)
    distance = _distance(grid, middle)
    x, y = _offsets(grid, middle)[:2]
    share = torch.hypot(x, y) / distance.clamp(min=torch.finfo(distance.dtype).tiny)
    edge = radius * (1 + depth * share**rays * torch.cos(rays * torch.atan2(y, x)))
    return _between_walls(grid, kappa, _interface(edge - distance, kappa))


def seven_circles(grid: Grid, kappa: float) -> Tensor:
    """Seven disks of five sizes with thin edges, u = -1 + sum of 2 exp(-kappa / d^2), d being how deep a point lies in a disk.

    This is the benchmark of Church and others (Communications in Computational Physics 26 (2019) 947) on the square of side
    2 pi with kappa = 0.01, stretched to the grid; in three dimensions seven balls lie in the middle plane of the third.
    The edges are smooth, yet steeper than an interface at rest: the first steps of a run are short. Raises ValueError on a line.
    """
    if grid.dimensions < 2:
        raise ValueError(f"seven circles: expected a grid of two or three dimensions, got points={grid.points}")
    _positive("kappa", kappa)
    u = torch.full(grid.points, -1.0, dtype=torch.float64)
    for x, y, radius in _SEVEN:
        place = (x, y, *(1.0 for _ in grid.points[2:]))
        centre = tuple(share * length / 2 for share, length in zip(place, grid.lengths, strict=True))
        depth = (radius * min(grid.lengths) / 2 - _distance(grid, centre)).clamp(min=0)
        u += 2 * torch.exp(-kappa / depth**2)  # exp(-inf) = 0 outside
    return _between_walls(grid, kappa, u)


def two_drops(
    grid: Grid,
    kappa: float,
    radii: tuple[float, float] | None = None,
    centres: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
) -> Tensor:
    """A large and a small drop apart, on the diagonal: where mass is conserved, the small one feeds the large one and vanishes.

    By default radii are 1 / (2 pi) and 0.7 / (2 pi) of the shortest side. Raises ValueError for radii that find no room.
    """
    side = min(grid.lengths)
    large, small = (side / (2 * math.pi), 0.7 * side / (2 * math.pi)) if radii is None else radii
    usual = tuple(tuple(share * length for length in grid.lengths) for share in (1 / math.pi, 2.2 / math.pi))
    places = usual if centres is None else centres
    drops = [
        _interface(_length("radius", radius, side / 2) - _distance(grid, centre), kappa)
        for radius, centre in zip((large, small), places, strict=True)
    ]
    return _between_walls(grid, kappa, torch.maximum(*drops))


def spinodal_noise(grid: Grid, amplitude: float = 0.1, mean: float = 0.0, seed: int = 0, waves: int | None = None) -> Tensor:
    """A mixture with random fluctuations about `mean`, unstable to separation where |mean| < 1 / sqrt(3).

    `amplitude` is the root mean square of the fluctuations. With `waves` they hold all waves as long as 1 / waves of the
    shortest side or longer, and are one smooth function that every grid over the same box samples, however fine, so that runs
    on several grids can be compared. Without it every point draws for itself, evenly from an interval: rough data, other on
    each grid, with which a run has to begin in short steps. Raises ValueError for a mean other than 0 between walls that hold 0,
    and for shorter waves than the grid resolves.
    """
    amplitude, mean = number("spinodal noise: amplitude", amplitude), number("spinodal noise: mean", mean)
    if not (amplitude >= 0 and math.isfinite(amplitude) and math.isfinite(mean)):
        raise ValueError(f"spinodal noise: expected a finite mean and amplitude >= 0, got mean={mean}, amplitude={amplitude}")
    if mean and holds_zero(grid):
        raise ValueError(f"spinodal noise: the walls of a Dirichlet grid hold u = 0, so mean must be 0, got {mean}")
    seed = whole("spinodal noise: seed", seed)
    if not -(2**63) <= seed < 2**64:
        raise ValueError(f"spinodal noise: expected a seed below 2^64, got {seed}")
    generator = torch.Generator(HOST).manual_seed(seed)
    if waves is None:
        draws = torch.rand(grid.points, generator=generator, dtype=torch.float64, device=HOST).to(torch.get_default_device())
        return mean + math.sqrt(3) * amplitude * (2 * draws - 1)
    finest = min(points * min(grid.lengths) / length for points, length in zip(grid.points, grid.lengths, strict=True)) / 2
    if not 1 <= waves < finest:
        raise ValueError(f"spinodal noise: the shortest side has room for 1 to {math.ceil(finest) - 1} waves, got {waves}")
    return mean + amplitude * _smooth_noise(grid, 2 * math.pi * waves / min(grid.lengths), generator)


def _smooth_noise(grid: Grid, cutoff: float, generator: torch.Generator) -> Tensor:
    """Normal noise of mean square one in the waves with 0 < |k| <= cutoff, drawn in an order that is the same on every grid."""
    bases, squares = zip(*(_waves(grid, axis, cutoff) for axis in range(grid.dimensions)), strict=True)
    k2 = torch.zeros(())
    for square in squares:
        k2 = k2[..., None] + square
    coefficients = torch.randn(k2.shape, generator=generator, dtype=torch.float64, device=HOST).to(k2.device)
    coefficients *= (k2 > 0) & (k2 <= cutoff**2 * (1 + 1e-9))
    field = coefficients / torch.linalg.vector_norm(coefficients)
    for basis in bases:
        field = field.movedim(0, -1) @ basis.T  # sums over the first axis, and puts its points last
    return field


def _waves(grid: Grid, axis: int, cutoff: float) -> tuple[Tensor, Tensor]:
    """The waves of one axis up to a wave number: their values `[points, waves]`, of mean square one, and their k^2 `[waves]`."""
    length, x, boundary = grid.lengths[axis], grid.lines()[axis], grid.boundaries[axis]
    unit = (2 if boundary == "periodic" else 1) * math.pi / length
    first, last = ends_of(boundary)
    shift = 0.0 if first == last else 0.5
    k = unit * (torch.arange(1, math.floor(cutoff / unit + shift + 1e-9) + 1, dtype=torch.float64) - shift)
    sine, cosine = (math.sqrt(2) * wave(x[:, None] * k) for wave in (torch.sin, torch.cos))
    if first == "dirichlet":
        return sine, k**2
    if last == "dirichlet":
        return cosine, k**2
    still, zero = torch.ones_like(x)[:, None], torch.zeros(1, dtype=torch.float64)
    if boundary == "neumann":
        return torch.cat([still, cosine], 1), torch.cat([zero, k**2])
    return torch.cat([still, cosine, sine], 1), torch.cat([zero, k**2, k**2])


def _interface(distance: Tensor, kappa: float) -> Tensor:
    """The profile at rest, from the distance to the interface (positive inside)."""
    return torch.tanh(distance / math.sqrt(2 * _positive("kappa", kappa)))


def _distance(grid: Grid, centre: tuple[float, ...]) -> Tensor:
    """Distance of every point from `centre`, `[*points]`."""
    return torch.stack(_offsets(grid, centre)).square().sum(0).sqrt()


def _offsets(grid: Grid, centre: tuple[float, ...]) -> list[Tensor]:
    """For each axis the offset from `centre` of the points along it, in shapes that broadcast against the others."""
    if len(centre) != grid.dimensions:
        raise ValueError(f"centre: expected {grid.dimensions} coordinates, got {centre}")
    offsets = []
    for x, middle, length, boundary in zip(grid.lines(), centre, grid.lengths, grid.boundaries, strict=True):
        way = x - middle
        offsets.append(way - length * torch.round(way / length) if boundary == "periodic" else way)
    return list(torch.meshgrid(*offsets, indexing="ij"))


def _between_walls(grid: Grid, kappa: float, u: Tensor) -> Tensor:
    """The field, brought to u = 0 at Dirichlet walls by an interface."""
    for x, length, boundary in zip(grid.coordinates(), grid.lengths, grid.boundaries, strict=True):
        walls = [way for end, way in zip(ends_of(boundary), (x, length - x), strict=True) if end == "dirichlet"]
        if walls:
            u = u * _interface(torch.stack(walls).amin(0), kappa)
    return u


def _positive(name: str, value: float) -> float:
    value = number(name, value)
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name}: expected a positive number, got {value}")
    return value


def _length(name: str, value: float, most: float) -> float:
    if not 0 < value < most:
        raise ValueError(f"{name}: expected a length between 0 and {most:g}, which this grid has room for, got {value}")
    return value
