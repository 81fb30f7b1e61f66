"""What makes a run the same run: the settings with which it must go on, and the check that a folder is free for them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ernest.config.media import read_media, written_differently
from ernest.config.recipe import Recipe, from_tree, to_tree
from ernest.config.stages import longest, too_long
from ernest.data.record_line import StoredRecord
from ernest.data.records import LINES, RecordFolder, media_fingerprint
from ernest.storage import check_replaceable, check_writable, fingerprint, folder_fingerprint, is_leftover
from ernest.training.group import check_group

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
    return without_free(to_tree(recipe))


def without_free(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's tree without the fields with which a run may go on differently."""
    training = {name: value for name, value in tree.get("training", {}).items() if name not in RESUME_OVERRIDABLE}
    return {name: value for name, value in tree.items() if name != "parallel"} | {"training": training}


def unusual_settings(recipe: Recipe) -> dict[str, Any]:
    """By their dotted names the fields of `fixed_tree` that are not at their usual values: those of one that a later version adds
    are not among them, and change nothing for a run that was begun before."""
    usual = leaves(to_tree(Recipe()))
    return {name: value for name, value in leaves(fixed_tree(recipe)).items() if usual.get(name) != value}


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

    def __post_init__(self) -> None:
        """Numbers of numpy become plain ones, and names of folders become paths."""
        checkpoint = None if self.checkpoint is None else Path(self.checkpoint)
        for name, value in (("out", Path(self.out)), ("checkpoint", checkpoint), ("recipe", from_tree(to_tree(self.recipe)))):
            object.__setattr__(self, name, value)

    @cached_property
    def settings(self) -> str:
        """The records, the recipe and what was brought of tokenizers and weights, as the JSON of its `RUN_FILE`."""
        checkpoint, judges = self.checkpoint, self.held_out
        tree = {
            "records": fingerprint(self.records.path / LINES),
            "media": media_fingerprint(self.records),
            "held out": judges and [fingerprint(judges.path / LINES), len(judges), media_fingerprint(judges)],
            "tokenizers": checkpoint and folder_fingerprint(checkpoint / "tokenizers"),
            "weights": fingerprint(checkpoint / "model.safetensors") if checkpoint and self.go_on else None,
            "recipe": fixed_tree(self.recipe),
        }
        return json.dumps(tree, indent=1)


def check_run(run: TrainingRun) -> str:
    """The settings of a run. Raises ValueError for processes that find no row in some step, for a mixture that the tasks of its
    records do not allow, for records whose pictures and videos alone are longer than a row, for tokenizers of other media, and
    for a folder of something else."""
    if run.checkpoint is not None:
        if run.recipe.tokenizers.first_bits:
            raise ValueError(
                "tokenizers.first_bits: a training begins with few bits where it trains its own tokenizers, and these are "
                f"{run.checkpoint}'s: leave it out, or --tokenizers and --from"
            )
        _check_media(run.checkpoint, run.recipe)
    check_group(run.recipe)
    run.recipe.weights(sorted({_fitting(record, run) for record in run.records.stored}))
    settings = run.settings
    check_free(run.out, settings)
    return settings


def _fitting(record: StoredRecord, run: TrainingRun) -> str:
    """The task of a record. Raises ValueError where its pictures and videos leave no room in a row: no file is opened for it."""
    media, length = run.recipe.media, longest(run.recipe).length
    positions = 0
    for segment in record.segments:
        if segment.kind in ("image", "video"):
            frames = segment.frames if segment.kind == "video" else 1
            positions += media.made_positions(frames) if segment.made else media.given_positions(frames)
    if positions > length:
        most, remedy = too_long(run.recipe, positions + 32)
        raise ValueError(
            f"{run.records.path / LINES}, line {record.line}: its pictures and videos take {positions} positions, more than "
            f"{most}: {remedy}, or smaller media"
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
    """The command that began a run goes on in its folder. Raises ValueError for another one, or a folder of something else, or
    that cannot be written."""
    existing = out / RUN_FILE
    if existing.is_file() and (differing := _differing(existing, settings)):
        names = ", ".join(differing[:3]) + (", …" if len(differing) > 3 else "")
        raise ValueError(
            f"{out} holds a run on other records, tokenizers or settings ({names}): choose another folder, or remove it"
        )
    others = [entry for entry in out.iterdir() if entry.name != RECORDS and not is_leftover(entry)] if out.exists() else []
    if not existing.is_file() and others:
        raise ValueError(f"{out} holds something else than a training: choose a new folder")
    if not existing.is_file():
        check_replaceable(out)
        check_writable(out)


def _differing(existing: Path, settings: str) -> list[str]:
    """Dotted names of what a run's file says otherwise than `settings`. Raises ValueError for one that is damaged."""
    if (text := existing.read_text(encoding="utf-8", errors="replace")) == settings:
        return []
    try:
        return differing_settings(json.loads(text), json.loads(settings))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{existing}: damaged: {error}") from error


def differing_settings(before: Any, now: Any) -> list[str]:
    """Dotted names of what two trees, as JSON holds them, say differently. A field of `recipe` that only a later version has is
    at its usual value in an older tree; what else only a later version notes is not compared."""
    usual = leaves(json.loads(json.dumps({"recipe": to_tree(Recipe())})))
    old, new = leaves(before), leaves(now)
    both = [name for name in old | new if name in old or name.startswith("recipe.")]
    return sorted(name for name in both if old.get(name, usual.get(name)) != new.get(name, usual.get(name)))


def leaves(tree: Any, name: str = "") -> dict[str, Any]:
    """The values of a tree by their dotted names."""
    if not isinstance(tree, dict):
        return {name: tree}
    return {inner: leaf for key, value in tree.items() for inner, leaf in leaves(value, f"{name}.{key}".lstrip(".")).items()}
