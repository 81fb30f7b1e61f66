"""Grids of one, two or three dimensions, and the spectral modes in which minus the Laplacian is diagonal.

A periodic axis has Fourier modes, an axis with Neumann ends (no flux) cosine modes by the DCT-II, and one with
Dirichlet ends (u = 0) sine modes by the DST-I. With one end of each kind an axis has the sine modes of a box of twice its
length that are even about the middle. All transforms are those of torch.fft, so fields live on any device, in any real
precision, and gradients pass through.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral
from typing import Literal, Protocol, Self

import torch
from torch import Tensor

from ernest.phasefield.numeric import number
from ernest.phasefield.sine_transforms import dct, dst, half_dst, inverse_dct, inverse_dst, inverse_half_dst

Boundary = Literal["periodic", "neumann", "dirichlet", "neumann-dirichlet", "dirichlet-neumann"]
"""What both ends of an axis are, or the first and the last."""
BOUNDARIES: tuple[Boundary, ...] = ("periodic", "neumann", "dirichlet", "neumann-dirichlet", "dirichlet-neumann")
MANY_POINTS = 2**18
"""Grids with more points than these are large."""
TRANSFORMS = {"neumann": (dct, inverse_dct), "dirichlet": (dst, inverse_dst), "mixed": (half_dst, inverse_half_dst)}


class Space(Protocol):
    """Interface of the spatial discretisation, with `Grid`, `LegendreGrid` and `Mesh` as implementations."""

    @property
    def points(self) -> tuple[int, ...]: ...

    @property
    def lengths(self) -> tuple[float, ...]: ...

    @property
    def boundaries(self) -> tuple[str, ...]: ...

    @property
    def dimensions(self) -> int: ...

    @property
    def volume(self) -> float: ...

    @property
    def mode_shape(self) -> tuple[int, ...]: ...

    def coordinates(self, dtype: torch.dtype = ..., device: torch.device | str | None = ...) -> tuple[Tensor, ...]: ...

    def squared_wavenumbers(self, dtype: torch.dtype = ..., device: torch.device | str | None = ...) -> Tensor: ...

    def weights(self, dtype: torch.dtype = ..., device: torch.device | str | None = ...) -> Tensor: ...

    def modes(self, u: Tensor) -> Tensor: ...

    def field(self, modes: Tensor) -> Tensor: ...

    def integral(self, u: Tensor) -> Tensor: ...

    def norm(self, modes: Tensor) -> Tensor: ...

    def check_field(self, u: Tensor, name: str) -> None: ...


@dataclass(frozen=True)
class Grid:
    """`points` on a box with sides of `lengths`, one to three of each, with one `boundary` for all axes or one for each.

    A field is `[..., *points]`, its modes are `[..., *mode_shape]`: complex if any axis is periodic (the half-space of
    the real Fourier transform: the last periodic axis keeps n // 2 + 1 modes), else real. With spacing h, the points
    of a periodic axis are 0, h, .., those of a Neumann axis h/2, 3h/2, .., and those of a Dirichlet axis h, 2h, ..
    with both ends left out; next to an end of a mixed axis they lie as next to those. Raises ValueError for what is no
    grid, and for an odd number of points on a periodic axis.
    """

    points: tuple[int, ...]
    lengths: tuple[float, ...]
    boundary: Boundary | tuple[Boundary, ...] = "periodic"

    def __post_init__(self) -> None:
        if not isinstance(self.boundary, str | tuple):
            raise ValueError(
                f"grid boundary: expected one of {BOUNDARIES}, or a tuple with one for each axis, got {self.boundary!r}"
            )
        for name, value in (("points", self.points), ("lengths", self.lengths)):
            if not isinstance(value, tuple):
                raise ValueError(f"grid {name}: expected a tuple with one number for each axis, got {value!r}")
        if not 1 <= len(self.points) <= 3:
            raise ValueError(f"grid points: expected one to three axes, got {self.points}")
        if len(self.lengths) != len(self.points):
            raise ValueError(f"grid lengths: expected {len(self.points)}, one for each axis, got {self.lengths}")
        if len(self.boundaries) != len(self.points) or not set(self.boundaries) <= set(BOUNDARIES):
            raise ValueError(f"grid boundary: expected one of {BOUNDARIES}, or one for each axis, got {self.boundary!r}")
        for n, length, boundary in zip(self.points, self.lengths, self.boundaries, strict=True):
            if not isinstance(n, Integral) or n < 2 or (n % 2 and boundary == "periodic"):
                raise ValueError(f"grid points: expected 2 or more, and an even number on a periodic axis, got {n}")
            if not 0 < number("grid lengths", length) < math.inf:
                raise ValueError(f"grid lengths: expected positive lengths, got {length}")
        # Numbers of numpy would reach files, where JSON does not know them.
        object.__setattr__(self, "points", tuple(map(int, self.points)))
        object.__setattr__(self, "lengths", tuple(map(float, self.lengths)))

    @classmethod
    def cube(cls, points: int, length: float, dimensions: int = 2, boundary: Boundary = "periodic") -> Self:
        """The line, square or cube with the same points and length on every axis."""
        return cls((points,) * dimensions, (length,) * dimensions, boundary)

    @property
    def dimensions(self) -> int:
        return len(self.points)

    @property
    def boundaries(self) -> tuple[Boundary, ...]:
        """The boundary of each axis."""
        return (self.boundary,) * len(self.points) if isinstance(self.boundary, str) else self.boundary

    @property
    def spacings(self) -> tuple[float, ...]:
        """Distance h between the points of each axis."""
        return tuple(
            length / (n + ends_of(boundary).count("dirichlet") / 2)
            for n, length, boundary in zip(self.points, self.lengths, self.boundaries, strict=True)
        )

    @property
    def volume(self) -> float:
        """Length, area or volume of the whole box."""
        return math.prod(self.lengths)

    @property
    def cell(self) -> float:
        """Length, area or volume that belongs to one point."""
        return math.prod(self.spacings)

    @property
    def mode_shape(self) -> tuple[int, ...]:
        """Shape of the modes of one field."""
        periodic = self._periodic
        return tuple(n // 2 + 1 if periodic and axis == periodic[-1] else n for axis, n in enumerate(self.points))

    def lines(self, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None) -> tuple[Tensor, ...]:
        """Coordinates along each axis, `[n]`."""
        shifts = {"periodic": 0.0, "neumann": 0.5, "dirichlet": 1.0}
        return tuple(
            (torch.arange(n, dtype=dtype, device=device) + shifts[ends_of(boundary)[0]]) * spacing
            for n, spacing, boundary in zip(self.points, self.spacings, self.boundaries, strict=True)
        )

    def coordinates(self, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None) -> tuple[Tensor, ...]:
        """Coordinates of every point, in the order of the axes, each `[*points]`."""
        return torch.meshgrid(*self.lines(dtype, device), indexing="ij")

    def squared_wavenumbers(self, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None) -> Tensor:
        """|k|^2 of every mode, `[*mode_shape]`: the symbol of minus the Laplacian. They are kept, and not to be written to; those
        of large grids are made anew."""
        make = _squares if is_large(self) else _kept_squares
        return make(self, dtype, torch.get_default_device() if device is None else torch.device(device))

    def squared_wavenumbers_along(
        self, axis: int, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
    ) -> Tensor:
        """The part of |k|^2 that one axis has, with size 1 along the others: the symbol of minus the second derivative."""
        n, length, boundary = self.points[axis], self.lengths[axis], self.boundaries[axis]
        k = torch.arange(self.mode_shape[axis], dtype=dtype, device=device)
        if boundary == "periodic":
            k = (torch.where(k > n // 2, k - n, k)) * (2 * math.pi / length)
        else:
            k = (k + ends_of(boundary).count("dirichlet") / 2) * (math.pi / length)
        return _along(k * k, axis, self.dimensions)

    def weights(self, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None) -> Tensor:
        """Parseval weights `[*mode_shape]`: the integral of u v is the sum of weights times Re(conj(modes(u)) modes(v)).

        The integral is the sum over the grid points, times `cell`.
        """
        weights = torch.ones(self.mode_shape, dtype=dtype, device=device)
        for axis, (n, spacing, boundary) in enumerate(zip(self.points, self.spacings, self.boundaries, strict=True)):
            line = torch.ones(self.mode_shape[axis], dtype=dtype, device=device)
            if boundary == "periodic":
                line *= spacing / n
                if axis == self._periodic[-1]:
                    # The half-space stands for both halves; its two edges have no partner.
                    line[1:-1] *= 2
            elif boundary == "neumann":
                line *= spacing / (2 * n)
                line[0] /= 2
            elif boundary == "dirichlet":
                line *= spacing / (2 * (n + 1))
            else:
                line *= spacing / (4 * (2 * n + 1))
            weights = weights * _along(line, axis, self.dimensions)
        return weights

    def modes(self, u: Tensor) -> Tensor:
        """Modes `[..., *mode_shape]` of real fields `[..., *points]`, without any scaling in this direction."""
        for axis, boundary in enumerate(self.boundaries):
            if boundary != "periodic":
                u = _along_walls(boundary, 0, u, axis - self.dimensions)
        return torch.fft.rfftn(u, dim=self._periodic_dims) if self._periodic else u

    def field(self, modes: Tensor) -> Tensor:
        """The real fields `[..., *points]` of modes `[..., *mode_shape]`."""
        if self._periodic:
            modes = torch.fft.irfftn(modes, s=[self.points[axis] for axis in self._periodic], dim=self._periodic_dims)
        for axis, boundary in enumerate(self.boundaries):
            if boundary != "periodic":
                modes = _along_walls(boundary, 1, modes, axis - self.dimensions)
        return modes

    def integral(self, u: Tensor) -> Tensor:
        """Integral over the box of fields `[..., *points]`, `[...]`: the sum over the grid points, times `cell`."""
        return u.sum(tuple(range(-self.dimensions, 0))) * self.cell

    def norm(self, modes: Tensor) -> Tensor:
        """Root of the mean square over the box of the fields with these modes, `[...]`."""
        # The modulus of a complex number takes a root, whose square would only undo it, and ten times as long.
        squares = modes.real.square() + modes.imag.square() if modes.is_complex() else modes.square()
        weights = Grid.weights if is_large(self) else _kept_weights
        squares = squares * weights(self, modes.real.dtype, modes.device)
        return (squares.sum(tuple(range(-self.dimensions, 0))) / self.volume).sqrt()

    def check_field(self, u: Tensor, name: str) -> None:
        """Raise ValueError, with the field's `name`, unless `u` is real, finite and `[..., *points]`."""
        check_values(u, self.points, name)

    @property
    def _periodic(self) -> list[int]:
        return [axis for axis, boundary in enumerate(self.boundaries) if boundary == "periodic"]

    @property
    def _periodic_dims(self) -> list[int]:
        return [axis - self.dimensions for axis in self._periodic]


def ends_of(boundary: str) -> tuple[str, str]:
    """The kinds of both ends of an axis."""
    first, _, last = boundary.partition("-")
    return first, last or first


def is_large(grid: Space) -> bool:
    """Whether memory counts more on a grid than the time that it takes to make anew what can be."""
    return math.prod(grid.points) > MANY_POINTS


def holds_zero(grid: Space) -> bool:
    """Whether there is a wall that holds u = 0."""
    return any("dirichlet" in boundary for boundary in grid.boundaries)


def check_values(u: Tensor, points: tuple[int, ...], name: str) -> None:
    """Raise ValueError, with the field's `name`, unless `u` is a tensor, real, finite and `[..., *points]`."""
    if not isinstance(u, Tensor):
        raise ValueError(f"{name}: expected a tensor, got {type(u).__name__}; torch.as_tensor makes one")
    if u.shape[u.ndim - len(points) :] != points or u.ndim < len(points):
        raise ValueError(f"{name}: expected [..., {', '.join(map(str, points))}] to fit the grid, got {list(u.shape)}")
    if u.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"{name}: expected a real floating-point field in single or double precision, got {u.dtype}")
    if not bool(torch.isfinite(u).all()):
        raise ValueError(f"{name}: {int((~torch.isfinite(u)).sum())} values are not finite; expected numbers everywhere")


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # whoever asks first, somebody may ask for gradients next
def _kept_weights(grid: Grid, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The weights once more: norms are taken at every step, and are quicker than the weights are made."""
    return grid.weights(dtype, device)


@lru_cache(maxsize=4)
@torch.inference_mode(False)
def _kept_squares(grid: Grid, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The squares once more: a short run asks for them as often as it takes steps."""
    return _squares(grid, dtype, device)


def _squares(grid: Grid, dtype: torch.dtype, device: torch.device) -> Tensor:
    """|k|^2 of every mode."""
    along = [grid.squared_wavenumbers_along(axis, dtype, device) for axis in range(grid.dimensions)]
    return sum(along, torch.zeros(grid.mode_shape, dtype=dtype, device=device))


def _along(line: Tensor, axis: int, dimensions: int) -> Tensor:
    """A line `[n]` as a tensor that varies along one of the axes only."""
    return line.reshape([-1 if other == axis else 1 for other in range(dimensions)])


def _along_walls(boundary: Boundary, way: int, u: Tensor, axis: int) -> Tensor:
    """The transform of an axis with walls, or (way 1) its inverse; that of a Neumann-Dirichlet axis is of its mirror image."""
    mixed, mirrored = "-" in boundary, boundary == "neumann-dirichlet"
    line = u.movedim(axis, -1)
    line = line.flip(-1) if mirrored and way == 0 else line
    line = TRANSFORMS["mixed" if mixed else boundary][way](line)
    return (line.flip(-1) if mirrored and way == 1 else line).movedim(-1, axis)
