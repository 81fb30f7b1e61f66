"""Cahn-Hilliard on 96 points cubed: seconds to an error of 1e-5 and memory, for `solve` and for ETDRK4 with the same transforms.

Memory is what a process of its own holds at its peak beyond what it held with all code loaded and the first field made, in units
of one field.
"""

import json
import math
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

from benchmarks.findings import Findings
from benchmarks.phasefield.races import Curve, fused, seconds_to
from benchmarks.tables import Figure, Table
from ernest.phasefield import CahnHilliard, Grid, solve
from ernest.phasefield import grid as grids
from ernest.phasefield.schemes.exponential import ETDRK4
from ernest.phasefield.schemes.gaussseidel import GaussSeidel
from ernest.phasefield.solver import scheme_selection
from ernest.phasefield.solver.resolution import UnresolvedInterface

WARM = 24
"""Points of the run that loads the code, with everything that a run on a large grid has."""
ERROR = 1e-5
POINTS, QUICK_POINTS = 96, 16
PROCESSES = 3
"""In which the peak of memory is taken."""
END, QUICK_END = 0.5, 0.1
"""By the first both phases are there."""
STEPS, TOLERANCES, REFERENCE_STEPS = (200, 400), (1e-4, 3e-5, 1e-5), 48
FLOW = CahnHilliard(0.01)


def problem(points: int) -> tuple[Grid, Tensor]:
    grid = Grid.cube(points, 2 * math.pi, 3)
    x, y, z = grid.coordinates()
    waves = 0.1 * torch.cos(3 * x + 2 * y - z) + 0.05 * torch.cos(4 * x - y + 2 * z)
    return grid, 0.1 + 0.2 * torch.sin(x) * torch.sin(y) * torch.sin(z) + waves


def end_of(grid: Grid) -> float:
    """Of a run; the coarse grid of a quick one cannot show interfaces."""
    return END if grid.points[0] == POINTS else QUICK_END


def by_solve(grid: Grid, start: Tensor, tolerance: float) -> Tensor:
    return solve(FLOW, grid, start, end_of(grid), tolerance, dense=False, progress=False).end


def by_etdrk4(grid: Grid, start: Tensor, steps: int) -> Tensor:
    return fused(ETDRK4(0.0), FLOW, grid).run(start, end_of(grid) / steps, steps)


def reference(points: int, folder: Path) -> Tensor:
    """The field at the end, kept in the folder. In twice as many steps it changes by less than 1e-9."""
    grid, start = problem(points)
    file = folder / f"volume-{points}-{end_of(grid):g}.npy"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.save(
            file, fused(GaussSeidel(4, 4, 4, 1.0), FLOW, grid).run(start, end_of(grid) / REFERENCE_STEPS, REFERENCE_STEPS).numpy()
        )
    return torch.from_numpy(np.load(file))


def curve(name: str, points: int, folder: Path, settings: tuple[float, ...]) -> Curve:
    """Seconds of the processor and error, setting by setting until the error is reached.

    A run before has compiled what is not compiled yet and planned the transforms.
    """
    (grid, start), right, found = problem(points), reference(points, folder), []
    by_solve(grid, start, TOLERANCES[0]) if name == "solve" else by_etdrk4(grid, start, 2)
    for setting in settings:
        begun = time.process_time()
        end = by_solve(grid, start, setting) if name == "solve" else by_etdrk4(grid, start, int(setting))
        found.append((time.process_time() - begun, float((end - right).square().mean().sqrt())))
        if found[-1][1] <= ERROR:
            break
    return tuple(found)


MEMORY = """
import json, sys, torch
torch.set_num_threads(1)
from benchmarks.phasefield import volume

def memory(of):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(of))

setting = float(sys.argv[3])
volume.load_all_code(setting if sys.argv[1] == "solve" else volume.TOLERANCES[0])
grid, start = volume.problem(int(sys.argv[2]))
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
before = memory("VmRSS")
volume.by_solve(grid, start, setting) if sys.argv[1] == "solve" else volume.by_etdrk4(grid, start, int(setting))
print(json.dumps(memory("VmHWM") - before))
"""


def load_all_code(tolerance: float) -> None:
    """Small runs of both methods, `solve` as on a large grid, with coarse sweeps and without."""
    grid, start = problem(WARM)
    usual = scheme_selection.WORTH_COARSENING, grids.MANY_POINTS
    grids.MANY_POINTS = 1
    with warnings.catch_warnings(action="ignore", category=UnresolvedInterface):
        for scheme_selection.WORTH_COARSENING in (WARM, 2 * WARM):
            solve(FLOW, grid, start, 0.02, tolerance, dense=False, progress=False)
    scheme_selection.WORTH_COARSENING, grids.MANY_POINTS = usual
    by_etdrk4(grid, start, 80)


def fields(name: str, points: int, setting: float) -> float:
    """The peak of memory of a run, in fields, the median of `PROCESSES`. The allocator gives large arrays back at once: else the
    holes that it keeps would be counted, or missed where they were there before."""
    command = [sys.executable, "-c", MEMORY, name, str(points), str(setting)]
    plain = {key: value for key, value in os.environ.items() if key != "GLIBC_TUNABLES"} | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    peaks = [subprocess.run(command, capture_output=True, text=True, check=True, env=plain) for _ in range(PROCESSES)]
    return median(json.loads(done.stdout.splitlines()[-1]) for done in peaks) / (8 * points**3)


def measure(folder: Path, quick: bool) -> Findings:
    points, kept = QUICK_POINTS if quick else POINTS, folder / "phasefield"
    ours = curve("solve", points, kept, TOLERANCES)
    theirs = curve("ETDRK4", points, kept, STEPS)
    tolerance = TOLERANCES[len(ours) - 1]
    held = {"solve": fields("solve", points, tolerance), "ETDRK4": fields("ETDRK4", points, 4)}
    where = f"{points}³ Cahn-Hilliard"
    figures = (
        Figure(f"3-D: ETDRK4 ÷ solve, {where}, error 1e-05", seconds_to(ERROR, theirs) / seconds_to(ERROR, ours), 4.0),
        Figure(f"3-D: peak of memory of solve in fields, {where}", held["solve"], 12.0, less=True),
        Figure(f"3-D: peak of memory of ETDRK4 in fields, {where}", held["ETDRK4"]),
    )
    rows = []
    for name, runs in (("solve", ours), ("ETDRK4", theirs)):
        seconds = seconds_to(ERROR, runs)
        errors = ", ".join(f"{error:.1e} in {each:.1f} s" for each, error in runs)
        rows.append((name, f"{seconds:.1f}", errors, f"{held[name]:.1f}", f"{8 * held[name]:.0f}"))
    header = ("method", "seconds to 1e-5", "runs", "peak, fields", "bytes a point")
    return Findings(figures, (Table(f"Three dimensions: {where} to t = {end_of(problem(points)[0]):g}", header, tuple(rows)),))
