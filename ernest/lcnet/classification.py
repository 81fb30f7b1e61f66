"""Pictures to labels and probabilities, one by one or in batches, through whatever runtime a model has."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ernest.lcnet.deployment.runtimes import Model
from ernest.lcnet.image_io.read import read_input


@dataclass(frozen=True)
class Answer:
    """Labels with their probabilities, the likeliest first; or, in `error`, why there are none."""

    file: str
    labels: tuple[tuple[str, float], ...] = ()
    error: str | None = None


def classify(model: Model, files: Iterable[str | Path], top: int = 5, batch: int = 1) -> Iterator[Answer]:
    """An answer for each file, in their order, as soon as `batch` of them have been read. A bad file spoils its own answer only.

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
