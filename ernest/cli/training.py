"""The commands that make a model: demo, import, prepare, train, report, export-checkpoint."""

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from ernest.cli.arguments import Count, Folder, Overrides, RecipeFile, must_exist
from ernest.storage import check_new

if TYPE_CHECKING:
    from ernest.config.recipe import Recipe
    from ernest.training.run_settings import TrainingRun


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
    recipe: RecipeFile = Path("tiny"),
    set_: Overrides = (),
) -> None:
    """Turn a folder of captioned pictures, videos and sounds, of documents, or of MNIST's idx files, into records.

    Args:
        source: the folder.
        out: where records.jsonl and the media go.
        kind: what the folder holds.
        captions: table of file names and captions, or "folders" or "names" for the names of sub-folders or of the files; by
            default what is found.
        text_column: its column of captions, where that has no usual name.
        join_lines: the lines of a text file beside a file are one caption, not one each.
        held_out: share of the files that is kept back in OUT/held_out, unless the folder has a test split of its own.
        split: of MNIST.
        limit: of MNIST: so many pictures only.
        recipe: whose sizes and rates the media are brought to, and into whose rows documents are cut; a TOML file, or the name of
            a recipe that comes with Ernest.
        set_: fields of the recipe to change, such as media.height=64 media.width=64.
    """
    from ernest.config.recipe import find_recipe, load_recipe
    from ernest.config.stages import longest
    from ernest.data.importers import import_folder
    from ernest.data.mnist import import_mnist

    settings = load_recipe(find_recipe(recipe), tuple(chain(*set_)))
    media = settings.media
    if kind == "mnist" and (captions or text_column):
        raise ValueError("--captions and --text-column are of --kind folder: MNIST has labels of its own")
    if kind == "folder" and limit is not None:
        raise ValueError("--limit is of --kind mnist: a folder is imported whole")
    if kind == "mnist":
        imported = import_mnist(source, out, split, limit, media)
    else:
        note = lambda text: print(f"note: {text}", file=sys.stderr)
        row, vocabulary = longest(settings).length, settings.tokenizers.vocabulary
        imported = import_folder(source, out, captions, text_column, not join_lines, held_out, note, media, row, vocabulary)
    for reason in imported.skipped:
        print(f"left out: {reason}", file=sys.stderr)
    kept_back = f", {imported.held_out} records held out ({imported.held_out_by})" if imported.held_out else ""
    came = [f"from {imported.documents} documents"] if imported.documents else []
    came += [f"captions from {imported.captions}"] if imported.captions else []
    print(f"{out}: {imported.records} records, {', '.join(came)}, {len(imported.skipped)} left out{kept_back}")


@dataclass(frozen=True)
class RunOptions:
    """A run on your own records, as prepare and train begin it and go on with it."""

    data: Annotated[Path, arg(metavar="FOLDER")]
    """folder with records.jsonl and its media (see `ernest import`)."""
    out: Folder = Path("build/run")
    """folder of the run; an interrupted run goes on from there."""
    recipe: RecipeFile = Path("tiny")
    """a TOML file, or the name of a recipe that comes with Ernest."""
    tokenizers: Annotated[Path | None, arg(metavar="CHECKPOINT")] = None
    """a checkpoint whose tokenizers to use; without it they are trained on the data."""
    from_: Annotated[Path | None, arg(name="from", metavar="CHECKPOINT")] = None
    """a checkpoint to go on from, with its tokenizers and its sizes; its scores are told beside the new ones, also on the records
    that its own run held out."""
    held_out: float = 0.1
    """share of the files to score by, where FOLDER/held_out holds none; 0 scores nothing."""
    set_: Overrides = ()
    """fields of the recipe to change, such as training.steps=2000."""


Run = Annotated[RunOptions, OmitArgPrefixes, arg(name="")]


def prepare(run: Run) -> None:
    """Read your records and train tokenizers on them, once, for an `ernest train` of the same options to go on from."""
    checked = _checked_run(run)
    from ernest.training.prepare import prepare_records

    prepare_records(checked)
    print(f"prepared: {run.out}")


def train(run: Run) -> None:
    """Train on your own records, and score what was learnt on records held out of it."""
    checked = _checked_run(run)
    from ernest.training.prepare import train_on_records  # imports torch, which a mistake above need not wait for

    checkpoint = train_on_records(checked)
    tell_run(run.out)
    print(f"model: {checkpoint}")


