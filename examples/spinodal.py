"""Solves spinodal decomposition, Cahn-Hilliard from noise, with adaptive steps.  `python examples/spinodal.py [folder]`

White noise about u = 0 on the square of side 2 pi, with kappa = 0.01: its short waves decay at once, the long ones grow to
two phases, and their domains coarsen ever more slowly. The steps span five orders of magnitude.
"""

import math
import sys
from pathlib import Path

from ernest.phasefield import CahnHilliard, Grid, Solution, initial_conditions, solve
from ernest.phasefield.io import take_snapshots
from ernest.phasefield.plots import draw_laws, draw_snapshots, write_film


def main(folder: Path, points: int = 128, t1: float = 2.0) -> Solution:
    """Returns the solution, and draws it."""
    grid = Grid.cube(points, 2 * math.pi)
    u0 = initial_conditions.spinodal_noise(grid, amplitude=0.05, seed=7)
    solution = solve(CahnHilliard(kappa=0.01), grid, u0, t1, tolerance=1e-5)

    steps, energy, mass = solution.steps, solution.energy, solution.mass
    print(f"{len(steps)} steps of {steps.min():.1e} to {steps.max():.1e}, {solution.rejected} rejected")
    print(f"energy {energy[0]:.4f} -> {energy[-1]:.4f}, mass changed by {abs(mass[-1] - mass[0]):.1e}")
    snapshots = take_snapshots(solution)
    draw_snapshots(folder / "spinodal.png", snapshots)
    draw_laws(folder / "spinodal-laws.png", snapshots)
    write_film(folder / "spinodal.gif", solution, t0=0.0, t1=t1, frames=60)
    return solution


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("build/examples"))
