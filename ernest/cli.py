"""The command line: parses, calls one room, prints."""

import functools
import io
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import tyro
from tyro.conf import Positional, Suppress, UseAppendAction, arg, subcommand

Checkpoint = Annotated[Path, Positional, arg(metavar="CHECKPOINT")]
Overrides = Annotated[tuple[tuple[str, ...], ...], arg(name="set", metavar="FIELD=VALUE ..."), UseAppendAction]
"""`--set a=1 b=2 --set c=3`: several after each, and several times."""
Folder = Annotated[Path, arg(aliases=["-o"], metavar="FOLDER")]
Count = Annotated[int | None, arg(metavar="COUNT")]
Number = Annotated[float | None, arg(metavar="NUMBER")]


def demo(build: Path = Path("build/demo"), minutes: float = 22.0, seed: int = 0, set_: Overrides = ()) -> None:
    """Train one small model over text, pictures, speech and video, and show what it can do.

    Args:
        build: folder for everything that is made; an interrupted demo goes on from there.
        minutes: effort on two cores of a current server; every stage's steps follow it.
        seed: of the world, the networks and the order of records.
        set_: fields of the recipe to change, such as training.learning_rate=0.001.
    """
    from ernest.demo.run import run

    run(build, minutes, seed, tuple(chain(*set_)))


def train(
    data: Annotated[Path, arg(metavar="FOLDER")],
    out: Folder = Path("build/run"),
    recipe: str = "tiny",
    tokenizers: Annotated[Path | None, arg(metavar="CHECKPOINT")] = None,
    set_: Overrides = (),
) -> None:
    """Train on your own records.

    Args:
        data: folder with records.jsonl and its media (see `ernest import`).
        out: folder of the run; an interrupted run goes on from there.
        recipe: a TOML file, or the name of a recipe that comes with Ernest.
        tokenizers: a checkpoint whose tokenizers to use; without it they are trained on the data.
        set_: fields of the recipe to change, such as training.steps=2000.
    """
    from ernest.training.own_data import train_on_folder

    print(f"model: {train_on_folder(data, out, recipe, tokenizers, tuple(chain(*set_)))}")


def import_(
    source: Annotated[Path, Positional, arg(metavar="SOURCE")],
    out: Folder,
    kind: Literal["folder", "mnist"] = "folder",
    captions: Annotated[Path | None, arg(metavar="TABLE")] = None,
    text_column: Annotated[str | None, arg(metavar="NAME")] = None,
    split: Literal["train", "test"] = "train",
    limit: Count = None,
) -> None:
    """Turn a folder of captioned pictures, videos and sounds, or MNIST's idx files, into records.

    Args:
        source: the folder.
        out: where records.jsonl and the media go.
        kind: what the folder holds.
        captions: table of file names and captions; by default the folder's own, text files, or names of sub-folders.
        text_column: its column of captions, where that has no usual name.
        split: of MNIST.
        limit: of MNIST: so many pictures only.
    """
    from ernest.world.importers import import_folder, import_mnist

    if kind == "mnist":
        imported = import_mnist(source, out, split, limit)
    else:
        imported = import_folder(source, out, captions, text_column)
    for reason in imported.skipped:
        print(f"left out: {reason}", file=sys.stderr)
    print(f"{out}: {imported.records} records, captions from {imported.captions}, {len(imported.skipped)} left out")


def generate(
    checkpoint: Checkpoint,
    prompt: Annotated[str, Positional, arg(metavar="WORDS")],
    to: Literal["text", "image", "video", "audio"],
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE")] = None,
    seed: int = 0,
    temperature: Number = None,
    top_p: Number = None,
    guidance: Number = None,
    layers: Count = None,
    experts: Count = None,
    top_k: Count = None,
) -> None:
    """Make a picture, a video, a sound or a text from words.

    Args:
        checkpoint: folder of a trained model, such as build/demo/model.
        prompt: the words.
        to: what to make.
        out: the file to write: .png, .gif or .mp4, .wav; a text is printed.
        seed: another seed makes another answer.
        temperature: 0 takes the likeliest; by default what suits the kind.
        top_p: keeps the likeliest choices that hold this share.
        guidance: how strongly to follow the words.
        layers: run a sub-model of so many layers.
        experts: and of so many experts per layer.
        top_k: and of so many experts per token.
    """
    from ernest.generation.commands import Size, generate

    print(generate(checkpoint, prompt, to, out, seed, (temperature, top_p, guidance), Size(layers, experts, top_k)))


