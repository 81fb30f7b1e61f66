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
    from ernest.checkpoint import check_checkpoint
    from ernest.config.recipe import find_recipe, load_recipe
    from ernest.data.records import read_lines

    chosen = load_recipe(find_recipe(recipe), tuple(chain(*set_)))
    if tokenizers is not None:
        check_checkpoint(tokenizers, "tokenizers")
    records = read_lines(data)
    from ernest.training.prepare import train_on_records

    print(f"model: {train_on_records(records, out, chosen, tokenizers)}")


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
    from ernest.data.importers import import_folder, import_mnist

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


def lcnet_train(
    data: Annotated[Path, Positional, arg(metavar="DATA")],
    out: Folder = Path("build/lcnet"),
    recipe: Annotated[Path | None, arg(metavar="FILE")] = None,
    set_: Overrides = (),
    validation: Annotated[Path | None, arg(metavar="DATA")] = None,
    from_: Annotated[Path | None, arg(name="from", metavar="FILE")] = None,
    teacher: Annotated[Path | None, arg(metavar="FILE")] = None,
    unlabeled: Annotated[Path | None, arg(metavar="FOLDER")] = None,
    mutual: bool = False,
    skip_unreadable: bool = False,
) -> None:
    """Train a PP-LCNet on your own pictures; an interrupted training goes on where it stopped.

    Args:
        data: folder with a sub-folder of pictures for each class (or train/ and val/ with such), or a table .csv, .tsv or .jsonl
            with the columns file and label.
        out: folder for best.safetensors, last.safetensors, history.json, confusion.png, classes.csv and what resuming needs.
        recipe: a TOML file of fields, over the published recipe of its arch (the paper's: 360 epochs for ImageNet).
        set_: fields of the recipe, such as arch=PPLCNet_x0_5 size=64 epochs=20 batch=64 channels=1 ema=0.999 seed=1; a wrong
            name lists all.
        validation: pictures to score with, in the forms of data; by default data/val, else a tenth of each class is held out.
        from_: weights to start from: a file of Ernest, PaddleClas, timm or Hugging Face; other classes get a new classifier.
        teacher: a trained network, any such file, whose answers to learn.
        unlabeled: more pictures without classes, to learn from the teacher.
        mutual: train two networks that teach each other.
        skip_unreadable: leave broken pictures out and count them, instead of refusing to start.
    """
    from ernest.lcnet import commands

    print(
        commands.train(
            data, out, recipe, tuple(chain(*set_)), validation, from_, teacher, unlabeled, mutual, skip_unreadable=skip_unreadable
        )
    )


def lcnet_deploy(
    checkpoint: Checkpoint,
    to: Literal["native", "openvino", "onnx"],
    precision: Literal["fp32", "bf16", "int8"] = "fp32",
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE")] = None,
    calibration: Annotated[Path | None, arg(metavar="FOLDER")] = None,
    labels: Annotated[Path | None, arg(metavar="FILE")] = None,
    threads: Count = None,
) -> None:
    """Write a network for a runtime, check that it answers as PyTorch does, and time it.

    Args:
        checkpoint: best.safetensors of `ernest lcnet train`, or a published file of PaddleClas, timm or Hugging Face.
        to: native is Ernest's own executor for processors; openvino and onnx are for those runtimes.
        precision: bf16 is for native and openvino; int8 needs pictures to calibrate with for openvino and onnx, none for native.
        out: the file, which ends in .safetensors (native), .xml (openvino, with a .bin beside it) or .onnx; by default it lies
            beside the checkpoint.
        calibration: 100 pictures or more, such as the network will meet, in a folder: half calibrate, the others are those on
            which the answers are compared. Nothing is written where too few agree (bf16 99 %, int8 98 %).
        labels: a text file with the name of a class a line, for a file that has none.
        threads: to time it on; by default as many as there are processors.
    """
    from ernest.lcnet.deployment.deploy import deploy, summary

    print(summary(deploy(checkpoint, to, precision, out, calibration, labels, threads)))


