"""What a flow does to fields on a grid: its energy, its velocity, its forcing and their mass; and whether flow and fields fit."""

import math
from typing import Any

import torch
from torch import Tensor

from ernest.device import HOST
from ernest.phasefield.flows import ConservativeAllenCahn, Flow, Forcing
from ernest.phasefield.grid import Space, holds_zero
from ernest.phasefield.potentials import (
    DoubleWell,
    FloryHuggins,
    Polynomial,
    Potential,
    domain_of,
    energy_density,
    limit_at,
    slope_inside,
    varies,
)
from ernest.phasefield.user_functions import ask, check_rows


def energy_of(u: Tensor, flow: Flow, grid: Space) -> Tensor:
    """Energy E of fields `[..., *points]`: `[...]`.

    The quadratic part is exact for the interpolant (Parseval), the rest is the sum over the grid; the ends that a
    Dirichlet grid leaves out count with u = 0.
    """
    axes = tuple(range(-grid.dimensions, 0))
    k2 = grid.squared_wavenumbers(u.dtype, u.device)
    quadratic = (grid.weights(u.dtype, u.device) * flow.linear(k2) * grid.modes(u).abs() ** 2).sum(axes) / 2
    return quadratic + grid.integral(energy_density(flow.potential, u)) + energy_of_ends(flow, grid)


def energy_of_ends(flow: Flow, grid: Space) -> float:
    """Bulk energy of the ends that a Dirichlet grid leaves out, where u = 0; other grids have none."""
    if not holds_zero(grid):
        return 0.0
    left_out = grid.volume - float(grid.integral(torch.ones(grid.points, dtype=torch.float64, device=HOST)))
    return left_out * limit_at(flow.potential, 0.0)


def velocity(modes: Tensor, flow: Flow, grid: Space, u: Tensor | None = None) -> Tensor:
    """Modes of -G dE/du of the fields with modes `[..., *mode_shape]`; the forcing is not in it. The fields `u` themselves spare
    a transform."""
    k2 = grid.squared_wavenumbers(modes.real.dtype, modes.device)
    slope = slope_inside(flow.potential, grid.field(modes) if u is None else u)
    return -flow.mobility(k2) * (flow.linear(k2) * modes + grid.modes(slope))


def forcing_modes(flow: Flow, grid: Space, times: Tensor) -> Tensor | None:
    """Modes `[..., *mode_shape]` of the flow's forcing at `times` `[...]`, in their precision; None if it has none."""
    return None if flow.forcing is None else grid.modes(forcing_fields(flow, grid, times))


def forcing_fields(flow: Flow, grid: Space, times: Tensor) -> Tensor:
    """The forcing of a flow that has one, at `times` `[...]`: `[..., *points]` in their precision."""
    assert flow.forcing is not None
    spread = times.reshape(*times.shape, *[1] * grid.dimensions)
    values = forcing_values(flow.forcing, spread, grid.coordinates(times.dtype, times.device), grid.dimensions)
    shape = (*times.shape, *grid.points)
    if any(n not in (1, m) for n, m in zip(values.shape[::-1], shape[::-1], strict=False)) or values.ndim > len(shape):
        raise ValueError(f"forcing: expected values that broadcast to {list(shape)}, got {list(values.shape)}")
    return values.expand(shape)


def forcing_values(forcing: Forcing, times: Tensor, coordinates: tuple[Tensor, ...], dimensions: int) -> Tensor:
    """The forcing at `times` `[..., 1, ..]`: of all times at once, or one by one if it was written for a single number.

    Raises ValueError for a forcing that is neither.
    """
    try:
        return torch.as_tensor(forcing(times, coordinates), dtype=times.dtype, device=times.device)
    except (TypeError, RuntimeError, ValueError):
        single = times.reshape(-1, *[1] * dimensions)
    try:
        values = [torch.as_tensor(forcing(time, coordinates), dtype=times.dtype, device=times.device) for time in single]
        shape = torch.broadcast_shapes(*(value.shape for value in values), single.shape[1:])
    except (TypeError, RuntimeError, ValueError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"forcing: expected a function of (time, coordinates), a number or values of the grid's shape: {said}"
        ) from error
    return torch.stack([value.expand(shape) for value in values]).reshape(*times.shape[: times.ndim - dimensions], *shape)


def mass_of(u: Tensor, grid: Space) -> Tensor:
    """Integral of fields `[..., *points]` over the box, `[...]`."""
    return grid.integral(u)


