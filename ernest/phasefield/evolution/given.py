"""Asks the functions of a flow that varies, once and before a run, whether they are what they have to be."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ernest.phasefield.gradients import outside_inference_mode, plain
from ernest.phasefield.grid import Grid
from ernest.phasefield.user_functions import ask, check_derivative, check_rows

Function = Callable[[Any, tuple[Tensor, ...], Tensor], Any]
"""f(u, x, t) of torch operations, as `evolution.flows` says."""


@outside_inference_mode
def check_functions(functions: Iterable[tuple[str, Function]], single: bool, grid: Grid, u0: Tensor) -> None:
    """Raise ValueError for functions (u, x, t), each by the name of what it gives, that fail, change u, x or t in place, give
    what is not finite or does not fit the points, for a density F that is one number for all of them, and where torch cannot
    differentiate F or a gradient energy by u. `u0` is one field if `single`, else all of them.
    """
    fields, x = _fields(plain(u0), single, grid), grid.coordinates(u0.dtype, u0.device)
    for name, function in functions:
        u, at = _check_one(name, function, fields, single, x)
        if name in ("potential", "kappa"):
            probe = tuple(torch.where(v == 0, 1e-3, v) for v in u)
            check_derivative(name, lambda fields, of=function, at=at: of(fields[0] if single else fields, x, at), probe)


@outside_inference_mode
def check_wall_functions(functions: Iterable[tuple[str, int, int, Function]], single: bool, grid: Grid, u0: Tensor) -> None:
    """The same for what walls hold: functions (u, x, t), each by its name, its axis and the end of that, 0 or 1. They get the
    values next to the wall."""
    fields, lines = _fields(plain(u0), single, grid), grid.lines(u0.dtype, u0.device)
    for name, axis, end, function in functions:
        beside = tuple(v.narrow(axis - grid.dimensions, end * (grid.points[axis] - 1), 1) for v in fields)
        ends = [line.new_tensor([end * grid.lengths[axis]]) if other == axis else line for other, line in enumerate(lines)]
        _check_one(name, function, beside, single, torch.meshgrid(*ends, indexing="ij"))


@outside_inference_mode
def check_matrix(mobility: tuple[tuple[Any, ...], ...], grid: Grid, u0: Tensor) -> None:
    """Raise ValueError unless a matrix of mobilities, some of them functions, is symmetric and nowhere negative at u0."""
    fields, x = _fields(plain(u0), False, grid), grid.coordinates(u0.dtype, u0.device)
    u, t = tuple(v.unsqueeze(-1 - len(x)) for v in fields), torch.zeros(1, *[1] * len(x), dtype=u0.dtype, device=u0.device)
    values = [[torch.as_tensor(one(u, x, t) if callable(one) else one).to(u0) for one in row] for row in mobility]
    matrix = torch.stack([torch.stack([one.expand(u[0].shape) for one in row], -1) for row in values], -1)
    most, least = float(matrix.abs().max()), float(torch.linalg.eigvalsh(matrix).min())
    if not torch.allclose(matrix, matrix.mT) or least < -1e-12 * most:
        raise ValueError(
            f"coupled flow: mobility: expected a symmetric matrix that is nowhere negative, got eigenvalues from {least}"
        )


def _fields(u0: Tensor, single: bool, grid: Grid) -> tuple[Tensor, ...]:
    return (u0,) if single else u0.unbind(u0.ndim - grid.dimensions - 1)


def _check_one(
    name: str, function: Function, fields: tuple[Tensor, ...], single: bool, x: tuple[Tensor, ...]
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Raise ValueError unless a function gives finite values for the fields at two times, each by itself; returns both."""
    axis = -1 - len(x)
    at = torch.zeros(2, *[1] * len(x), dtype=fields[0].dtype, device=fields[0].device)
    u, apart = (tuple(torch.stack([v, share * v], axis) for v in fields) for share in (1.0, 0.999))
    value, other = (
        one(fields[0] if single else fields, x, at) for one, fields in ((partial(ask, name, function), u), (function, apart))
    )
    if name == "forcing" and not single and not (isinstance(value, tuple | list) and len(value) == len(fields)):
        got = f"{len(value)} of them" if isinstance(value, tuple | list) else type(value).__name__
        raise ValueError(f"forcing: expected a tuple of {len(fields)} values, one for each field, got {got}")
    for each, beside in zip(_values(name, value), _values(name, other), strict=True):
        _check_shape(name, each, u[0])
        if not bool(torch.isfinite(torch.as_tensor(each)).all()):
            raise ValueError(f"{name}: expected finite values for u0, got some that are not")
        over = f"the points only, u.mean({tuple(range(-len(x), 0))}, keepdim=True)"
        check_rows(name, each, beside, u[0].shape, axis, over)
    return u, at


def _values(name: str, value: Any) -> tuple[Any, ...]:
    """What a function returned, a forcing for each field."""
    return tuple(value) if name == "forcing" and isinstance(value, tuple | list) else (value,)


def _check_shape(name: str, value: Any, u: Tensor) -> None:
    wanted = f"values that broadcast to {list(u.shape)}, those of u at two times"
    try:
        tensor = torch.as_tensor(value, device=u.device)
        tensor.expand(u.shape)
    except (TypeError, ValueError, RuntimeError):
        got = list(value.shape) if isinstance(value, Tensor) else repr(value)
        raise ValueError(f"{name}: expected a function (u, x, t) with {wanted}, got {got}") from None
    if name == "potential" and tensor.numel() == 1 < u.numel() and isinstance(value, Tensor):
        raise ValueError(f"potential: expected the density F at every point, {wanted}, got one number for all of them")
    if name == "potential" and tensor.is_floating_point() and tensor.ndim and tensor.dtype != u.dtype == torch.float64:
        raise ValueError(f"potential: expected values of {u.dtype} like u, got {tensor.dtype}")
