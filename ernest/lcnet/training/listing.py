"""Lists picture files with their classes from a folder of class sub-folders or a manifest, and splits off a validation part."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ernest.lcnet.image_io.read import SUFFIXES, picture_files

MANIFESTS = frozenset({".csv", ".tsv", ".jsonl"})
UNLABELLED = -1


@dataclass(frozen=True)
class Listing:
    """Files, their targets (places in `labels`, or -1 for unlabelled ones) and the names of the classes."""

    files: tuple[Path, ...]
    targets: tuple[int, ...]
    labels: tuple[str, ...]


def read_listing(path: str | Path, labels: Sequence[str] | None = None) -> Listing:
    """The pictures of a folder, one sub-folder a class, or of a manifest with columns `file` and `label`.

    A manifest is CSV, TSV or one JSON object a line; its files are relative to its folder. Classes are sorted by name, unless
    `labels` gives them: then the data may lack some of them and must have no others.
    Raises ValueError, which names the folder or the line: a class without pictures, fewer than two classes, missing files.
    """
    path = Path(path)
    if path.is_dir():
        found = _folder(path)
    elif path.suffix.lower() in MANIFESTS and path.is_file():
        found = _manifest(path)
    else:
        raise ValueError(f"{path}: expected a folder of class sub-folders, or a manifest {', '.join(sorted(MANIFESTS))}")
    names = sorted({name for _, name in found})
    if labels is None:
        if len(names) < 2:
            raise ValueError(f"{path}: expected pictures of at least two classes, found {names[0] if names else 'none'}")
        labels = names
    elif strange := sorted(set(names) - set(labels)):
        known = ", ".join(list(labels)[:5]) + (", ..." if len(labels) > 5 else "")
        raise ValueError(f"{path}: class {strange[0]!r} is none of those trained for: {known}")
    target_of = {name: index for index, name in enumerate(labels)}
    return Listing(tuple(file for file, _ in found), tuple(target_of[name] for _, name in found), tuple(labels))


def read_unlabelled(folder: str | Path, labels: Sequence[str]) -> Listing:
    """All pictures in a folder and below it, for learning from a teacher. Raises ValueError if there are none."""
    if not Path(folder).is_dir():
        raise ValueError(f"{folder}: expected a folder with pictures")
    files = tuple(picture_files([folder]))
    return Listing(files, (UNLABELLED,) * len(files), tuple(labels))


def concatenate(one: Listing, other: Listing) -> Listing:
    return Listing(one.files + other.files, one.targets + other.targets, one.labels)


def split(listing: Listing, share: float, seed: int) -> tuple[Listing, Listing]:
    """A share of every class held out, at least one picture: (to learn from, to score with), the same for the same seed.

    Raises ValueError if a class has too few pictures to do both.
    """
    targets, held = np.array(listing.targets), np.zeros(len(listing.targets), bool)
    for target, label in enumerate(listing.labels):
        members = np.flatnonzero(targets == target)
        if len(members) < 2:
            raise ValueError(f"class {label!r}: expected at least two pictures, one to learn from and one to score with")
        count = min(max(1, round(share * len(members))), len(members) - 1)
        held[np.random.default_rng((seed, target)).permutation(members)[:count]] = True
    return _chosen(listing, ~held), _chosen(listing, held)


def _chosen(listing: Listing, mask: np.ndarray) -> Listing:
    places = np.flatnonzero(mask)
    return Listing(tuple(listing.files[i] for i in places), tuple(listing.targets[i] for i in places), listing.labels)


def _pictures(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))


def _folder(folder: Path) -> list[tuple[Path, str]]:
    classes = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    if not classes:
        raise ValueError(f"{folder}: expected one sub-folder for each class, found none")
    found = []
    for child in classes:
        files = _pictures(child.rglob("*"))
        if not files:
            raise ValueError(f"{child}: a class with no pictures ({', '.join(sorted(SUFFIXES))})")
        found += [(file, child.name) for file in files]
    return found


def _manifest(path: Path) -> list[tuple[Path, str]]:
    """Pairs of file and label. A header is needed: without one, a first picture could be taken for names of columns."""
    rows = list(_rows(path))
    if not rows:
        raise ValueError(f"{path}: no lines")
    found = []
    for line, row in rows:
        file, label = row.get("file"), row.get("label")
        if not file or label is None or label == "":
            lacking = "label" if file else "file"
            raise ValueError(f"{path}, line {line}: no {lacking}; the columns are to be called file and label")
        found.append((path.parent / str(file), str(label)))
    missing = [(line, file) for (line, _), (file, _) in zip(rows, found, strict=True) if not file.is_file()]
    if missing:
        line, file = missing[0]
        raise ValueError(f"{path}, line {line}: {file} is no file, one of {len(missing)} that are missing")
    twice = next((file for file, count in Counter(file for file, _ in found).items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"{path}: {twice} is listed more than once")
    return found


def _rows(path: Path) -> Iterable[tuple[int, dict]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 ({error})") from None
    if path.suffix.lower() != ".jsonl":
        reader = csv.DictReader(text.splitlines(), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        for row in reader:
            yield reader.line_num, row
        return
    for line, content in enumerate(text.splitlines(), 1):
        if content.strip():
            try:
                row = json.loads(content)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {line}: no JSON ({error})") from None
            yield line, row if isinstance(row, dict) else {"": row}
