"""What `solve` makes of a problem by itself, for a tolerance: the error it ends with, its elements and its time."""

import time
from pathlib import Path
from statistics import median

from benchmarks.findings import Findings
from benchmarks.phasefield.problems import Problem, prepare
from benchmarks.tables import Figure, Table
from ernest.phasefield.solver.solve import solve
from ernest.phasefield.solver.units import Units

PROBLEMS = (("several waves", 256), ("seven circles", 256), ("Cahn-Hilliard", 128))
TOLERANCES = (1e-4, 1e-6, 1e-8)


def measure(folder: Path, turns: int, quick: bool) -> Findings:
    """Nothing is chosen by hand. Times are medians of the processor's clock, the choices and the coefficients charged."""
    figures, rows = [], []
    for name, points in (("several waves", 64),) if quick else PROBLEMS:
        problem = prepare(name, points, folder / "phasefield")
        for tolerance in TOLERANCES[:1] if quick else TOLERANCES:
            error, elements, seconds, units = by_itself(problem, tolerance, min(turns, 3))
            label = f"solve, {name}, N = {points}, tolerance {tolerance:.0e}: error ÷ allowed"
            figures.append(Figure(label, error / (tolerance * units.speed * problem.end), 1.0, less=True))
            rows.append((f"{name}, N = {points}", f"{tolerance:.0e}", f"{error:.1e}", str(elements), f"{1e3 * seconds:.1f}"))
    header = ("problem", "tolerance", "error", "elements", "ms")
    note = "Allowed is tolerance × amplitude × time ÷ own time."
    return Findings(tuple(figures), (Table("What solve does by itself", header, tuple(rows), note),))


def by_itself(problem: Problem, tolerance: float, turns: int) -> tuple[float, int, float, Units]:
    """Error at the end, elements, the median time, after a run that warms, and the units of the tolerance."""
    solutions, seconds = [], []
    for _ in range(turns + 1):
        begun = time.process_time()
        solutions.append(solve(problem.flow, problem.grid, problem.start, problem.end, tolerance, dense=False, progress=False))
        seconds.append(time.process_time() - begun)
    return problem.error(solutions[-1].end), len(solutions[-1].steps), median(seconds[1:]), solutions[-1].units
