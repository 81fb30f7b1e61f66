"""What the commands of `ernest lcnet` do."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ernest.lcnet.classification import Answer
from ernest.lcnet.deployment.verify import input_size
from ernest.lcnet.weights.foreign import load_checkpoint
from ernest.lcnet.weights.native import Precision

if TYPE_CHECKING:
    from rich.table import Table

BATCH = 16
"""Pictures at once, where all names are known."""


def train(
    data: Path,
    out: Path,
    recipe: Path | None = None,
    overrides: Sequence[str] = (),
    validation: Path | None = None,
    start: Path | None = None,
    teacher: Path | None = None,
    unlabeled: Path | None = None,
    mutual: bool = False,
    skip_unreadable: bool = False,
) -> str:
    """Trains on a folder of class sub-folders, or a table of files; returns where the best network is and how good it is."""
    from ernest.lcnet.training import load_recipe
    from ernest.lcnet.training import train as run

    done = run(
        data,
        out,
        load_recipe(recipe, overrides),
        validation=validation,
        start=start,
        teacher=teacher,
        unlabeled=unlabeled,
        mutual=mutual,
        skip_unreadable=skip_unreadable,
    )
    left_out = f", {done.skipped} pictures left out" if done.skipped else ""
    scores = f"top-1 {done.top1:.2%}, top-5 {done.top5:.2%} at epoch {done.epoch}"
    return f"{done.best}: {scores}, {len(done.labels)} classes{left_out}"


def classify(
    model: Path,
    images: Sequence[str],
    names: Iterable[str] = (),
    top: int = 5,
    labels: Path | None = None,
    threads: int | None = None,
    as_json: bool = False,
) -> Iterator[tuple[str, bool]]:
    """A line for each picture, and whether it is an answer rather than a complaint.

    `images` are files and folders; where they are just "-", the files are `names`, and each is answered before the next
    one is read. Raises ValueError or ImportError, before the first line, if the model cannot run.
    """
    import torch

    from ernest.lcnet.classification import classify as run
    from ernest.lcnet.deployment.runtimes import open_model
    from ernest.lcnet.image_io.read import picture_files

    if not images:
        raise ValueError("name pictures, folders of them, or - for names on stdin")
    opened = open_model(model, labels, threads)
    if opened.runtime == "torch" and threads is not None:
        torch.set_num_threads(threads)
    streamed = tuple(images) == ("-",)
    files = (name.rstrip("\r\n") for name in names) if streamed else list(picture_files(images))
    for answer in run(opened, files, top, 1 if streamed else BATCH):
        yield (_as_json(answer) if as_json else _as_text(answer)), answer.error is None


def profile(
    model: Path,
    size: tuple[int, int] | None = None,
    precision: Precision = "fp32",
    threads: int | None = 1,
    instructions: str | None = None,
    picture: Path | None = None,
) -> "Table":
    """Times every layer of a network, ours or others', beside its share of the roofline; draws it too if `picture` is named."""
    from ernest.lcnet.profiling.profile import draw, table
    from ernest.lcnet.profiling.profile import profile as measure

    saved = load_checkpoint(model)
    found = measure(saved.network, size or input_size(saved.preprocessing), precision, threads or os.cpu_count(), instructions)
    if picture is not None:
        draw(found, picture)
    return table(found)


def _as_json(answer: Answer) -> str:
    if answer.error is not None:
        return json.dumps({"file": answer.file, "error": answer.error}, ensure_ascii=False)
    labels = [{"label": label, "probability": round(probability, 6)} for label, probability in answer.labels]
    return json.dumps({"file": answer.file, "labels": labels}, ensure_ascii=False)


def _as_text(answer: Answer) -> str:
    if answer.error is not None:
        return answer.error
    return f"{answer.file}: " + ", ".join(f"{label} {probability:.4f}" for label, probability in answer.labels)
