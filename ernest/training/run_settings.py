"""What makes a run the same run: the settings with which it must go on, and the check that a folder is free for them."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ernest.config.media import read_media, written_differently
from ernest.config.recipe import Recipe, TrainingConfig, to_tree
from ernest.data.decoded import DecodedRecords
from ernest.data.drawn import DrawnExamples, Examples
from ernest.data.records import LINES, RecordFolder, StoredRecord
from ernest.data.store import ExampleStore
from ernest.storage import fingerprint
from ernest.tokenizers.bundle import Tokenizers

RUN_FILE = "run.json"
JUDGED_BY = "held_out"
"""The folder of a run with the examples by which it is judged."""
START = "start"
"""The folder of a run with the weights from which it goes on, what was learnt with them, and in its own `JUDGED_BY` the examples
by which that was judged."""
RECORDS = "records"
"""The folder of a run with records that were made for it, before it began."""
RESUME_OVERRIDABLE = ("save_every", "show_every", "tensorboard", "workers")
"""Fields of `training` with which a run may go on differently, as with all of `parallel`: they change none of its numbers."""


def fixed_tree(recipe: Recipe) -> dict[str, Any]:
    """The recipe as a tree, without the fields with which a run may go on differently."""
    tree = to_tree(recipe)
    for name in RESUME_OVERRIDABLE:
        del tree["training"][name]
    for name in ("fp8", "encode"):  # at their defaults, as runs were begun that know of none
        if getattr(recipe.training, name) == getattr(TrainingConfig, name):
            del tree["training"][name]
    del tree["parallel"]
    return tree


def open_examples(run: Path, tokenizers: Tokenizers) -> Examples:
    """What a run trains on: examples that were encoded before it, or its records, which are encoded as they are drawn.
    Raises ValueError where neither is there."""
    if (run / "examples").is_dir() or not (run / "decoded" / LINES).is_file():
        return ExampleStore(run / "examples")
    decoded = DecodedRecords(run / "decoded")
    return DrawnExamples(decoded, decoded.tasks, tokenizers, fingerprint(run / "decoded" / LINES, run / RUN_FILE))


@dataclass(frozen=True)
class TrainingRun:
    """A training on `records` in the folder `out`, judged by the records `held_out`, if any.

    A `checkpoint` brings its tokenizers; with `go_on` also the weights from which the model starts, whose sizes the recipe has.
    """

    records: RecordFolder
    out: Path
    recipe: Recipe
    checkpoint: Path | None = None
    held_out: RecordFolder | None = None
    go_on: bool = False

    @cached_property
    def settings(self) -> str:
        """The records, the recipe and what was brought of tokenizers and weights, as the JSON of its `RUN_FILE`."""
        checkpoint, judges = self.checkpoint, self.held_out
        tree = {
            "records": fingerprint(self.records.path / LINES),
            "held out": judges and [fingerprint(judges.path / LINES), len(judges)],
            "tokenizers": checkpoint and str(checkpoint.resolve()),
            "weights": fingerprint(checkpoint / "model.safetensors") if checkpoint and self.go_on else None,
            "recipe": fixed_tree(self.recipe),
        }
        return json.dumps(tree, indent=1)


def check_run(run: TrainingRun) -> str:
    """The settings of a run. Raises ValueError for a mixture that the tasks of its records do not allow, for records whose
    pictures and videos alone are longer than a row, for tokenizers of other media, and for a folder of something else."""
    if run.checkpoint is not None:
        _check_media(run.checkpoint, run.recipe)
    run.recipe.weights(sorted({_fitting(record, run) for record in run.records.stored}))
    settings = run.settings
    check_free(run.out, settings)
    return settings


def _fitting(record: StoredRecord, run: TrainingRun) -> str:
    """The task of a record. Raises ValueError where its pictures and videos leave no room in a row: no file is opened for it."""
    media, length = run.recipe.media, run.recipe.sequence.length
    positions = 0
    for segment in record.segments:
        if segment.kind in ("image", "video"):
            frames = segment.frames if segment.kind == "video" else 1
            positions += media.made_positions(frames) if segment.made else media.given_positions(frames)
    if positions > length:
        raise ValueError(
            f"{run.records.path / LINES}, line {record.line}: its pictures and videos take {positions} positions, more than "
            f"sequence.length = {length}: --set sequence.length={-(-(positions + 32) // 64) * 64}, or smaller media"
        )
    return record.task


def _check_media(checkpoint: Path, recipe: Recipe) -> None:
    """Raises ValueError where the tokenizers of a checkpoint are of other sizes or rates than the recipe asks for."""
    made_for = read_media(checkpoint / "tokenizers")
    for kind in ("video", "audio"):
        if difference := written_differently(made_for, recipe.media, kind):
            actual, wanted, settings = difference
            raise ValueError(
                f"{checkpoint / 'tokenizers'}: made for {actual}, and the recipe has {wanted}: --set {settings}, or leave "
                "--tokenizers out to train new ones"
            )


def check_free(out: Path, settings: str) -> None:
    """The command that began a run goes on in its folder. Raises ValueError for another one, or a folder of something else."""
    existing = out / RUN_FILE
    if existing.is_file() and existing.read_text() != settings:
        raise ValueError(f"{out} holds a run on other records, tokenizers or settings: choose another folder, or remove it")
    if not existing.is_file() and out.exists() and any(entry.name != RECORDS for entry in out.iterdir()):
        raise ValueError(f"{out} holds something else than a run of `ernest train`: choose a new folder")
