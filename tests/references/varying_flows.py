"""Flows with one thing that varies, strongly, drawn at random: for tests, and for the audit of the benchmarks."""

import math

import numpy as np
import torch
from torch import Tensor

from ernest.phasefield import DoubleWell, FloryHuggins, Grid, Slope, Value, VariableFlow, contact_angle


def random_flow(generator: np.random.Generator) -> tuple[VariableFlow, Grid, Tensor]:
    """A flow with one thing that varies, strongly, on a grid that it is drawn for, and its first field."""
    kappa, boundary = 10 ** generator.uniform(-1.7, -0.5), str(generator.choice(["periodic", "neumann", "dirichlet"]))
    grid = Grid((16,), (float(generator.choice([2.0, 6.0])),), boundary)
    wave, (x,) = math.pi / grid.lengths[0] * (2 if boundary == "periodic" else 1), grid.coordinates()
    varying = [
        {"mobility": lambda u, x, t: 1 + 0.8 * u * u},
        {"mobility": lambda u, x, t: (1 - u * u).clamp(min=1e-6)},
        {"kappa": lambda u, x, t: kappa * (1 + 0.8 * torch.sin(x[0]))},
        {"kappa": lambda u, x, t: kappa * (1 + u * u)},
        {"potential": lambda u, x, t: u**4 / 4 - torch.tanh(3 * t - 1) * u * u / 2},
        {"potential": FloryHuggins(0.5, 1.0)},
        {
            "walls": {
                0: {"neumann": (Slope(0.3), contact_angle(1.0, kappa)), "dirichlet": (Value(0.3), Value(-0.2))}.get(boundary)
            }
        },
    ]
    chosen = varying[int(generator.integers(len(varying) - (boundary == "periodic")))]
    settings = {"potential": DoubleWell(), "kappa": kappa, "conserved": bool(generator.integers(2))} | chosen
    return VariableFlow(**settings), grid, generator.uniform(0.1, 0.8) * torch.sin(wave * x) + 0.1 * torch.sin(2 * wave * x)
