"""Runs a named scene or a field from a file to an end time, and writes pictures, a film and a data file of the solution.

What a run is about to replace must be of an earlier run; one that is interrupted writes what it has done so far.
"""

import math
import time as clock
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
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
from ernest.phasefield.grid import Boundary, Grid
from ernest.phasefield.io.files import check_path, read, require_package, write
from ernest.phasefield.io.folder import check_free, remember
from ernest.phasefield.io.snapshots import Snapshots, as_json, take_snapshots
from ernest.phasefield.solver.checkpoint import Checkpoint, check_checkpoint, checkpoint_time
from ernest.phasefield.solver.failures import RunInterrupted
from ernest.phasefield.solver.progress import Progress
from ernest.phasefield.solver.resolution import thin_interface
from ernest.phasefield.solver.solution import Solution
from ernest.phasefield.solver.solve import solve
from ernest.phasefield.solver.units import Units

SQUARE = Grid.cube(128, 2 * math.pi)
SCENES: Mapping[str, Callable[..., torch.Tensor]] = {
    "star": lambda grid, kappa, seed: initial_conditions.star(grid, kappa),
    "circle": lambda grid, kappa, seed: initial_conditions.circle(grid, kappa),
    "seven-circles": lambda grid, kappa, seed: initial_conditions.seven_circles(grid, kappa),
    "two-drops": lambda grid, kappa, seed: initial_conditions.two_drops(grid, kappa),
    "spinodal": lambda grid, kappa, seed, **noise: initial_conditions.spinodal_noise(grid, seed=seed, **noise),
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


PATTERNS = ("swift-hohenberg", "phase-field-crystal")
"""Flows that make waves of length 2 pi, instead of phases."""
PATTERN_LENGTH, PATTERN_END = 32 * math.pi, 50.0
"""Their usual box, with room for 16 waves a side, and their usual end."""
EVERY = 5.0
"""Minutes between checkpoints of a run that is to go on from one."""


@dataclass(frozen=True)
class Noise:
    """How the noise of the scene `spinodal` differs from the usual one: see `initial_conditions.spinodal_noise`."""

    waves: int | None = None
    mean: float | None = None
    amplitude: float | None = None

    def changes(self) -> dict[str, float]:
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Box:
    """What a user says of a grid: points, length and boundary of each side; None leaves what is usual, or what a file holds."""

    points: int | None = None
    length: float | None = None
    dimensions: int | None = None
    boundary: Boundary | None = None


def make_grid(flow: str, box: Box = Box()) -> Grid:
    """A line, square or cube of 128 points and length 2 pi a side, or 32 pi, room for 16 waves, for a flow of `PATTERNS`."""
    usual: dict[str, Any] = {"points": 128, "length": PATTERN_LENGTH if flow in PATTERNS else 2 * math.pi}
    # Zero is a number that was given, and refused as one.
    return Grid.cube(**usual | {name: value for name, value in vars(box).items() if value is not None})


def load_field(path: Path, box: Box = Box()) -> tuple[Grid, torch.Tensor]:
    """Grid and last field of a data file of a run, or an array `[*points]` from .npy, with the sides and the boundary of `box`.

    Raises ValueError for what is no such file, and for a grid that is not the file's.
    """
    if path.suffix == ".npy":
        return _load_array(path, box)
    snapshots = read(path)
    grid = snapshots.grid
    own = {"points": grid.points, "length": grid.lengths, "dimensions": grid.dimensions, "boundary": grid.boundaries}
    for name, value in vars(box).items():
        held = own[name]
        if value is not None and any(value != part for part in (held if isinstance(held, tuple) else (held,))):
            raise ValueError(f"{name}: {path} holds a field with {name} {held}, got {value}")
    return grid, torch.from_numpy(snapshots.fields[-1].astype(np.float64))


def _load_array(path: Path, box: Box) -> tuple[Grid, torch.Tensor]:
    try:
        field = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not an array of numpy ({str(error).splitlines()[0]})") from None
    if field.dtype.kind not in "fiu" or not 1 <= field.ndim <= 3:
        raise ValueError(f"{path}: expected numbers of one to three dimensions, got {list(field.shape)} of {field.dtype}")
    if box.length is None:
        raise ValueError(f"{path}: say how long its sides are with --length")
    for name, value, held in (("points", box.points, set(field.shape)), ("dimensions", box.dimensions, {field.ndim})):
        if value is not None and held != {value}:
            raise ValueError(f"{name}: {path} holds a field {list(field.shape)}, got {value}")
    spacing = box.length / max(field.shape)
    grid = Grid(field.shape, tuple(spacing * n for n in field.shape), box.boundary or "periodic")
    return grid, torch.from_numpy(field.astype(np.float64))


def check_apart(file: Path, out: Path, film: str, data: str) -> None:
    """Raises ValueError where a run from a file would write over it: the same command could not go on from a checkpoint then."""
    names = _names(film, data, 0.0)
    for path in (out / name for name in names if (out / name).exists()):
        if path.samefile(file):
            raise ValueError(f"{file} is what the run begins with, and would be lost: choose another folder with --out")


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
    noise: Noise = Noise(),
    u0: torch.Tensor | None = None,
    checkpoint: float | None = None,
    resume: bool = False,
    progress: Progress = True,
    absolute_tolerance: float | None = None,
    units: tuple[float, float] | None = None,
) -> str:
    """Solves a scene to the time `end` and writes snapshots.png, laws.png, a film and a data file into the folder `out`.

    `flow` "usual" and `end` None are the scene's `DEFAULTS`. `repulsion` is the A of Ohta-Kawasaki, `drive` the r of
    Swift-Hohenberg and of the phase-field crystal, `film` and `data` the endings of those files. With a `u0` the `scene` is only
    its name. The run is saved every `checkpoint` minutes, and goes on from where it was saved with `resume`. The tolerance is
    told in `units`, a time and a field, or in the flow's own; an `absolute_tolerance` takes its place.

    Returns a summary in a line, and the files in a line each. Raises ValueError or ImportError, before any work, for arguments
    that cannot work and for files in the way, and KeyboardInterrupt, after what has been done is written, for a run that was
    interrupted.
    """
    flow, end = _usual(scene, flow, end)
    chosen = FLOWS[flow](kappa, repulsion, drive)
    keep = _checkpoint(out, checkpoint, resume)
    began = checkpoint_time(keep.path) if keep and resume else 0.0
    _check(out, chosen, grid, kappa, end, frames, film, data)
    names = _names(film, data, began)
    check_free(out, names)
    u0 = _first_field(scene, grid, kappa, seed, noise) if u0 is None else u0
    started, stopped = clock.monotonic(), None
    try:
        told = {"absolute_tolerance": absolute_tolerance, "units": None if units is None else Units(*units)}
        solution = solve(chosen, grid, u0, end, tolerance, **told, checkpoint=keep, resume=resume, progress=progress)
    except RunInterrupted as stop:
        solution, stopped = stop.solution, stop
    seconds = clock.monotonic() - started
    facts: dict[str, Any] = {"scene": scene, "seed": seed, "tolerance": tolerance, "absolute_tolerance": absolute_tolerance}
    facts |= {"units": {"time": solution.units.time, "field": solution.units.field}} | noise.changes()
    written = _write(out, names, solution, facts, frames, began > 0)
    if stopped is not None:
        raise KeyboardInterrupt(_how_to_go_on(out, solution, end, keep)) from stopped
    return "\n".join([_summary(scene, flow, solution, seconds), *map(str, written)])


