"""Classifies picture files with a model of any runtime: labels and probabilities, one by one or in batches."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ernest.lcnet.deployment.runtimes import Model, open_model
from ernest.lcnet.image_io.read import picture_files, read_input
from ernest.lcnet.weights.foreign import UNKNOWN, Foreign

BATCH = 16
"""Pictures at once, where all names are known."""


@dataclass(frozen=True)
class Answer:
    """Labels with their probabilities, the likeliest first; or, in `error`, why there are none."""

    file: str
    labels: tuple[tuple[str, float], ...] = ()
    error: str | None = None


def as_json(answer: Answer) -> str:
    if answer.error is not None:
        return json.dumps({"file": answer.file, "error": answer.error}, ensure_ascii=False)
    labels = [{"label": label, "probability": round(probability, 6)} for label, probability in answer.labels]
    return json.dumps({"file": answer.file, "labels": labels}, ensure_ascii=False)


def as_text(answer: Answer) -> str:
    if answer.error is not None:
        return answer.error
    return f"{answer.file}: " + ", ".join(f"{label} {probability:.4f}" for label, probability in answer.labels)


def classify_files(
    path: Path,
    images: Sequence[str],
    names: Iterable[str] = (),
    top: int = 5,
    labels: Path | None = None,
    threads: int | None = None,
    foreign: Foreign = UNKNOWN,
) -> Iterator[Answer]:
    """Answers of the model in a file. `images` are files and folders; where they are just "-", the files are `names`, and each
    is answered before the next one is read. `foreign` is what you know of a model of others.

    Raises ValueError or ImportError, before the first answer, if the model cannot run.
    """
    if not images:
        raise ValueError("name pictures, folders of them, or - for names on stdin")
    model = open_model(path, labels, threads, foreign)
    if model.runtime == "torch" and threads is not None:
        torch.set_num_threads(threads)
    streamed = tuple(images) == ("-",)
    files = (name.rstrip("\r\n") for name in names) if streamed else list(picture_files(images))
    yield from classify(model, files, top, 1 if streamed else BATCH)


def classify(model: Model, files: Iterable[str | Path], top: int = 5, batch: int = 1) -> Iterator[Answer]:
    """Yields an `Answer` for each file, in order, after each `batch` of files. Of an unreadable file the answer is an error.

    Of a batch, pictures that come to different sizes go to the network separately. Raises ValueError if `top` is below 1.
    """
    if top < 1:
        raise ValueError(f"top: expected 1 or more labels, got {top}")
    for some in _batches(files, batch):
        answers: dict[int, Answer] = {}
        groups: dict[tuple[int, ...], list[tuple[int, Tensor]]] = defaultdict(list)
        for index, file in enumerate(some):
            try:
                image = read_input(file, model.preprocessing)
                groups[tuple(image.shape)].append((index, image))
            except ValueError as error:
                answers[index] = Answer(str(file), error=str(error))
        for group in groups.values():
            labelled = _labelled(model, model.run(torch.cat([image for _, image in group])), top)
            answers |= {index: Answer(str(some[index]), labels) for (index, _), labels in zip(group, labelled, strict=True)}
        yield from (answers[index] for index in range(len(some)))


def _labelled(model: Model, logits: Tensor, top: int) -> list[tuple[tuple[str, float], ...]]:
    """The likeliest labels of each row; a class without a name goes by its number."""
    names = model.labels or tuple(map(str, range(model.classes)))
    values, classes = logits.float().softmax(1).topk(min(top, model.classes))
    rows = zip(values.tolist(), classes.tolist(), strict=True)
    return [tuple((names[one], value) for value, one in zip(*row, strict=True)) for row in rows]


def _batches(files: Iterable[str | Path], size: int) -> Iterator[list[str | Path]]:
    some: list[str | Path] = []
    for file in files:
        some.append(file)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some
