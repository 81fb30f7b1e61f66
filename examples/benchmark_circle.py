"""A disk shrinks under Allen-Cahn until it is gone. When?  `python examples/benchmark_circle.py [folder]`

The disk has radius 2 on the square of side 2 pi, with kappa = 0.01; the benchmark (Church and others, Communications in
Computational Physics 26 (2019) 947) asks for the time at which u = 0 in its middle. The value for N -> infinity and tau -> 0
is 197.7090. Curvature alone would say radius^2 / (2 kappa) = 200.
"""

import math
import sys
from pathlib import Path

from ernest.phasefield import AllenCahn, Event, Grid, initial_conditions, solve
from ernest.phasefield.io import take_snapshots
from ernest.phasefield.plots import draw_laws, draw_snapshots

REFERENCE = 197.7090


def main(folder: Path, points: int = 128) -> float:
    """Returns the time at which the disk is gone, and draws how it went."""
    grid = Grid.cube(points, 2 * math.pi)
    u0 = initial_conditions.circle(grid, kappa=0.01, radius=2.0)
    gone = Event("gone", (points // 2, points // 2), direction=-1, terminal=True)
    solution = solve(AllenCahn(kappa=0.01), grid, u0, t1=250, tolerance=1e-8, events=gone)

    (time,) = solution.events("gone")
    print(f"gone at t = {time:.4f}, {time - REFERENCE:+.1e} from the reference {REFERENCE:.4f}")
    print(solution.table(8))
    snapshots = take_snapshots(solution)
    draw_snapshots(folder / "circle.png", snapshots)
    draw_laws(folder / "circle-laws.png", snapshots)
    return time


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("build/examples"))