def _usual(scene: str, flow: str, end: float | None) -> tuple[str, float]:
    """The scene's flow and end time where they are not given."""
    if scene not in DEFAULTS and (flow == "usual" or end is None):
        raise ValueError(f"{scene}: say what to solve with --flow, and how far with --end")
    if flow in PATTERNS:
        return flow, PATTERN_END if end is None else end
    return DEFAULTS[scene][0] if flow == "usual" else flow, DEFAULTS[scene][1] if end is None else end


def _first_field(scene: str, grid: Grid, kappa: float, seed: int, noise: Noise) -> torch.Tensor:
    if noise.changes() and scene != "spinodal":
        raise ValueError(f"{next(iter(noise.changes()))}: only the scene spinodal is made of noise, got {scene}")
    return SCENES[scene](grid, kappa, seed, **noise.changes())


def _checkpoint(out: Path, minutes: float | None, resume: bool) -> Checkpoint | None:
    """The checkpoint of a run. Raises ValueError where one is there that is not to be gone on from."""
    if minutes is None and not resume:
        return None
    keep = Checkpoint(out / "checkpoint.safetensors", minutes=EVERY if minutes is None else minutes)
    check_checkpoint(keep, resume)
    if not resume and Path(keep.path).exists():
        raise ValueError(f"{keep.path} holds a run: go on from it with --resume, move it, or choose another folder with --out")
    return keep


