"""Random kicks: what white noise adds to u_t in one element, from numbers that follow from seed and step alone."""

import numpy as np
import torch
from torch import Tensor

from ernest.phasefield.evolution.flows import Noise
from ernest.phasefield.evolution.operators import Operators


def kick(operators: Operators, noise: Noise, u: Tensor, time: float, tau: float, count: int) -> Tensor:
    """Modes `[..., n, *modes]` of the noise in element number `count`, for the fields u `[..., n, *points]` at its start.

    In every point (face) it is sigma(u) dW / tau with dW normal of variance tau / cell, its cell being that by its weight.
    """
    grid, d, n = operators.grid, operators.d, operators.flow.fields
    generator = np.random.Generator(np.random.Philox(key=np.array([noise.seed, count], dtype=np.uint64)))
    scale = (tau * grid.cell) ** -0.5
    t = operators.at.time(torch.tensor([time], dtype=u.dtype, device=u.device))
    nodes, rows = u.unsqueeze(-1 - d), []

    def white(shape: torch.Size, weights: Tensor) -> Tensor:
        return torch.from_numpy(generator.standard_normal(tuple(shape))).to(u) * scale / weights.sqrt()

    for i in range(n):
        if not operators.flow.conserved[i]:
            sigma = _sigma(operators, noise, i, operators.at.fields_of(nodes), t, None)
            rows.append((sigma * white(nodes.select(-2 - d, i).shape, operators.faces.weights)).squeeze(-1 - d))
            continue
        total = torch.zeros_like(u.select(-1 - d, i))
        for axis in range(d):
            on_faces = operators.at.on_faces(nodes, axis, t)
            sigma = _sigma(operators, noise, i, operators.at.fields_of(on_faces), t, axis)
            flux = (sigma * white(on_faces.select(-2 - d, i).shape, operators.faces.face_weights[axis])).squeeze(-1 - d)
            total = total + operators.faces.divergence(flux, axis)
        rows.append(total)
    return grid.modes(torch.stack(rows, -1 - d))


def _sigma(operators: Operators, noise: Noise, i: int, fields: object, t: Tensor, axis: int | None) -> Tensor | float:
    """The strength of the noise of field i: sqrt(2 T M), or what the user gave."""
    if noise.temperature is not None:
        return (2 * noise.temperature * operators.mobility_at(i, fields, t, axis)) ** 0.5
    return operators.at.coefficient_at("noise strength", noise.strength, fields, t, axis)
