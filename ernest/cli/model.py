"""The commands of the unified model: demo, prepare, train, report, import, generate, describe, slice, serve, export, build."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from ernest.cli.arguments import Checkpoint, Count, Folder, Number, Overrides, Size
from ernest.config.submodel_size import FULL_SIZE

if TYPE_CHECKING:
    from ernest.config.recipe import Recipe
    from ernest.data.records import RecordFolder
    from ernest.generation.answer import Result

Rows = Literal["table", "json"]
GENTLE = 0.25
"""Share of the recipe's learning rate with which training goes on from a checkpoint."""


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
    from_: Annotated[Path | None, arg(name="from", metavar="CHECKPOINT")] = None,
    held_out: float = 0.1,
    set_: Overrides = (),
) -> None:
    """Train on your own records, and score what was learnt on records held out of it.

    Args:
        data: folder with records.jsonl and its media (see `ernest import`).
        out: folder of the run; an interrupted run goes on from there.
        recipe: a TOML file, or the name of a recipe that comes with Ernest.
        tokenizers: a checkpoint whose tokenizers to use; without it they are trained on the data.
        from_: a checkpoint to go on from, with its tokenizers and its sizes; its scores are told beside the new ones.
        held_out: share of the files to score by, where FOLDER/held_out holds none; 0 scores nothing.
        set_: fields of the recipe to change, such as training.steps=2000.
    """
    run = _checked_run(data, out, recipe, tokenizers, from_, held_out, set_)
    from ernest.training.prepare import train_on_records  # imports torch, which a mistake above need not wait for

    checkpoint = train_on_records(*run)
    _tell_run(out)
    print(f"model: {checkpoint}")


def prepare(
    data: Annotated[Path, arg(metavar="FOLDER")],
    out: Folder = Path("build/run"),
    recipe: str = "tiny",
    tokenizers: Annotated[Path | None, arg(metavar="CHECKPOINT")] = None,
    from_: Annotated[Path | None, arg(name="from", metavar="CHECKPOINT")] = None,
    held_out: float = 0.1,
    set_: Overrides = (),
) -> None:
    """Read your records and train tokenizers on them, once, for an `ernest train` of the same options to go on from.

    Args:
        data: folder with records.jsonl and its media (see `ernest import`).
        out: folder of the run.
        recipe: a TOML file, or the name of a recipe that comes with Ernest.
        tokenizers: a checkpoint whose tokenizers to use; without it they are trained on the data.
        from_: a checkpoint to go on from.
        held_out: share of the files to score by, where FOLDER/held_out holds none.
        set_: fields of the recipe to change, such as training.steps=2000.
    """
    run = _checked_run(data, out, recipe, tokenizers, from_, held_out, set_)
    from ernest.training.prepare import prepare_records

    prepare_records(*run)
    print(f"prepared: {out}")


def _checked_run(
    data: Path, out: Path, recipe: str, tokenizers: Path | None, from_: Path | None, held_out: float, set_: Overrides
) -> "tuple[RecordFolder, Path, Recipe, Path | None, RecordFolder | None, bool]":
    """What `train_on_records` takes, after all that can be checked without torch."""
    from ernest.checkpoint import check_checkpoint
    from ernest.config.recipe import find_recipe, load_recipe
    from ernest.data.held_out import split_records
    from ernest.training.group import check_group
    from ernest.training.run_settings import check_run

    overrides = tuple(chain(*set_))
    settings = load_recipe(find_recipe(recipe), overrides)
    if from_ is not None:
        settings, tokenizers = _going_on(settings, overrides, from_, tokenizers), from_
    check_group(settings)
    if tokenizers is not None:
        check_checkpoint(tokenizers, needs="tokenizers")
    records, judges = split_records(data, held_out)
    check_run(records, out, settings, tokenizers, judges, from_ is not None)
    return records, out, settings, tokenizers, judges, from_ is not None


def _going_on(settings: "Recipe", overrides: Sequence[str], checkpoint: Path, tokenizers: Path | None) -> "Recipe":
    """The recipe with the network of `checkpoint`, and a gentle rate where none was asked for: a high one forgets."""
    from ernest.checkpoint import network_sizes

    if tokenizers is not None:
        raise ValueError("--from brings its tokenizers: leave --tokenizers out")
    for name in overrides:
        if name.startswith(("size=", "model.")):
            raise ValueError(f"--from takes the network as it is: leave {name} out")
    training = settings.training
    if not any(name.startswith("training.learning_rate=") for name in overrides):
        training = replace(training, learning_rate=GENTLE * training.learning_rate)
    return replace(settings, model=network_sizes(checkpoint), training=training)


