"""The commands of the unified model: demo, train, import, generate, describe, slice."""

import sys
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from ernest.cli.arguments import Checkpoint, Count, Folder, Number, Overrides, Size
from ernest.config.submodel_size import FULL_SIZE


def demo(build: Path = Path("build/demo"), minutes: float = 22.0, seed: int = 0, set_: Overrides = ()) -> None:
    """Train one small model over text, pictures, speech and video, and show what it can do.

    Args:
        build: folder for everything that is made; an interrupted demo goes on from there.
        minutes: effort on two cores of a current server; every stage's steps follow it.
        seed: of the world, the networks and the order of records.
        set_: fields of the recipe to change, such as training.learning_rate=0.001.
    """
    from ernest.demo.recipe import demo_recipe

    recipe = demo_recipe(minutes, seed, tuple(chain(*set_)))
    from ernest.demo.run import run  # imports torch, which a recipe that cannot be need not wait for

    run(build, recipe)


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
    from ernest.training.run_settings import check_run

    settings = load_recipe(find_recipe(recipe), tuple(chain(*set_)))
    if tokenizers is not None:
        check_checkpoint(tokenizers, needs="tokenizers")
    records = read_lines(data)
    check_run(records, out, settings, tokenizers)
    from ernest.training.prepare import train_on_records  # imports torch, which a mistake above need not wait for

    print(f"model: {train_on_records(records, out, settings, tokenizers)}")


def import_(
    source: Annotated[Path, Positional, arg(metavar="SOURCE")],
    out: Folder,
    kind: Literal["folder", "mnist"] = "folder",
    captions: Annotated[Path | None, arg(metavar="TABLE")] = None,
    text_column: Annotated[str | None, arg(metavar="NAME")] = None,
    join_lines: bool = False,
    held_out: float = 0.1,
    split: Literal["train", "test"] = "train",
    limit: Count = None,
) -> None:
    """Turn a folder of captioned pictures, videos and sounds, or MNIST's idx files, into records.

    Args:
        source: the folder.
        out: where records.jsonl and the media go.
        kind: what the folder holds.
        captions: table of file names and captions, or "folders" for the names of sub-folders; by default what is found.
        text_column: its column of captions, where that has no usual name.
        join_lines: the lines of a text file beside a file are one caption, not one each.
        held_out: share of the files that is kept back in OUT/held_out, unless the folder has a test split of its own.
        split: of MNIST.
        limit: of MNIST: so many pictures only.
    """
    from ernest.data.importers import import_folder, import_mnist

    if kind == "mnist":
        imported = import_mnist(source, out, split, limit)
    else:
        note = lambda text: print(f"note: {text}", file=sys.stderr)  # noqa: E731
        imported = import_folder(source, out, captions, text_column, not join_lines, held_out, note)
    for reason in imported.skipped:
        print(f"left out: {reason}", file=sys.stderr)
    kept_back = f", {imported.held_out} records held out ({imported.held_out_by})" if imported.held_out else ""
    print(f"{out}: {imported.records} records, captions from {imported.captions}, {len(imported.skipped)} left out{kept_back}")


def generate(
    checkpoint: Checkpoint,
    prompt: Annotated[str, Positional, arg(metavar="WORDS")],
    to: Literal["text", "image", "video", "audio"],
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE")] = None,
    seed: int = 0,
    temperature: Number = None,
    top_p: Number = None,
    guidance: Number = None,
    size: Size = FULL_SIZE,
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
    """
    from ernest.generation.answer import generate

    print(generate(checkpoint, prompt, to, out, seed, temperature, top_p, guidance, size))


def describe(
    checkpoint: Checkpoint,
    file: Annotated[Path, Positional, arg(metavar="FILE")],
    question: Annotated[str | None, arg(metavar="WORDS")] = None,
    size: Size = FULL_SIZE,
) -> None:
    """Say what a picture, a video or a sound holds.

    Args:
        checkpoint: folder of a trained model.
        file: .png or another picture, .gif or .mp4, .wav or another sound.
        question: ask about a picture instead.
    """
    from ernest.generation.answer import describe

    print(describe(checkpoint, file, question, size))


def slice_(checkpoint: Checkpoint, out: Folder, size: Size = FULL_SIZE) -> None:
    """Cut a sub-model out as an ordinary smaller checkpoint.

    Args:
        checkpoint: folder of a trained model.
        out: folder of the new one.
    """
    from ernest.generation.answer import write_submodel

    print(write_submodel(checkpoint, out, size))


COMMANDS: Mapping[str, Callable[..., None]] = {
    "demo": demo,
    "train": train,
    "import": import_,
    "generate": generate,
    "describe": describe,
    "slice": slice_,
}
