"""Asks the functions of a flow that varies, once and before a run, whether they are what they have to be."""

from collections.abc import Callable, Iterable
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
    """Raise ValueError for functions (u, x, t), each by the name of what it gives, that fail, change u, x or t in place, or do
    not fit the points, for a density F that is one number for all of them, and where torch cannot differentiate F or a gradient
    energy by u. `u0` is one field if `single`, else all of them.
    """
    u0 = plain(u0)
    x = grid.coordinates(u0.dtype, u0.device)
    at = torch.zeros(2, *[1] * grid.dimensions, dtype=u0.dtype, device=u0.device)
    parts = (u0,) if single else u0.unbind(u0.ndim - grid.dimensions - 1)
    u = tuple(torch.stack([v, v], -1 - grid.dimensions) for v in parts)
    apart = tuple(torch.stack([v, 0.999 * v], -1 - grid.dimensions) for v in parts)
    probe = tuple(torch.where(v == 0, 1e-3, v) for v in u)

    def given(fields: tuple[Tensor, ...]) -> Any:
        return fields[0] if single else fields

    for name, function in functions:
        value = ask(name, function, given(u), x, at)
        for each, other in zip(_values(name, value), _values(name, function(given(apart), x, at)), strict=True):
            _check_shape(name, each, u[0])
            axes = f"the points only, u.mean({tuple(range(-grid.dimensions, 0))}, keepdim=True)"
            check_rows(name, each, other, u[0].shape, -1 - grid.dimensions, axes)
        if name in ("potential", "kappa"):
            check_derivative(name, lambda fields, of=function: of(given(fields), x, at), probe)


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