def report(run: Annotated[Path, Positional, arg(metavar="RUN")]) -> None:
    """Write the report of a run of `ernest train`: scores, samples, losses, experts.

    Args:
        run: folder of the run; the report is its report.html.
    """
    from ernest.evaluation.own_run import judge_run
    from ernest.report.page import write_report

    findings, _ = judge_run(run)
    write_report(run / "report.html", findings)
    print(f"report: {run / 'report.html'}")


def _tell_run(run: Path) -> None:
    """Prints what a run has learnt, and what to do about what it has not."""
    from rich.console import Console

    from ernest.evaluation.own_run import judge_run
    from ernest.report.tables import table

    findings, advice = judge_run(run)
    if findings.scores:
        Console(width=None if sys.stdout.isatty() else 120).print(table(findings))
    for line in advice:
        print(line, file=sys.stderr)
    print(f"report: ernest report {run}")


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
        from_: a checkpoint to go on from, with its tokenizers and its sizes; its scores are told beside the new ones.
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
    prompts: Annotated[tuple[str, ...], Positional, arg(metavar="WORDS")],
    to: Literal["text", "image", "video", "audio"],
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE")] = None,
    prompt_file: Annotated[Path | None, arg(metavar="FILE")] = None,
    rows: Rows = "table",
    seed: int = 0,
    temperature: Number = None,
    top_p: Number = None,
    guidance: Number = None,
    size: Size = FULL_SIZE,
) -> None:
    """Make a picture, a video, a sound or a text from words.

    Args:
        checkpoint: folder of a trained model, such as build/demo/model.
        prompts: the words; several prompts, each in quotes, are answered in one batch.
        to: what to make.
        out: the file to write: .png, .gif or .mp4, .wav; a text is printed. Of several prompts, a folder.
        prompt_file: a text file with a prompt on each line, instead of words or beside them.
        rows: how the answers to several prompts are printed: a table with tabs, or a line of JSON each.
        seed: another seed, a number of any size, makes another answer.
        temperature: 0 takes the likeliest; by default what suits the kind.
        top_p: keeps the likeliest choices that hold this share.
        guidance: how strongly to follow the words.
    """
    from ernest.generation.answer import generate, printable

    asked = [*prompts, *(_lines(prompt_file) if prompt_file else ())]
    results = generate(checkpoint, asked, to, out, seed, temperature, top_p, guidance, size)
    if len(asked) > 1 or prompt_file:
        _print_rows(results, rows)
        return
    (result,) = results
    _tell(result.doubts)
    print(f"{to} written to {result.file}" if result.text is None else printable(result.text))


def describe(
    checkpoint: Checkpoint,
    files: Annotated[tuple[Path, ...], Positional, arg(metavar="FILE")],
    question: Annotated[str | None, arg(metavar="WORDS")] = None,
    rows: Rows = "table",
    size: Size = FULL_SIZE,
) -> None:
    """Say what pictures, videos and sounds hold.

    Args:
        checkpoint: folder of a trained model.
        files: .png or another picture, .gif or .mp4, .wav or another sound; or folders of them.
        question: ask about a picture instead.
        rows: how several answers are printed: a table with tabs, or a line of JSON each.
    """
    from ernest.generation.answer import describe, printable

    results = describe(checkpoint, files, question, size)
    if len(results) > 1 or files[0].is_dir():
        _print_rows(results, rows)
        return
    _tell(results[0].doubts)
    print(printable(results[0].text or ""))


def _lines(file: Path) -> list[str]:
    """The prompts of a file, one on each line that is not empty."""
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError:
        raise ValueError(f"{file}: expected a text in UTF-8, with a prompt on each line") from None
    if not any(lines):
        raise ValueError(f"{file}: holds no prompt")
    return [line for line in lines if line]


def _tell(doubts: Sequence[str]) -> None:
    for doubt in doubts:
        print(f"doubtful: {doubt}", file=sys.stderr)