def describe(
    checkpoint: Checkpoint,
    file: Annotated[Path, Positional, arg(metavar="FILE")],
    question: Annotated[str | None, arg(metavar="WORDS")] = None,
    layers: Count = None,
    experts: Count = None,
    top_k: Count = None,
) -> None:
    """Say what a picture, a video or a sound holds.

    Args:
        checkpoint: folder of a trained model.
        file: .png or another picture, .gif or .mp4, .wav or another sound.
        question: ask about a picture instead.
        layers: run a sub-model of so many layers.
        experts: and of so many experts per layer.
        top_k: and of so many experts per token.
    """
    from ernest.generation.commands import Size, describe

    print(describe(checkpoint, file, question, Size(layers, experts, top_k)))


def slice_(
    checkpoint: Checkpoint,
    out: Folder,
    layers: Count = None,
    experts: Count = None,
    top_k: Count = None,
) -> None:
    """Cut a sub-model out as an ordinary smaller checkpoint.

    Args:
        checkpoint: folder of a trained model.
        out: folder of the new one.
        layers: how many layers it keeps.
        experts: how many experts of each layer.
        top_k: how many experts run per token.
    """
    from ernest.generation.commands import Size, cut

    print(cut(checkpoint, out, Size(layers, experts, top_k)))


def phasefield_run(
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
        tolerance: the error allowed per unit time, as a root of the mean square of u. Steps follow from it.
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
    from ernest.phasefield.commands import run
    from ernest.phasefield.grid import Grid

    grid = Grid.cube(points, length, dimensions, boundary)
    print(run(scene, out, flow, end, grid, kappa, tolerance, repulsion, drive, seed, frames, film, data))


COMMANDS: Mapping[str, Callable[..., None]] = {
    "demo": demo,
    "train": train,
    "import": import_,
    "generate": generate,
    "describe": describe,
    "slice": slice_,
}
PHASEFIELD: Mapping[str, Callable[..., None]] = {"run": phasefield_run}
"""The commands of `ernest phasefield`."""


def main() -> None:
    """Runs a command. What a user can mend is one line on stderr, and exit status 2."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    command = parse()
    try:
        command()
    except (ValueError, OSError, ImportError, ArithmeticError) as error:
        print(f"ernest: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nernest: interrupted; `ernest demo` and `ernest train` go on where they stopped", file=sys.stderr)
        sys.exit(130)


def parse() -> Callable[[], None]:
    """The command that the arguments name, ready to be called. Exits with status 2 where they name none."""
    later = {name: _postponed(command) for name, command in COMMANDS.items()}
    later["phasefield"] = _group(PHASEFIELD, "Follow phase fields and other gradient flows.")
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            return tyro.extras.subcommand_cli_from_dict(
                later, prog="ernest", description="One small model over text, image, video and audio; the physics of its world."
            )
    except SystemExit as end:
        if end.code:
            print(f"ernest: {_in_one_line(complaint.getvalue())}", file=sys.stderr)
        raise


def _postponed(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    @functools.wraps(command)
    def parsed(*args: object, **kwargs: object) -> Callable[[], None]:
        return functools.partial(command, *args, **kwargs)

    return parsed


def _group(commands: Mapping[str, Callable[..., None]], description: str) -> Callable[..., Callable[[], None]]:
    """A command whose one argument is the name of one of `commands`, followed by that one's own arguments."""

    def parsed(command: Callable[[], None]) -> Callable[[], None]:
        return command

    inside = [Annotated[Any, subcommand(name=name, constructor=_postponed(one))] for name, one in commands.items()]
    # A choice of one would be no choice to the parser; the hidden None makes it one.
    parsed.__annotations__["command"] = Annotated[Union[(*inside, Annotated[None, Suppress])], arg(name="")]
    parsed.__doc__ = description
    return parsed


def _in_one_line(box: str) -> str:
    """What the parser says in a box of several lines: its first part and where help is, without the help texts of options."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    rows = [line[2:].rstrip(" │") for line in plain.splitlines()[1:]]
    shown = "\n".join(row for row in rows if not row.startswith(" " * 8))
    parts = [part for part in re.split(r"^[─-]{3,}╯?$", shown, flags=re.MULTILINE) if part.strip()]
    help_of = re.findall(r"ernest(?: \w+)* --help", parts[-1])
    near = re.findall(r"Perhaps you meant:\n +(?:-\w, )?(--[\w-]+)", "\n".join(parts[1:]))
    said = " ".join(parts[0].replace("Unrecognized options:", "unknown:").replace("'command.", "'").split()).removesuffix(".")
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"{said[:1].lower()}{said[1:]}{meant} (see {help_of[0] if help_of else 'ernest --help'})"


if __name__ == "__main__":
    main()
