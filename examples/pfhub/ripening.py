"""PFHub's benchmark 2, Ostwald ripening.  `python examples/pfhub/ripening.py [part] [points] [time]`

A concentration that is conserved and four phases that are not, with one energy,

    f = 2 (c - 0.3)^2 (1 - h) + 2 (0.7 - c)^2 h + g,    h = sum of n_i^3 (6 n_i^2 - 15 n_i + 10),
    g = sum of n_i^2 (1 - n_i)^2 + 5 sum over j /= i of n_i^2 n_j^2,    kappa = 3,    M = L = 5,

(a) on a periodic square of 200, (b) without flux. A `CoupledFlow` says just that, and its energy falls by what is dissipated.
The energy has no least value: beyond n = 1.2, where c follows h, it falls for ever. Phases stay below that on a grid that
resolves their interfaces, 4 wide, but a step that is judged too leniently can carry them over.
https://pages.nist.gov/pfhub/benchmarks/benchmark2.ipynb, after Jokisaari and others, Comput. Mater. Sci. 126 (2017) 139.
"""

import sys
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ernest.phasefield import CoupledFlow, Grid, Solution, solve

TIMES = (0.0, 1.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0)


def energy(u: tuple[Tensor, ...], x: tuple[Tensor, ...], t: Tensor) -> Tensor:
    c, *phases = u
    n = torch.stack(phases)
    squares = n * n
    h = (n**3 * (6 * squares - 15 * n + 10)).sum(0)
    overlap = squares.sum(0) ** 2 - (squares * squares).sum(0)
    return 2 * (c - 0.3) ** 2 * (1 - h) + 2 * (0.7 - c) ** 2 * h + (squares * (1 - n) ** 2).sum(0) + 5 * overlap


FLOW = CoupledFlow(energy, kappa=(3.0,) * 5, mobility=(5.0,) * 5, conserved=(True,) + (False,) * 4, degree=7)


def start(grid: Grid) -> Tensor:
    x, y = grid.coordinates()
    waves = torch.cos(0.105 * x) * torch.cos(0.11 * y) + (torch.cos(0.13 * x) * torch.cos(0.087 * y)) ** 2
    fields = [0.5 + 0.05 * (waves + torch.cos(0.025 * x - 0.15 * y) * torch.cos(0.07 * x - 0.02 * y))]
    for i in range(1, 5):
        first = torch.cos(0.01 * i * x - 4) * torch.cos((0.007 + 0.01 * i) * y)
        second = torch.cos((0.11 + 0.01 * i) * x) * torch.cos((0.11 + 0.01 * i) * y)
        third = torch.cos((0.046 + 0.001 * i) * x + (0.0405 + 0.001 * i) * y)
        fourth = torch.cos((0.031 + 0.001 * i) * x - (0.004 + 0.001 * i) * y)
        fields.append(0.1 * (first + second + 1.5 * (third * fourth) ** 2) ** 2)
    return torch.stack(fields)


def ripen(boundary: Literal["periodic", "neumann"], points: int, t1: float, tolerance: float = 1e-3) -> Solution:
    grid = Grid.cube(points, 200.0, boundary=boundary)
    return solve(FLOW, grid, start(grid), t1, tolerance, progress=False, dense=False, stops=[t for t in TIMES if 0 < t < t1])


def energies(solution: Solution) -> dict[float, float]:
    """The free energy at those of the times at which steps end."""
    at = dict(zip(solution.times.round(9).tolist(), solution.energy.tolist(), strict=True))
    return {t: at[t] for t in TIMES if t in at}


def main(part: str = "b", points: int = 64, t1: float = 10.0) -> None:
    solution = ripen("periodic" if part == "a" else "neumann", points, t1)
    fall = solution.energy[0] - solution.energy[-1]
    worst = abs(np.array([record.defect for record in solution.records[1:]])).max() / fall
    drift = abs(solution.mass[-1, 0] / solution.mass[0, 0] - 1)
    print(f"2{part}: {len(solution.steps)} steps, energy law to {worst:.0e} of the fall, solute kept to {drift:.0e}")
    print(*(f"  t = {t:<6g} free energy {value:.4f}" for t, value in energies(solution).items()), sep="\n")


if __name__ == "__main__":
    part, points, t1 = sys.argv[1:] + ["b", "64", "10"][len(sys.argv) - 1 :]
    main(part, int(points), float(t1))
