"""Classifies picture files with a model of any runtime: labels and probabilities, one by one or in batches read ahead."""

import json
import math
import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ernest.device import count_processors
from ernest.lcnet.deployment.runtimes import Model, open_model
from ernest.lcnet.image_io.find import describe_left_out, name_pictures, printable
from ernest.lcnet.image_io.preprocess import AT_ONCE, Preprocessing, normalise_each
from ernest.lcnet.image_io.reader import TOGETHER, Reader, are_small, network_reader
from ernest.lcnet.weights.given import UNKNOWN, Foreign

BATCH = 16
"""Pictures at once, where all names are known."""

READERS = 4
"""Threads that read, at most; each reads a batch."""


NOT_ONE_LINE = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029]")
"""What ends a line, or steers a terminal, in the name of a file or a class."""

NONE = "none of these"
"""What a line says of a picture without a label that is likely enough."""

Levels = np.ndarray | str
"""A picture as it is resized and cropped, or why it cannot be read."""


@dataclass(frozen=True)
class Answer:
    """Labels with their probabilities, the likeliest first, no labels where none is likely enough; or an `error`."""

    file: str
    labels: tuple[tuple[str, float], ...] = ()
    error: str | None = None


def as_json(answer: Answer) -> str:
    """One JSON object; the name of a file that is no UTF-8 is escaped in it, as Python reads it back."""
    plain = answer.file == printable(answer.file)
    if answer.error is not None:
        return json.dumps({"file": answer.file, "error": answer.error}, ensure_ascii=not plain)
    labels = [{"label": label, "probability": round(probability, 6)} for label, probability in answer.labels]
    return json.dumps({"file": answer.file, "labels": labels}, ensure_ascii=not plain)


def as_text(answer: Answer) -> str:
    """One line."""
    shares = ", ".join(f"{label} {probability:.4f}" for label, probability in answer.labels)
    line = f"{printable(answer.file)}: {shares or NONE}" if answer.error is None else answer.error
    return NOT_ONE_LINE.sub(lambda found: found[0].encode("unicode_escape").decode(), line)


def classify_files(
    path: Path,
    images: Sequence[str],
    names: Iterable[str] = (),
    top: int = 5,
    labels: Path | None = None,
    threads: int | None = None,
    exact: bool = False,
    on_left_out: Callable[[str], None] | None = None,
    foreign: Foreign = UNKNOWN,
    threshold: float | None = None,
) -> Iterator[Answer]:
    """Answers of the model in a file. `images` are files and folders; where they are just "-", the files are `names`, and each
    is answered before the next one is read. `on_left_out` is told of files in the folders that are taken for no pictures.
    `foreign` is what you know of a model of others. `threshold` is the least probability of a label, instead of those in the
    file.

    Raises ValueError or ImportError, before the first answer, if the model cannot run.
    """
    if not images:
        raise ValueError("name pictures, folders of them, or - for names on stdin")
    model = open_model(path, labels, threads, foreign)
    model = replace(model, decision=model.decision.with_threshold(threshold))
    if model.runtime == "torch" and threads is not None:
        torch.set_num_threads(threads)
    if tuple(images) == ("-",):
        stripped = (name.rstrip("\r\n") for name in names)
        yield from classify(model, (name for name in stripped if name), top, 1, exact)
        return
    found = name_pictures(images)
    if found.left_out and on_left_out:
        on_left_out(f"left out: {describe_left_out(found.left_out)}")
    yield from classify(model, found.files, top, BATCH, exact)


