"""Runs a named scene (an initial field, a flow and an end time) and writes pictures, a film and a data file of the solution."""

import math
import time as clock
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from ernest.phasefield import initial_conditions, plots
from ernest.phasefield.flows import (
    AllenCahn,
    CahnHilliard,
    ConservativeAllenCahn,
    Flow,
    OhtaKawasaki,
    PhaseFieldCrystal,
    SwiftHohenberg,
)
from ernest.phasefield.grid import Grid
from ernest.phasefield.io.files import check_path, require_package, write
from ernest.phasefield.io.snapshots import take_snapshots
from ernest.phasefield.solver.solution import Solution
from ernest.phasefield.solver.solve import solve

SQUARE = Grid.cube(128, 2 * math.pi)
SCENES: Mapping[str, Callable[[Grid, float, int], torch.Tensor]] = {
    "star": lambda grid, kappa, seed: initial_conditions.star(grid, kappa),
    "circle": lambda grid, kappa, seed: initial_conditions.circle(grid, kappa),
    "seven-circles": lambda grid, kappa, seed: initial_conditions.seven_circles(grid, kappa),
    "two-drops": lambda grid, kappa, seed: initial_conditions.two_drops(grid, kappa),
    "spinodal": lambda grid, kappa, seed: initial_conditions.spinodal_noise(grid, seed=seed),
}
DEFAULTS = {
    "star": ("conservative-allen-cahn", 20.0),
    "circle": ("allen-cahn", 200.0),
    "seven-circles": ("allen-cahn", 20.0),
    "two-drops": ("conservative-allen-cahn", 60.0),
    "spinodal": ("cahn-hilliard", 2.0),
}
"""Flow and end time of each scene, chosen for the square of side 2 pi with kappa = 0.01."""
FLOWS: Mapping[str, Callable[[float, float, float], Flow]] = {
    "allen-cahn": lambda kappa, repulsion, drive: AllenCahn(kappa),
    "conservative-allen-cahn": lambda kappa, repulsion, drive: ConservativeAllenCahn(kappa),
    "cahn-hilliard": lambda kappa, repulsion, drive: CahnHilliard(kappa),
    "ohta-kawasaki": lambda kappa, repulsion, drive: OhtaKawasaki(kappa, repulsion),
    "swift-hohenberg": lambda kappa, repulsion, drive: SwiftHohenberg(drive),
    "phase-field-crystal": lambda kappa, repulsion, drive: PhaseFieldCrystal(drive),
}


def run_scene(
    scene: str,
    out: Path,
    flow: str = "usual",
    end: float | None = None,
    grid: Grid = SQUARE,
    kappa: float = 0.01,
    tolerance: float = 1e-6,
    repulsion: float = 10.0,
    drive: float = 0.3,
    seed: int = 0,
    frames: int = 100,
    film: str = "mp4",
    data: str = "npz",
) -> str:
    """Solves a scene to the time `end` and writes snapshots.png, laws.png, a film and a data file into the folder `out`.

    `flow` "usual" and `end` None are the scene's `DEFAULTS`. `repulsion` is the A of Ohta-Kawasaki, `drive` the r of
    Swift-Hohenberg and of the phase-field crystal, `film` and `data` the endings of those files. Returns a summary in a line,
    and the files in a line each. Raises ValueError or ImportError, before any work, for arguments that cannot work.
    """
    flow, end = DEFAULTS[scene][0] if flow == "usual" else flow, DEFAULTS[scene][1] if end is None else end
    chosen = FLOWS[flow](kappa, repulsion, drive)
    _check(out, grid, kappa, end, frames, film, data)
    u0 = SCENES[scene](grid, kappa, seed)
    started = clock.monotonic()
    solution = solve(chosen, grid, u0, end, tolerance)
    seconds = clock.monotonic() - started
    facts = {"scene": scene, "seed": seed, "tolerance": tolerance}
    files = {name: out / name for name in ("snapshots.png", "laws.png", f"film.{film}", f"data.{data}")}
    snapshots = take_snapshots(solution, **facts)
    plots.draw_snapshots(files["snapshots.png"], snapshots)
    plots.draw_laws(files["laws.png"], snapshots)
    plots.write_film(files[f"film.{film}"], solution, 0.0, float(solution.times[-1]), frames)
    write(files[f"data.{data}"], snapshots)
    return "\n".join([_summary(scene, flow, solution, seconds), *map(str, files.values())])


def _check(out: Path, grid: Grid, kappa: float, end: float, frames: int, film: str, data: str) -> None:
    """Raise ValueError or ImportError for all that can be known to fail before the run."""
    require_package("matplotlib", "a figure")
    plots.check_film(out / f"film.{film}")
    check_path(out / f"data.{data}")
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is no folder")
    if not 0 < end < math.inf:
        raise ValueError(f"end: expected a time after 0, got {end}")
    if frames < 2:
        raise ValueError(f"frames: expected 2 or more, got {frames}")
    if not kappa > 0:
        raise ValueError(f"kappa: expected a positive number, got {kappa}")
    finest = max(grid.spacings)
    if finest > 2.5 * math.sqrt(kappa):
        points = math.ceil(max(grid.lengths) / (2 * math.sqrt(kappa)))
        raise ValueError(
            f"kappa = {kappa}: interfaces of width {math.sqrt(kappa):.3g} fall between grid points {finest:.3g} apart; "
            f"take {points + points % 2} points or more, or a larger kappa"
        )


def _summary(scene: str, flow: str, solution: Solution, seconds: float) -> str:
    energy, mass = solution.energy, solution.mass
    points = " × ".join(map(str, solution.grid.points))
    return (
        f"{scene}, {flow}, {points} points to t = {solution.times[-1]:g}: {len(solution.steps)} steps in {seconds:.1f} s, "
        f"energy {energy[0]:.5g} → {energy[-1]:.5g}, mass changed by {abs(mass[-1] - mass[0]):.1e}"
    )
