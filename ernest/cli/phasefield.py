"""The command of the phase-field engine: run."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, NoReturn, get_args

from tyro.conf import Positional, arg

from ernest.cli.arguments import Count, Folder, Number, must_exist

Scene = Literal["star", "circle", "seven-circles", "two-drops", "spinodal"]


def run(
    scene: Annotated[Scene | None, Positional] = None,
    from_: Annotated[Path | None, arg(name="from", metavar="FILE")] = None,
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
    absolute_tolerance: Number = None,
    units: Annotated[tuple[float, float] | None, arg(metavar="TIME FIELD")] = None,
    kappa: float = 0.01,
    points: Count = None,
    length: Number = None,
    dimensions: Literal[1, 2, 3] | None = None,
    boundary: Literal["periodic", "neumann", "dirichlet"] | None = None,
    repulsion: float = 10.0,
    drive: float = 0.3,
    seed: int = 0,
    waves: Count = None,
    mean: Number = None,
    amplitude: Number = None,
    out: Folder = Path("build/phasefield"),
    frames: int = 100,
    film: Literal["mp4", "gif"] = "mp4",
    data: Literal["npz", "h5", "zarr", "nc", "pvd"] = "npz",
    checkpoint: Annotated[float | None, arg(metavar="MINUTES")] = None,
    resume: bool = False,
) -> None:
    """March a phase field from a named scene or a file, and write pictures, a film and a data file.

    Interrupted (Ctrl-C, or SIGTERM from a queue), it writes what it has done so far.

    Args:
        scene: the first field: one shape or several of u = 1 in u = -1, or noise about u = 0.
        from_: instead of a scene the last field of a data file of a run, or an array in .npy; needs --flow and --end.
        flow: usual is what suits the scene: Cahn-Hilliard for noise, Allen-Cahn for circles, else conservative Allen-Cahn.
        end: the time to march to; by default one that suits the scene.
        tolerance: the error allowed in the flow's own time, as a share of the field's amplitude. Steps follow from it.
        absolute_tolerance: instead of it the error allowed in a unit of time, in the numbers that u and the time are told in.
        units: what --tolerance is told in instead of the flow's own time and amplitude, which a run prints.
        kappa: gradient energy; interfaces are tanh(x / sqrt(2 kappa)).
        points: of the grid, along each side; 128 by default.
        length: of each side; 2 pi by default, and 32 pi for swift-hohenberg and phase-field-crystal; of a .npy, the longest side.
        dimensions: of the grid; 2 by default.
        boundary: of the grid: periodic (the default), without flux (neumann), or u = 0 (dirichlet).
        repulsion: the long-range strength A of ohta-kawasaki.
        drive: the growth rate r of swift-hohenberg and phase-field-crystal, whose waves have length 2 pi.
        seed: of the noise.
        waves: of spinodal: the noise is smooth, with up to so many waves along a side; by default it is rough.
        mean: of spinodal: the mean of u.
        amplitude: of spinodal: root mean square of the noise, .1 by default.
        out: folder for snapshots.png, laws.png, the film and the data file. Those of an earlier run there are replaced, what else
            is there never.
        frames: of the film, 25 a second, at equal intervals of the run's time.
        film: mp4 needs the package av.
        data: npz needs numpy only; h5 (with XDMF) needs h5py, zarr zarr, nc netCDF4; pvd is for ParaView.
        checkpoint: save the run so often in checkpoint.safetensors of the folder, and when it ends or is interrupted.
        resume: go on from that checkpoint, if there is one; saves every 5 minutes unless --checkpoint says otherwise.
    """
    if (scene is None) == (from_ is None):
        known = ", ".join(get_args(Scene))
        raise ValueError(f"run: expected either a scene ({known}) or --from FILE (see ernest phasefield run --help)")
    must_exist(from_)
    from ernest.phasefield import scenes

    if from_ is not None:
        scenes.check_apart(from_, out, film, data)
    box = scenes.Box(points, length, dimensions, boundary)
    grid, u0 = (scenes.make_grid(flow, box), None) if from_ is None else scenes.load_field(from_, box)
    noise = scenes.Noise(waves, mean, amplitude)
    with _interrupted_by_sigterm():
        done = scenes.run_scene(
            scene or str(from_),
            out,
            flow,
            end,
            grid,
            kappa,
            tolerance,
            repulsion=repulsion,
            drive=drive,
            seed=seed,
            frames=frames,
            film=film,
            data=data,
            noise=noise,
            u0=u0,
            checkpoint=checkpoint,
            resume=resume,
            absolute_tolerance=absolute_tolerance,
            units=units,
        )
    print(done)


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM, by which queues end a job, ends it as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


COMMANDS: Mapping[str, Callable[..., None]] = {"run": run}