def lcnet_classify(
    model: Annotated[Path, Positional, arg(metavar="MODEL")],
    image: Annotated[tuple[str, ...], Positional, arg(metavar="IMAGE ...")],
    top: int = 5,
    labels: Annotated[Path | None, arg(metavar="FILE")] = None,
    threads: Count = None,
    json: bool = False,
) -> None:
    """Say what pictures show: a line for each, labels with their probabilities.

    A picture that cannot be read is told on stderr, the others are still classified, and the exit status is 1.

    Args:
        model: what `ernest lcnet deploy` or `ernest lcnet train` wrote, or a published file of PaddleClas, timm or Hugging Face.
        image: pictures of any size, folders of them, or - for names on stdin, each answered at once.
        top: so many labels for each.
        labels: a text file with the name of a class a line, instead of those in the model.
        threads: to compute with; by default as many as there are processors.
        json: print a JSON object for each picture, complaints included.
    """
    from ernest.lcnet import commands

    status = 0
    for line, good in commands.classify(model, image, sys.stdin, top, labels, threads, as_json=json):
        print(line if good or json else f"ernest: {line}", file=sys.stdout if good or json else sys.stderr, flush=True)
        status = status if good else 1
    sys.exit(status)


def lcnet_profile(
    model: Checkpoint,
    size: Annotated[tuple[int, int] | None, arg(metavar="HEIGHT WIDTH")] = None,
    precision: Literal["fp32", "bf16", "int8"] = "fp32",
    threads: Annotated[int, arg(metavar="COUNT")] = 1,
    instructions: Literal["generic", "avx2", "avx512", "amx", "neon"] | None = None,
    picture: Annotated[Path | None, arg(metavar="FILE")] = None,
) -> None:
    """Show where a network's time goes: every layer beside the least that this processor could take for it.

    Args:
        model: best.safetensors of `ernest lcnet train`, a native deployment, or a file of PaddleClas, timm or Hugging Face.
        size: of the image; by default what the network was trained for.
        precision: of the native executor.
        threads: with more than one, whole calls are timed on so many too; layers always on one.
        instructions: by default the best of this processor.
        picture: a .png to draw the layers in.
    """
    from rich.console import Console

    from ernest.lcnet import commands

    Console().print(commands.profile(model, size, precision, threads, instructions, picture))


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
LCNET: Mapping[str, Callable[..., None]] = {
    "train": lcnet_train,
    "deploy": lcnet_deploy,
    "classify": lcnet_classify,
    "profile": lcnet_profile,
}
"""The commands of `ernest lcnet`."""


def main() -> None:
    """Runs a command. What a user can mend is one line on stderr, and exit status 2."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if sys.argv[1:] == ["--version"]:
        print(version())
        return
    command = parse()
    try:
        command()
    except (ValueError, OSError, ImportError, ArithmeticError) as error:
        print(f"ernest: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nernest: interrupted; `ernest demo` and `ernest train` go on where they stopped", file=sys.stderr)
        sys.exit(130)


def version() -> str:
    """The versions of Ernest, Python and torch, and the system: what a report of a bug must say. Imports no torch."""
    import platform
    from importlib import metadata

    from ernest import __version__

    return f"ernest {__version__}, Python {platform.python_version()}, torch {metadata.version('torch')}, {platform.platform()}"


def parse() -> Callable[[], None]:
    """The command that the arguments name, ready to be called. Exits with status 2 where they name none."""
    later = {name: _postponed(command) for name, command in COMMANDS.items()}
    later["phasefield"] = _group(PHASEFIELD, "Follow phase fields and other gradient flows.")
    later["lcnet"] = _group(LCNET, "Train, deploy and run PP-LCNet, a vision network for processors.")
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            return tyro.extras.subcommand_cli_from_dict(
                later,
                prog="ernest",
                description="One small model over text, image, video and audio; the physics of its world. "
                "`ernest --version` says which versions run, and where.",
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
