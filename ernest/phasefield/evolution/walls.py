"""What the walls of a box hold: values, slopes, or what comes in through them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ernest.phasefield.evolution.given import Function
from ernest.phasefield.grid import Grid, ends_of
from ernest.phasefield.numeric import number


def _check_wall(wall: Any) -> None:
    """Sets what a wall holds as a float or, of an array along the wall, a float64 tensor. Raises ValueError for what is none."""
    if callable(wall.of):
        return
    try:
        value = wall.of.detach().double() if isinstance(wall.of, Tensor) else torch.from_numpy(np.array(wall.of, float))
    except (TypeError, ValueError):
        value = None
    if value is None or not bool(torch.isfinite(value).all()):
        wanted = "a finite number, an array along the wall or a function"
        raise ValueError(f"{type(wall).__name__}: expected {wanted}, got {wall.of!r}")
    object.__setattr__(wall, "of", value if value.ndim else float(value))


@dataclass(frozen=True)
class Value:
    """A wall that holds u: a number, an array along the wall or a function (x, t). For a Dirichlet end of an axis."""

    of: float | Tensor | Callable[[tuple[Tensor, ...], Tensor], Any]

    __post_init__ = _check_wall


@dataclass(frozen=True)
class Slope:
    """A wall with a given slope du/dn outwards: a number, an array, or a function (u, x, t) of u there. For a Neumann end."""

    of: float | Tensor | Function

    __post_init__ = _check_wall


@dataclass(frozen=True)
class Inflow:
    """A wall through which a conserved field comes in, so much per area and time: a number, an array or a function (u, x, t)."""

    of: float | Tensor | Function

    __post_init__ = _check_wall


Wall = Value | Slope | Inflow
Walls = dict[int, tuple[Wall, Wall]]
"""For an axis what its two walls hold, the one at 0 first; axes that are not named have the zero of their boundary."""


def as_function(wall: Wall) -> Function:
    """What a wall holds, where that is a function, as one of (u, x, t)."""
    of: Any = wall.of
    return (lambda u, x, t: of(x, t)) if isinstance(wall, Value) else of


def laid_along(wall: Any, axis: int, grid: Grid, name: str = "walls") -> Any:
    """The wall with its array, which may leave the axis out, of size 1 along it. Raises ValueError for one that does not fit."""
    if not isinstance(wall.of, Tensor):
        return wall
    shape = [1 if other == axis else n for other, n in enumerate(grid.points)]
    own, given = shape[:axis] + shape[axis + 1 :], list(wall.of.shape)
    of = wall.of.unsqueeze(axis) if given == own else wall.of
    if of.ndim > len(shape) or any(n not in (1, m) for n, m in zip(reversed(of.shape), reversed(shape), strict=False)):
        raise ValueError(f"{name}: axis {axis}: expected an array {own} or {shape} along the wall, got {given}")
    return replace(wall, of=of)


def contact_angle(angle: float, kappa: float, s: float = 1.0) -> Slope:
    """The wall that the phase u = 1 of the double well s/4 (u^2 - 1)^2 meets at this angle, in radians.

    An interface at rest has the slope sqrt(s / 2 kappa) (1 - u^2) across it, of which the wall sees the cosine. Raises ValueError
    for angles beyond pi, which are degrees as a rule.
    """
    angle, kappa, s = number("contact angle", angle), number("kappa", kappa), number("s", s)
    if not 0 <= angle <= np.pi:
        raise ValueError(f"contact angle: expected radians from 0 to pi, got {angle}; math.radians makes them of degrees")
    if not (kappa > 0 and s > 0):
        raise ValueError(f"contact angle: expected a kappa and an s above 0, got {kappa} and {s}")
    steepness = float(np.cos(angle) * np.sqrt(s / (2 * kappa)))
    return Slope(lambda u, x, t: steepness * (1 - u * u))


def check_walls(name: str, walls: Walls, of_neumann: type[Slope | Inflow], grid: Grid) -> None:
    """Raises ValueError unless each of these axes has a `Value` at each dirichlet end and an `of_neumann` at each neumann one."""
    for axis, pair in walls.items():
        if not isinstance(axis, Integral):
            raise ValueError(f"{name}: expected the number of an axis, 0 to {grid.dimensions - 1}, got {axis!r}")
        boundary = grid.boundaries[axis] if 0 <= axis < grid.dimensions else "periodic"
        fitting = [Value if end == "dirichlet" else of_neumann for end in ends_of(boundary)]
        if boundary == "periodic" or not isinstance(pair, tuple) or [type(wall) for wall in pair] != fitting:
            raise ValueError(
                f"{name}: axis {axis} with boundary {boundary}: expected a Value for each dirichlet end and "
                f"{'an' if of_neumann is Inflow else 'a'} {of_neumann.__name__} for each neumann one, got {pair!r}"
            )
        for wall in pair:
            laid_along(wall, axis, grid, name)