def _print_rows(results: "Sequence[Result]", rows: Rows) -> None:
    """A line for each source, with what was made of it. Ends with status 1 where something could not be answered."""
    from ernest.generation.answer import printable

    for result in results:
        made = result.text if result.text is not None else None if result.file is None else str(result.file)
        if rows == "json":
            kept = {"text": result.text, "file": result.file and str(result.file), "doubts": result.doubts, "error": result.error}
            print(
                json.dumps({"source": result.source} | {name: value for name, value in kept.items() if value not in (None, ())})
            )
        elif made is not None:
            print(f"{printable(result.source)}\t{printable(made)}")
        if rows == "table":
            _tell([f"{result.source}: {doubt}" for doubt in result.doubts])
        if result.error is not None:
            print(f"left out: {result.error}", file=sys.stderr)
    if any(result.error is not None for result in results):
        sys.exit(1)


def slice_(checkpoint: Checkpoint, out: Folder, size: Size = FULL_SIZE) -> None:
    """Cut a sub-model out as an ordinary smaller checkpoint.

    Args:
        checkpoint: folder of a trained model.
        out: folder of the new one.
    """
    from ernest.generation.answer import write_submodel

    print(write_submodel(checkpoint, out, size))


def serve(
    models: Annotated[tuple[str, ...], Positional, arg(metavar="CHECKPOINT")],
    host: str = "127.0.0.1",
    port: int = 8000,
    keys: Annotated[Path | None, arg(metavar="FILE")] = None,
    allow_origin: Annotated[tuple[str, ...], arg(metavar="ORIGIN")] = (),
    rows: int = 64,
    queue: int = 256,
) -> None:
    """Answer over HTTP, as OpenAI's clients ask, and show the playground.

    Args:
        models: folders of trained models, and names of parts of them, such as demo:layers=6,experts=24,top_k=1.
        host: the address to listen on; 0.0.0.0 lets other machines ask.
        port: the port to listen on; 0 takes a free one.
        keys: a text file with an API key on each line; without it everybody who reaches the server may ask.
        allow_origin: web pages that may ask, such as https://example.org; * for all.
        rows: answers that are made at once.
        queue: answers that are waited for at once; more are told to come again later.
    """
    from ernest.serve.limits import Limits
    from ernest.serve.server import read_keys, serve

    if not models:
        raise ValueError("name a checkpoint to serve, such as build/demo/model")
    limits = Limits(rows=rows, queue=queue)
    told = lambda address: print(f"Ernest listens on {address}", flush=True)  # noqa: E731
    serve(models, host, port, read_keys(keys) if keys else (), allow_origin, limits, told)


def build(everywhere: bool = False, into: Annotated[Path | None, arg(metavar="FOLDER")] = None) -> None:
    """Compile all kernels now, not at first use: for an image whose users have no compiler, or no cache that can be written.

    Those of training and decoding, and PP-LCNet's executor (which `ernest lcnet build` compiles alone).

    Args:
        everywhere: for every processor of this kind, instead of this one.
        into: by default share/ernest/lcnet of the Python environment, where Ernest looks for it; ernest/lcnet of a folder that
            XDG_CACHE_HOME will name does too.
    """
    from ernest.cli import lcnet
    from ernest.model.native import prebuild

    for path, purpose, seconds in prebuild(everywhere, into):
        print(f"{path}: {purpose}, {seconds:.0f} s", flush=True)
    lcnet.build(everywhere, into)


def export(
    checkpoint: Checkpoint,
    to: Literal["hf", "ernest"],
    out: Folder,
    findings: Annotated[Path | None, arg(metavar="FOLDER")] = None,
    shard: Annotated[str, arg(metavar="SIZE")] = "5GB",
    size: Size = FULL_SIZE,
) -> None:
    """Write a checkpoint as a folder that Hugging Face's transformers loads, or such a folder as a checkpoint.

    Args:
        checkpoint: folder of a trained model; with --to ernest, a folder of transformers.
        to: hf is the folder of transformers, ernest the checkpoint.
        out: the folder to write.
        findings: of hf: where the run's scores are, for the model card; by default the folder findings beside the checkpoint.
        shard: of hf: the largest file of weights, such as 500MB.
    """
    from ernest.export.folder import read_hf, write_hf

    if to == "hf":
        print(write_hf(checkpoint, out, size, findings, shard))
    elif not size.is_full:
        raise ValueError("--layers, --experts and --top-k go with --to hf; afterwards `ernest slice` cuts a checkpoint")
    else:
        print(read_hf(checkpoint, out))


COMMANDS: Mapping[str, Callable[..., None]] = {
    "demo": demo,
    "prepare": prepare,
    "train": train,
    "report": report,
    "import": import_,
    "generate": generate,
    "describe": describe,
    "slice": slice_,
    "serve": serve,
    "export": export,
    "build": build,
}
