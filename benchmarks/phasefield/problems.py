"""The problems that are timed, with references that are computed once and kept.

All live on the periodic square [0, 2π)². Errors are root mean squares over the points of the same grid, so they are errors of
the time marching alone; `spatial_error` tells what the grid adds.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ernest.phasefield.compiled.stepper import fused_stepper
from ernest.phasefield.flows import AllenCahn, CahnHilliard, Flow
from ernest.phasefield.grid import Grid
from ernest.phasefield.initial_conditions import seven_circles
from ernest.phasefield.schemes.gaussseidel import GaussSeidel
from ernest.phasefield.stepping import march
from ernest.results.marching.superconvergence import long_waves

KAPPA = 0.01


@dataclass(frozen=True)
class Problem:
    """Start and reference are fields `[points, points]` in float64. `doubt` is how far two references, in steps of
    different lengths, lie apart."""

    name: str
    flow: Flow
    grid: Grid
    start: Tensor
    end: float
    reference: Tensor
    doubt: float

    def error(self, field: Tensor) -> float:
        """Root mean square over the points; infinite for a field that is not finite."""
        error = float((field - self.reference).square().mean().sqrt())
        return error if math.isfinite(error) else math.inf

    def tail(self) -> float:
        """The greatest |û| of the reference where max(|kx|, |ky|) = N/4; û is the mean of u exp(-ik·x)."""
        points = self.grid.points[0]
        modes = self.grid.modes(self.reference).abs() / points**2
        kx, ky = torch.fft.fftfreq(points, 1 / points).abs()[:, None], torch.arange(points // 2 + 1)
        return float(modes[torch.maximum(kx, ky) == points // 4].max())


@dataclass(frozen=True)
class Recipe:
    """How a problem comes about: its flow, first field, time of relaxation before the start, end, and reference.

    The relaxation and the reference march with full sweeps, `relax_steps` and `steps` of them.
    """

    flow: Flow
    first: Callable[[Grid], Tensor]
    end: float
    reference: GaussSeidel
    steps: int
    relax: float = 0.0
    relax_steps: int = 0


def run(flow: Flow, grid: Grid, start: Tensor, end: float, steps: int, scheme: GaussSeidel) -> Tensor:
    """The field `[*points]` at the end of `steps` equal steps."""
    stepper = fused_stepper(scheme, flow, grid)
    if stepper is not None:
        return stepper.run(start, end / steps, steps)
    *_, last = march(flow, grid, start, [end / steps] * steps, scheme)
    return last.end


def prepare(name: str, points: int, folder: Path) -> Problem:
    """The named problem on `points` by `points`; its fields are read from the folder, or computed and left there."""
    recipe, grid = RECIPES[name], Grid.cube(points, 2 * math.pi)
    file = folder / f"{name.replace(' ', '-')}-{points}.npz"
    if not file.exists():
        start = recipe.first(grid)
        if recipe.relax:
            start = run(recipe.flow, grid, start, recipe.relax, recipe.relax_steps, recipe.reference)
        counts = recipe.steps, 3 * recipe.steps // 4
        fine, coarse = (run(recipe.flow, grid, start, recipe.end, steps, recipe.reference) for steps in counts)
        folder.mkdir(parents=True, exist_ok=True)
        aside = file.with_name("aside.npz")
        np.savez(aside, start=start, reference=fine, end=recipe.end, doubt=(fine - coarse).square().mean().sqrt())
        os.replace(aside, file)
    with np.load(file) as data:
        start, reference = (torch.from_numpy(data[key]) for key in ("start", "reference"))
        return Problem(name, recipe.flow, grid, start, recipe.end, reference, float(data["doubt"]))


def spatial_error(coarse: Problem, fine: Problem) -> float:
    """Root mean square of the difference at the points that both grids have."""
    points = math.gcd(coarse.grid.points[0], fine.grid.points[0])
    one, other = (p.reference[:: p.grid.points[0] // points, :: p.grid.points[0] // points] for p in (coarse, fine))
    return float((one - other).square().mean().sqrt())


def few_waves(grid: Grid) -> Tensor:
    x, y = grid.coordinates()
    return 0.05 * torch.sin(x) * torch.sin(y) + 0.02 * torch.cos(2 * x + y)


def several_waves(grid: Grid) -> Tensor:
    x, y = grid.coordinates()
    return few_waves(grid) + 0.1 * torch.cos(5 * x - 3 * y) + 0.1 * torch.sin(7 * y + 2 * x)


def mixture(grid: Grid) -> Tensor:
    x, y = grid.coordinates()
    return 0.1 + 0.05 * torch.sin(x) * torch.sin(y) + 0.1 * torch.cos(3 * x + 2 * y) + 0.05 * torch.cos(4 * x - y)


RECIPES = {
    "long waves": Recipe(AllenCahn(0.1), long_waves, 2.0, GaussSeidel(6, 6, 4), 24),
    "few waves": Recipe(AllenCahn(KAPPA), few_waves, 8.0, GaussSeidel(6, 6, 4), 40),
    "several waves": Recipe(AllenCahn(KAPPA), several_waves, 8.0, GaussSeidel(6, 6, 4), 40),
    "seven circles": Recipe(AllenCahn(KAPPA), partial(seven_circles, kappa=KAPPA), 20.0, GaussSeidel(6, 4, 6), 400, 0.2, 20),
    "Cahn-Hilliard": Recipe(CahnHilliard(KAPPA), mixture, 1.0, GaussSeidel(4, 3, 5, 1.0), 1600, 0.05, 100),
}
"""The circles and the mixture relax before the start, so that the first steps are not all that is seen."""