def _checked_run(asked: RunOptions) -> "TrainingRun":
    """The run, after all that can be checked without torch."""
    from ernest.checkpoint import check_checkpoint
    from ernest.config.recipe import find_recipe, load_recipe
    from ernest.data.held_out import split_records
    from ernest.training.run_settings import TrainingRun, check_run

    overrides, file = tuple(chain(*asked.set_)), find_recipe(asked.recipe)
    settings, tokenizers = load_recipe(file, overrides), asked.tokenizers
    if asked.from_ is not None:
        settings, tokenizers = _going_on(settings, file, overrides, asked.from_, tokenizers), asked.from_
    elif settings.training.adapter_rank:
        raise ValueError("training.adapter_rank: adapters change a trained model: name it, --from CHECKPOINT")
    if tokenizers is not None:
        check_checkpoint(tokenizers, needs="tokenizers")
        _check_free(overrides, ("tokenizers.",), f"{tokenizers} brings tokenizers, which are not trained")
    records, judges = split_records(asked.data, asked.held_out, settings.media)
    run = TrainingRun(records, asked.out, settings, tokenizers, judges, asked.from_ is not None)
    check_run(run)
    return run


def _check_free(overrides: Sequence[str], prefixes: tuple[str, ...], reason: str) -> None:
    """Raises ValueError where an override sets what is fixed."""
    for name in overrides:
        if name.startswith(prefixes):
            raise ValueError(f"{reason}: leave {name} out")


def _going_on(settings: "Recipe", file: Path, overrides: Sequence[str], checkpoint: Path, tokenizers: Path | None) -> "Recipe":
    """The recipe with the network of `checkpoint`, and a gentle rate where none was asked for: adapters change little whatever
    their rate."""
    from ernest.checkpoint import network_sizes
    from ernest.config.going_on import GENTLE, check_named, going_on

    if tokenizers is not None:
        raise ValueError("--from brings its tokenizers: leave --tokenizers out")
    _check_free(overrides, ("size=", "model."), "--from takes the network as it is")
    sizes = network_sizes(checkpoint)
    check_named(file, sizes)
    settings = going_on(settings, sizes)
    training = settings.training
    if not training.adapter_rank and not any(name.startswith("training.learning_rate=") for name in overrides):
        training = replace(training, learning_rate=GENTLE * training.learning_rate)
    return replace(settings, training=training)


def tell_run(run: Path) -> None:
    """Prints what a run has learnt, and what to do about what it has not."""
    from rich.console import Console

    from ernest.evaluation.own_run import judge_run
    from ernest.report.tables import table

    findings, advice = judge_run(run)
    if findings.scores:
        Console(width=None if sys.stdout.isatty() else 120).print(table(findings))
    for line in advice:
        print(line, file=sys.stderr)
    print(f"report: ernest report {shlex.quote(str(run))}")


def report(run: Annotated[Path, Positional, arg(metavar="RUN")]) -> None:
    """Write the report of a run of `ernest train`: scores, samples, losses, experts.

    Args:
        run: folder of the run; the report is its report.html.
    """
    from ernest.evaluation.own_run import judge_run
    from ernest.report.figures import check_figures
    from ernest.report.page import write_report
    from ernest.rl.begun import BEGUN

    check_figures()
    if (run / BEGUN).is_file():
        raise ValueError(f"{run} is a run of `ernest rl`, which writes its report itself: {run / 'report.html'}")
    findings, advice = judge_run(run)
    write_report(run / "report.html", findings)
    for line in advice:
        print(line, file=sys.stderr)
    print(f"report: {run / 'report.html'}")


def export_checkpoint(run: Annotated[Path, Positional, arg(metavar="RUN")], out: Folder) -> None:
    """Write the newest state of a run as a checkpoint: of one that is under way or was cut, or that lies in parts.

    Args:
        run: folder of the run; a finished one holds its checkpoint already, in RUN/model.
        out: the folder to write.
    """
    must_exist(run)
    check_new(out)
    from ernest.training.export import export_checkpoint as write

    print(f"{out}: the model after {write(run, out)} steps")


COMMANDS: Mapping[str, Callable[..., None]] = {
    "demo": demo,
    "import": import_,
    "prepare": prepare,
    "train": train,
    "report": report,
    "export-checkpoint": export_checkpoint,
}