def check_flow(flow: Any, grid: Space, u0: Tensor) -> None:
    """Raise ValueError unless the flow's operators fit the grid and the initial fields `u0` fit both."""
    if not hasattr(grid, "check_field") or isinstance(grid, type):
        raise ValueError(f"grid: expected a grid such as Grid.cube(64, length=1.0), got {type(grid).__name__}")
    if hasattr(flow, "check_on") and not isinstance(flow, type):
        flow.check_on(grid, u0)
        return
    grid.check_field(u0, "u0")
    if not u0.numel():
        raise ValueError(f"u0: expected one field or more, got none: {list(u0.shape)}")
    if isinstance(flow, type) or not hasattr(flow, "potential"):
        raise ValueError(f"flow: expected a flow such as AllenCahn(kappa=0.01), got {flow!r}")
    if not isinstance(flow.potential, Potential):
        raise ValueError(f"potential: expected a potential such as DoubleWell(), got {flow.potential!r}")
    if isinstance(flow, ConservativeAllenCahn) and holds_zero(grid):
        raise ValueError("conservative Allen-Cahn: its mean is no mode of a Dirichlet grid; expected a periodic or Neumann grid")
    k2 = grid.squared_wavenumbers(u0.dtype, u0.device)
    for name, symbol in (("mobility", ask("mobility", flow.mobility, k2)), ("linear", ask("linear", flow.linear, k2))):
        if not isinstance(symbol, Tensor):
            raise ValueError(f"{name}: expected a real symbol {list(k2.shape)} of |k|^2 on this grid, got {symbol!r}")
        if symbol.shape[symbol.ndim - k2.ndim :] != k2.shape or symbol.ndim < k2.ndim or symbol.is_complex():
            raise ValueError(f"{name}: expected a real symbol {list(k2.shape)} of |k|^2 on this grid, got {list(symbol.shape)}")
        batch = u0.shape[: u0.ndim - grid.dimensions]
        if symbol.shape[: symbol.ndim - k2.ndim] not in ((), batch):
            raise ValueError(f"{name}: expected one value for each of the members {list(batch)}, got {list(symbol.shape)}")
        least, most = map(float, symbol.detach().aminmax())  # both nan where any value is
        if not 0 <= least <= most < math.inf:
            raise ValueError(f"{name}: expected a symbol that is finite and nowhere negative, got a least of {least}")
    if flow.forcing is not None:
        times, x = k2.new_zeros([2, *[1] * grid.dimensions]), grid.coordinates(u0.dtype, u0.device)
        ask("forcing", lambda t, x, s=flow.forcing: forcing_values(s, t, x, grid.dimensions), times, x)
    if type(flow.potential) not in (DoubleWell, FloryHuggins, Polynomial):
        _check_values(flow.potential, grid.points, u0)
    _check_domain(flow.potential, grid, u0)


def _check_values(potential: Potential, points: tuple[int, ...], u0: Tensor) -> None:
    """Raise ValueError unless F, f and f' of a user's potential are values at the points, in the precision of u0."""
    for name in ("F", "f", "df"):
        value = ask(f"potential {name}", getattr(potential, name), u0)
        if not isinstance(value, Tensor) or (value.shape != u0.shape and (name != "df" or value.numel() != 1)):
            got = list(value.shape) if isinstance(value, Tensor) else f"{value!r}"
            raise ValueError(f"potential {name}: expected a tensor {list(u0.shape)} of values at the points of u, got {got}")
        if torch.promote_types(value.dtype, u0.dtype) != value.dtype:
            raise ValueError(f"potential {name}: expected values of {u0.dtype} like u, got {value.dtype}")
    if varies(potential):
        return
    axis, over = -1 - len(points), f"the points only, u.mean({tuple(range(-len(points), 0))}, keepdim=True)"
    alike, apart = (torch.stack([u0, share * u0], axis) for share in (1.0, 0.999))
    for name, function in (("F", potential.F), ("f", potential.f)):
        check_rows(f"potential {name}", function(alike), function(apart), alike.shape, axis, over)


def _check_domain(potential: Potential, grid: Space, u0: Tensor) -> None:
    """Raise ValueError unless the potential is defined on all of u0 and, on a Dirichlet grid, at its walls."""
    low, high = domain_of(potential)
    if not low < high:
        raise ValueError(f"potential: expected a domain (low, high) with low < high, got {potential.domain}")
    least, most = map(float, u0.detach().aminmax())
    if not low < least <= most < high:
        raise ValueError(f"u0: expected values inside the potential's domain {low} < u < {high}, got {least} to {most}")
    if not bool(torch.isfinite(potential.f(u0)).all()):
        raise ValueError(f"potential: expected f(u) to be finite on all of u0, {least} to {most}; state its domain")
    if holds_zero(grid) and not math.isfinite(limit_at(potential, 0.0)):
        raise ValueError(
            f"grid: Dirichlet walls hold u = 0, where this potential is not defined: its domain is {low} < u < {high}"
        )
