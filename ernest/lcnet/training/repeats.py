"""Finds pictures that stand in a data set more than once, byte for byte: among those to score with too, or under two classes."""

import hashlib
import os
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path

from ernest.lcnet.image_io.find import printable
from ernest.lcnet.training.listing import Listing, Target

PIECE = 1 << 16
"""Bytes of a file that are looked at first: pictures without compression are all of one size."""


def describe_repeats(learn: Listing, score: Listing) -> tuple[str, ...]:
    """A line each about pictures that are scored with and learnt from, and about those of two classes; none of neither."""
    files, count = (*learn.files, *score.files), len(learn.files)
    keys, targets = contents(files), (*learn.targets, *score.targets)
    first: dict[Hashable, Path] = {}
    labels: dict[Hashable, set[Target]] = {}
    for key, file, target in zip(keys, files, targets, strict=True):
        first.setdefault(key, file)
        labels.setdefault(key, set()).add(target)
    learnt = set(keys[:count])
    both = [(file, first[key]) for key, file in zip(keys[count:], score.files, strict=True) if key in learnt]
    torn = [(file, first[key]) for key, file in zip(keys, files, strict=True) if len(labels[key]) > 1]
    lines = []
    if both:
        lines.append(
            f"{len(both)} of {len(score.files)} pictures to score with are learnt from too{_such_as(both)}: scores are too good"
        )
    if torn:
        lines.append(f"{len(torn)} pictures stand under other classes too{_such_as(torn[1:])}: one of their labels is wrong")
    return tuple(lines)


def contents(files: Sequence[Path]) -> list[Hashable]:
    """For each file what equals another's just where their bytes do. What cannot be read equals nothing."""
    keys: list[Hashable] = [_size(file) for file in files]
    for digest in (_middle, _whole):
        counts = Counter(keys)
        keys = [key if counts[key] == 1 else (key, digest(file)) for key, file in zip(keys, files, strict=True)]
    return keys


def _such_as(pairs: Sequence[tuple[Path, Path]]) -> str:
    """The first file beside the one that it equals."""
    one, other = next(((one, other) for one, other in pairs if one != other), pairs[0])
    return f" ({printable(str(one))} is {printable(str(other))})"


def _size(file: Path) -> Hashable:
    try:
        return os.stat(file).st_size
    except (OSError, ValueError):
        return object()


def _middle(file: Path) -> Hashable:
    try:
        with file.open("rb") as opened:
            opened.seek(max(0, os.fstat(opened.fileno()).st_size - PIECE) // 2)
            return hashlib.blake2b(opened.read(PIECE)).digest()
    except OSError:
        return object()


def _whole(file: Path) -> Hashable:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "blake2b").digest()
    except OSError:
        return object()
