"""A coupled flow near a state, in numbers: the constant operator of the sweeps, and how fast a wave grows or decays there."""

import math
from typing import Any

import torch
from torch import Tensor

from ernest.phasefield.evolution.operators import Operators
from ernest.phasefield.potentials import Potential


def stiffness(operators: Operators, u: Tensor, times: Tensor) -> Tensor:
    """G0 (L0 + S) `[n, 1, *modes]`: numbers in the middle of what the coefficients are in the fields u."""
    t, rows = operators.at.time(times), []
    slopes = _slopes(operators, u, t)
    for i in range(operators.flow.fields):
        kappa = [_middle(operators, "kappa", k, u, axis, t, 0.5) for axis, k in enumerate(operators.kappa[i])]
        S = max(0.0, (float(slopes[i].min()) + float(slopes[i].max())) / 2)
        if operators.flow.conserved[i]:
            M = operators.symbol(
                [_middle(operators, "mobility", k, u, axis, t, 0.75) for axis, k in enumerate(operators.mobility[i][i])]
            )
        else:
            M = _middle(operators, "mobility", operators.mobility[i][i][0], u, None, t, 0.75)
        rows.append(M * (operators.symbol(kappa) + S))
    return torch.stack(rows)[:, None]


def _middle(operators: Operators, name: str, coefficient: Any, u: Tensor, axis: int | None, t: Tensor, share: float) -> float:
    if isinstance(coefficient, float):
        return coefficient
    at, x = (
        (u, operators.faces.points) if axis is None else (operators.at.on_faces(u, axis, t), operators.faces.coordinates[axis])
    )
    values = operators.at.at(coefficient, operators.at.fields_of(at), x, t, axis)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and math.isfinite(high)):
        raise ValueError(
            f"{name}: expected values that are finite and nowhere negative, got {low} to {high}; "
            "where only u passes the end of its range, a .clamp(min=0) keeps them"
        )
    return low + share * (high - low)


def _slopes(operators: Operators, u: Tensor, t: Tensor) -> list[Tensor]:
    """The second derivatives of F by each field, at the points."""
    if isinstance(operators.flow.potential, Potential):
        return [operators.flow.potential.df(u)]
    with torch.enable_grad():
        parts = [each.detach().requires_grad_() for each in u.unbind(operators.at.axis)]
        density = operators.flow.potential(parts[0] if operators.flow.single else tuple(parts), operators.faces.points, t)
        density = torch.as_tensor(density, dtype=u.dtype, device=u.device).sum()
        if not density.requires_grad:
            return [torch.zeros_like(part) for part in parts]
        first = torch.autograd.grad(density, parts, create_graph=True, allow_unused=True)
        return [
            torch.zeros_like(part)
            if g is None or not g.requires_grad
            else (torch.autograd.grad(g.sum(), part, retain_graph=True, allow_unused=True)[0])
            for g, part in zip(first, parts, strict=True)
        ]


def growth(operators: Operators, u: Tensor) -> float:
    """The fastest rate at which a wave grows about fields like u `[..., n, *points]`, or the slowest at which one decays."""
    nodes, now = u.unsqueeze(-1 - operators.d), torch.zeros(1, dtype=u.dtype, device=u.device)
    t, mean = operators.at.time(now), nodes.mean(tuple(range(-operators.d, 0)), keepdim=True)
    samples = [_slopes(operators, mean + share * (nodes - mean), t) for share in (0.0, 0.5, 1.0)]
    rate = 0.0
    for i in range(operators.flow.fields):
        least = min(float(slopes[i].min()) for slopes in samples)
        kappa = operators.symbol(
            [_middle(operators, "kappa", k, nodes, axis, t, 0.5) for axis, k in enumerate(operators.kappa[i])]
        )
        if operators.flow.conserved[i]:
            M = operators.symbol(
                [_middle(operators, "mobility", k, nodes, axis, t, 0.5) for axis, k in enumerate(operators.mobility[i][i])]
            )
        else:
            M = _middle(operators, "mobility", operators.mobility[i][i][0], nodes, None, t, 0.5)
        slowing = M * (kappa + least)
        grows = float((-slowing).max())
        decays = slowing[slowing > 1e-9 * float(slowing.abs().max())]
        rate = max(rate, grows, float(decays.min()) if decays.numel() else 0.0)
    return rate
