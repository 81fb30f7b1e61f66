"""The command of the phase-field engine: run."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from ernest.cli.arguments import Folder


def run(
    scene: Annotated[Literal["star", "circle", "seven-circles", "two-drops", "spinodal"], Positional],
    flow: Literal[
        "usual",
        "allen-cahn",
        "conservative-allen-cahn",
        "cahn-hilliard",
        "ohta-kawasaki",
        "swift-hohenberg",
        "phase-field-crystal",
    ] = "usual",
    end: Annotated[float | None, arg(metavar="TIME")] = None,
    tolerance: float = 1e-6,
    kappa: float = 0.01,
    points: int = 128,
    length: float = 2 * math.pi,
    dimensions: Literal[1, 2, 3] = 2,
    boundary: Literal["periodic", "neumann", "dirichlet"] = "periodic",
    repulsion: float = 10.0,
    drive: float = 0.3,
    seed: int = 0,
    out: Folder = Path("build/phasefield"),
    frames: int = 100,
    film: Literal["mp4", "gif"] = "mp4",
    data: Literal["npz", "h5", "zarr", "nc", "pvd"] = "npz",
) -> None:
    """March a phase field from a named scene, and write pictures, a film and a data file.

    Args:
        scene: the first field: one shape or several of u = 1 in u = -1, or noise about u = 0.
        flow: usual is what suits the scene: Cahn-Hilliard for noise, Allen-Cahn for circles, else conservative Allen-Cahn.
        end: the time to march to; by default one that suits the scene.
        tolerance: the error allowed in the flow's own time, as a share of the field's amplitude. Steps follow from it.
        kappa: gradient energy; interfaces are tanh(x / sqrt(2 kappa)).
        points: of the grid, along each side.
        length: of each side.
        dimensions: of the grid.
        boundary: of the grid: periodic, without flux (neumann), or u = 0 (dirichlet).
        repulsion: the long-range strength A of ohta-kawasaki.
        drive: the growth rate r of swift-hohenberg and phase-field-crystal, whose waves have length 2 pi.
        seed: of the noise.
        out: folder for snapshots.png, laws.png, the film and the data file; those of an earlier run there are replaced.
        frames: of the film, 25 a second, at equal intervals of the run's time.
        film: mp4 needs the package av.
        data: npz needs numpy only; h5 (with XDMF) needs h5py, zarr zarr, nc netCDF4; pvd is for ParaView.
    """
    from ernest.phasefield.grid import Grid
    from ernest.phasefield.scenes import run_scene

    grid = Grid.cube(points, length, dimensions, boundary)
    print(run_scene(scene, out, flow, end, grid, kappa, tolerance, repulsion, drive, seed, frames, film, data))


COMMANDS: Mapping[str, Callable[..., None]] = {"run": run}
