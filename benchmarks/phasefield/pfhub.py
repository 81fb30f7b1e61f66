"""PFHub's benchmarks 1, 2, 3, 6 and 7, as the scripts in `examples/pfhub` pose them, at resolutions of minutes.

Free energy over time is what PFHub compares for 1, 2 and 6, the position of the tip for 3, the error for 7. A finer grid, where
it is affordable, tells how far space is resolved.
"""

import time
from collections.abc import Sequence

import numpy as np

from benchmarks.findings import Findings
from benchmarks.tables import Figure, Table
from ernest.phasefield import GaussSeidel, Implicit, Solution
from examples.pfhub import dendrite, electrostatics, ripening, spinodal
from examples.pfhub.manufactured import END, error

GUIDELINES = 319.0337102
"""Free energy of 1a at t = 0 in the example of the submission guidelines."""


def measure(quick: bool = False) -> Findings:
    found = manufactured(quick)
    return found if quick else found + separation() + coarsening() + growth() + charges()


def manufactured(quick: bool) -> Findings:
    """Problem 7a: errors over the grids with steps that add none, and over the steps on a grid that adds none."""
    grids = (64, 96, 128) if quick else (64, 96, 128, 192)
    by_space = {n: error(n, 32, GaussSeidel(3, 4, 2)) for n in grids}
    space = Table("PFHub 7a: points and error", ("1 / h", "L2"), tuple((str(n), f"{e:.2e}") for n, e in by_space.items()))
    finest = grids[-1]
    bar = 1e-3 if quick else 5e-5
    figures = [Figure(f"PFHub 7a: L2 error with h = 1/{finest}, 32 steps", by_space[finest], bar, less=True)]
    tables = [space]
    if not quick:
        counts, rows = (8, 16, 32), []
        for degree in (1, 2):
            errors = [error(128, n, Implicit(degree, degree, tolerance=1e-9)) for n in counts]
            order = -float(np.polyfit(np.log(counts), np.log(errors), 1)[0])
            rows.append((str(degree), *(f"{e:.2e}" for e in errors), f"{order:.2f}"))
            if degree == 1:
                figures.append(Figure(f"PFHub 7a: order in time, degree {degree}", order, 1.85))
        header = ("degree", *(f"τ = {END / n:g}" for n in counts), "order")
        note = "From degree 2 on, the grid's own error is soon all that is left."
        tables.append(Table("PFHub 7a: steps and error, h = 1/128", header, tuple(rows), note))
    return Findings(tuple(figures), tuple(tables))


def separation() -> Findings:
    """Problem 1, its three parts."""
    runs = {}
    for part, points, run in (
        ("a", 96, lambda: spinodal.square("periodic", 96, 500.0)),
        ("b", 96, lambda: spinodal.square("neumann", 96, 200.0)),
        ("c", 2, lambda: spinodal.part_c(2.0, 2000.0)),
    ):
        begun = time.process_time()
        runs[f"1{part}"] = (f"{points} points" if part != "c" else f"cells of {points}", *run(), time.process_time() - begun)
    figures, rows = [], []
    for name, (_, solution, energies, seconds) in runs.items():
        figures.append(Figure(f"PFHub {name}: free energy at t = {spinodal.TIMES[len(energies) - 1]:g}", energies[-1]))
        figures.append(Figure(f"PFHub {name}: solute lost, as a share", _lost(solution), 1e-12, less=True))
        figures.append(Figure(f"PFHub {name}: seconds", seconds))
    start = runs["1a"][2][0]
    figures.append(Figure("PFHub 1a: free energy at t = 0 ÷ that of the guidelines", start / GUIDELINES))
    for k, t in enumerate(spinodal.TIMES):
        rows.append((f"{t:g}", *(f"{energies[k]:.3f}" if k < len(energies) else "" for _, _, energies, _ in runs.values())))
    header = ("t", *(f"{name}, {where}" for name, (where, *_) in runs.items()))
    return Findings(tuple(figures), (Table("PFHub 1: free energy over time", header, tuple(rows)),))


def _lost(solution: Solution) -> float:
    return float(abs(solution.mass / solution.mass[0] - 1).max())


def coarsening(points: int = 32, t1: float = 5.0) -> Findings:
    """Problem 2, its beginning, both parts on a coarse grid."""
    runs, figures = {}, []
    for part in "ab":
        begun = time.process_time()
        solution = ripening.ripen("periodic" if part == "a" else "neumann", points, t1)
        runs[f"2{part}"] = ripening.energies(solution), time.process_time() - begun
        fall = solution.energy[0] - solution.energy[-1]
        worst = max(abs(record.defect) for record in solution.records if isinstance(record.defect, float)) / fall
        lost = float(abs(solution.mass[:, 0] / solution.mass[0, 0] - 1).max())
        figures.append(Figure(f"PFHub 2{part}: solute lost, as a share", lost, 1e-12, less=True))
        figures.append(Figure(f"PFHub 2{part}: greatest defect of the energy law ÷ the energy's fall", worst, 1e-9, less=True))
        figures.append(Figure(f"PFHub 2{part}: greatest phase at the end", float(solution.end[1:].max()), 1.1, less=True))
    rows = [(f"{t:g}", *(f"{energies[t]:.2f}" for energies, _ in runs.values())) for t in runs["2a"][0]]
    rows.append(("seconds", *(f"{seconds:.0f}" for _, seconds in runs.values())))
    header = ("t", *(f"{name}, {points} x {points}" for name in runs))
    return Findings(tuple(figures), (Table("PFHub 2: free energy over time", header, tuple(rows)),))


def growth() -> Findings:
    """Problem 3, its beginning, on two grids."""
    runs = {}
    for cells in (48, 64):
        begun = time.process_time()
        _, told = dendrite.grow(cells, 80 / cells, 50.0)
        runs[cells] = told, time.process_time() - begun
    figures = [Figure(f"PFHub 3: tip at t = 50, cells of {80 / cells:.3g}", told[50.0][0]) for cells, (told, _) in runs.items()]
    rows = [(f"{t:g}", *(f"{told[t][0]:.3f}" for told, _ in runs.values())) for t in runs[48][0]]
    rows.append(("seconds", *(f"{seconds:.0f}" for _, seconds in runs.values())))
    table = Table("PFHub 3: position of the tip on a square of 80", ("t", *(f"cells of {80 / n:.3g}" for n in runs)), tuple(rows))
    return Findings(tuple(figures), (table,))


def charges(sizes: Sequence[int] = (25, 40)) -> Findings:
    """Problem 6a on two grids."""
    runs, figures = {}, []
    for cells in sizes:
        begun = time.process_time()
        solution, energies = electrostatics.charge(cells, 200.0)
        runs[cells] = energies, time.process_time() - begun
        figures.append(Figure(f"PFHub 6a: charge lost, as a share, {cells} cells", _lost(solution), 1e-12, less=True))
        figures.append(Figure(f"PFHub 6a: free energy at t = 200, {cells} cells", energies[200.0]))
    rows = [(f"{t:g}", *(f"{energies[t]:.3f}" for energies, _ in runs.values())) for t in runs[sizes[0]][0]]
    rows.append(("seconds", *(f"{seconds:.0f}" for _, seconds in runs.values())))
    header = ("t", *(f"{n} x {n} cells" for n in runs))
    return Findings(tuple(figures), (Table("PFHub 6a: free energy over time", header, tuple(rows)),))