def classify(model: Model, files: Iterable[str | Path], top: int = 5, batch: int = 1, exact: bool = False) -> Iterator[Answer]:
    """Yields an `Answer` for each file, in order, after each `batch` of files. Of an unreadable file the answer is an error.

    Batches of more than one are read by threads while the network works on others; where all names are known, in a sequence,
    small files for a small network make batches of up to `TOGETHER`. Of a batch, pictures that come to different sizes go to
    the network separately. `top` counts where a picture has one label; of many it gets all that are likely enough. Photographs
    are decoded at a fraction of their size unless `exact` (`Reader`). Raises ValueError if `top` is below 1, and TypeError for
    one name, whose letters would be files.
    """
    if top < 1:
        raise ValueError(f"top: expected 1 or more labels, got {top}")
    if isinstance(files, str | Path):
        raise TypeError(f"files: expected several, got {files!r}; of one make a list")
    most = _most_small(model.preprocessing, batch) if batch > 1 and isinstance(files, Sequence) else batch
    for names, pictures in _read_ahead(files, batch, most, network_reader(model.preprocessing, exact)):
        answers: dict[int, Answer] = {}
        groups: dict[tuple[int, ...], dict[int, np.ndarray]] = defaultdict(dict)
        for index, levels in enumerate(pictures):
            if isinstance(levels, str):
                answers[index] = Answer(names[index], error=levels)
            else:
                groups[levels.shape][index] = levels
        for group in groups.values():
            images = normalise_each(list(group.values()), model.preprocessing)
            labelled = _labelled(model, model.run(images), top)
            answers |= {index: Answer(names[index], labels) for index, labels in zip(group, labelled, strict=True)}
        yield from (answers[index] for index in range(len(names)))


def _most_small(preprocessing: Preprocessing, batch: int) -> int:
    """Small files of a batch. After the network's weights nothing of Python's is left in the cache, and what it does once a batch
    it does better for many pictures; but not for images that fill the cache themselves, or have any size."""
    sides = preprocessing.crop or preprocessing.resize
    if not isinstance(sides, tuple):
        return batch
    return max(batch, min(TOGETHER, AT_ONCE // (len(preprocessing.mean) * math.prod(sides))))


def _read_ahead(files: Iterable[str | Path], size: int, most: int, reader: Reader) -> Iterator[tuple[list[str], list[Levels]]]:
    """Batches of names with their pictures. Batches of one are read when they are asked for: the next name may not be there yet.

    Small files are read here, up to `most` in one call; large ones by threads (`are_small`), each of which reads `size`.
    """
    workers, waiting = min(READERS, count_processors()), deque[tuple[list[str], Future[list[Levels]]]]()

    def complete(some: Sequence[str], small: Sequence[np.ndarray | None]) -> list[Levels]:
        return [reader.or_reason(file) if one is None else one for file, one in zip(some, small, strict=True)]

    with ExitStack() as stack:
        pool: ThreadPoolExecutor | None = None
        for some in _batches(map(str, files), most):
            small = reader.small(some)
            left = [file for file, one in zip(some, small, strict=True) if one is None]
            large = size > 1 and not are_small(left)
            if large:
                if pool is None:
                    pool = ThreadPoolExecutor(workers)
                    stack.callback(pool.shutdown, cancel_futures=True)
                for part in (slice(start, start + size) for start in range(0, len(some), size)):
                    waiting.append((some[part], pool.submit(complete, some[part], small[part])))
            while waiting and (not large or len(waiting) > workers):
                names, task = waiting.popleft()
                yield names, task.result()
            if not large:
                yield some, complete(some, small)
        for names, task in waiting:
            yield names, task.result()


def _labelled(model: Model, logits: Tensor, top: int) -> list[tuple[tuple[str, float], ...]]:
    """The labels of each row, as the model's decision has them; a class without a name goes by its number."""
    names = model.labels or tuple(map(str, range(model.classes)))
    count = model.classes if model.decision.many else min(top, model.classes)
    values, classes = model.decision.probabilities(logits).topk(count)
    kept = model.decision.kept(values, classes, model.classes)
    rows = zip(values.tolist(), classes.tolist(), kept.tolist(), strict=True)
    return [tuple((names[one], value) for value, one, keep in zip(*row, strict=True) if keep) for row in rows]


def _batches(files: Iterable[str], size: int) -> Iterator[list[str]]:
    some: list[str] = []
    for file in files:
        some.append(file)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some