def _names(film: str, data: str, began: float) -> tuple[str, str, str, str]:
    """Names of the files. The film of a run that goes on does not take the place of the one before."""
    return "snapshots.png", "laws.png", f"film-from-{began:.6g}.{film}" if began else f"film.{film}", f"data.{data}"


def _write(
    out: Path, names: tuple[str, str, str, str], solution: Solution, facts: dict[str, Any], frames: int, goes_on: bool
) -> list[Path]:
    """Writes the files, each of them whole, and remembers each."""
    fields, laws, film, data = (out / name for name in names)
    snapshots = take_snapshots(solution, **facts)
    if goes_on and data.exists():
        snapshots = _after(read(data), snapshots)
    started, ended = _first_time(solution), float(solution.times[-1])
    writers: dict[Path, Callable[[], None]] = {
        data: lambda: write(data, snapshots),
        fields: lambda: plots.draw_snapshots(fields, snapshots),
        laws: lambda: plots.draw_laws(laws, snapshots),
    }
    if ended > started:  # a run that had ended before has nothing new to show
        writers[film] = lambda: plots.write_film(film, solution, started, ended, frames)
    for path, writer in writers.items():
        writer()
        remember(out, path.name, as_json(snapshots.facts))
    return [path for path in (fields, laws, film, data) if path in writers]


def _first_time(solution: Solution) -> float:
    """The first time that the solution covers."""
    return solution.dense_output.span[0] if solution.dense_output else float(solution.times[-1])


def _after(earlier: Snapshots, now: Snapshots) -> Snapshots:
    """The snapshots of a run that went on, behind those that it had written before."""
    kept = earlier.times < now.times[0] * (1 - 1e-9)
    if earlier.grid != now.grid or earlier.fields.dtype != now.fields.dtype:
        return now
    times, fields = (np.concatenate([getattr(earlier, name)[kept], getattr(now, name)]) for name in ("times", "fields"))
    return replace(now, times=times, fields=fields)


def _how_to_go_on(out: Path, solution: Solution, end: float, keep: Checkpoint | None) -> str:
    stopped = f"interrupted at t = {solution.times[-1]:.6g} of {end:g}; what was done is in {out}"
    if keep is None:
        return f"{stopped}; with --checkpoint MINUTES a run can go on where it was interrupted"
    return f"{stopped}; the same command with --resume goes on from there"


def _check(out: Path, flow: Flow, grid: Grid, kappa: float, end: float, frames: int, film: str, data: str) -> None:
    """Raise ValueError or ImportError for all that can be known to fail before the run."""
    require_package("matplotlib", "a figure")
    plots.check_film(out / f"film.{film}")
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is no folder")
    check_path(out / f"data.{data}")
    if not 0 < end < math.inf:
        raise ValueError(f"end: expected a time after 0, got {end}")
    if frames < 2:
        raise ValueError(f"frames: expected 2 or more, got {frames}")
    if not kappa > 0:
        raise ValueError(f"kappa: expected a positive number, got {kappa}")
    thin = thin_interface(flow, grid)
    if thin is not None:
        raise ValueError(f"kappa = {kappa}: {thin}")


def _summary(scene: str, flow: str, solution: Solution, seconds: float) -> str:
    energy, mass = solution.energy, solution.mass
    points = " × ".join(map(str, solution.grid.points))
    return (
        f"{scene}, {flow}, {points} points to t = {solution.times[-1]:g}: {len(solution.steps)} steps in {seconds:.1f} s, "
        f"energy {energy[0]:.5g} → {energy[-1]:.5g}, mass changed by {abs(mass[-1] - mass[0]):.1e}; "
        f"tolerance told in {solution.units.field:.4g} of u for every {solution.units.time:.4g} of time"
    )
