"""Lists picture files with their classes from a folder of class sub-folders or a manifest, and splits off a validation part."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ernest.lcnet.image_io.find import SUFFIXES, find_pictures, printable
from ernest.lcnet.training.manifest import MANIFESTS, Row, read_manifest, split_labels
from ernest.lcnet.training.parts import LEARN, SCORE, find_parts, sub_folders, word_of

UNLABELLED = -1

LeftOut = tuple[tuple[str, int], ...]

Target = int | tuple[int, ...]
"""The place of a picture's label, or the places of all that it has."""

Labelled = tuple[Path, tuple[str, ...]]
"""A picture and the names of its labels."""


@dataclass(frozen=True)
class Listing:
    """Files, their targets (places in `labels`, or -1 for unlabelled ones) and the names of the classes.

    With `many` each target is a tuple of such places, an empty one where a picture shows none of them.
    `left_out` says of files in the same folders that were not taken why, and how many they are.
    """

    files: tuple[Path, ...]
    targets: tuple[Target, ...]
    labels: tuple[str, ...]
    left_out: LeftOut = ()
    many: bool = False


def places(target: Target) -> tuple[int, ...]:
    """The places of all labels of a picture; none of an unlabelled one."""
    return target if isinstance(target, tuple) else (target,) if target != UNLABELLED else ()


def read_parts(data: Path, validation: Path | None, share: float, seed: int, separator: str = "") -> tuple[Listing, Listing]:
    """Pictures to learn from and pictures to score with, from a folder or a manifest.

    The latter come from `validation`, or from a folder beside the one to learn from (`find_parts`), or are those of which a
    manifest says so, or are a `share` of each class. `separator` is that of the labels of a picture. Raises ValueError as
    `read_listing` and `find_parts` do.
    """
    if data.is_dir():
        parts = find_parts(data)
        learn, score, others = read_listing(parts.learn if parts else data, separator=separator), None, []
        if parts:
            score = read_listing(parts.score, learn.labels, separator) if parts.score and validation is None else None
            unused = (*parts.others, parts.score) if parts.score and not score else parts.others
            unused = [folder for folder in unused if not _holds(folder, validation)]
            others = [(f"in {printable(folder.name)}", len(find_pictures(folder).files)) for folder in unused]
    else:
        learn, score, others = _manifest_parts(data, separator)
        if score and validation is not None and not _holds(data, validation):
            others.append(("of the part to score with", len(score.files)))
    if validation is not None:
        score = read_listing(validation, learn.labels, separator)
    learn = replace(learn, left_out=_sum(learn.left_out, tuple(other for other in others if other[1])))
    return (learn, score) if score is not None else split(learn, share, seed)


def _holds(part: Path, validation: Path | None) -> bool:
    """Whether what is to be scored with is that part of the data, or lies in it."""
    return validation is not None and part.resolve() in (validation.resolve(), *validation.resolve().parents)


def read_listing(path: str | Path, labels: Sequence[str] | None = None, separator: str = "") -> Listing:
    """The pictures of a folder, one sub-folder a class, or of a manifest with columns `file` and `label`.

    A manifest is CSV, TSV or one JSON object a line; its files are relative to its folder. Classes are sorted by name, or by
    number where all are whole numbers, unless `labels` gives them: then the data may lack some of them and must have no others.
    With a `separator` pictures may have many: those between which it stands in the name of the folder or in the cell of the
    manifest, or in a list of JSON.
    Raises ValueError, which names the folder or the line: a class without pictures, fewer than two classes, missing files.
    """
    path, left_out = Path(path), ()
    if path.is_dir():
        found, left_out = _folder(path, separator, may_be_empty=labels is not None)
    else:
        found = [(row.file, row.labels) for row in _rows(path, separator, labels)]
    return _listing(path, found, left_out, labels, separator)


def _listing(path: Path, found: Sequence[Labelled], left_out: LeftOut, labels: Sequence[str] | None, separator: str) -> Listing:
    names = sorted({name for _, several in found for name in several})
    if all(name.isascii() and name.isdigit() for name in names):
        names.sort(key=int)  # where classes go by numbers, the place of a class in an answer is its number
    if labels is None:
        if len(names) < (1 if separator else 2):
            found_one = f"found {names[0] if names else 'none'}{_inner(path)}"
            raise ValueError(f"{path}: expected pictures of at least two classes, {found_one}")
        labels = names
    elif strange := sorted(set(names) - set(labels)):
        known = ", ".join(list(labels)[:5]) + (", ..." if len(labels) > 5 else "")
        raise ValueError(f"{path}: class {strange[0]!r} is none of those trained for: {known}")
    target_of = {name: index for index, name in enumerate(labels)}
    files, many = tuple(file for file, _ in found), bool(separator)
    targets = tuple(tuple(sorted(target_of[name] for name in several)) for _, several in found)
    return Listing(files, targets if many else tuple(one for (one,) in targets), tuple(labels), left_out, many)


def _inner(path: Path) -> str:
    """A hint where a table lies in a folder, or where it holds but one, as archives are unpacked, and that one others: they may
    be the classes."""
    tables = sorted(file for file in path.iterdir() if file.suffix.lower() in MANIFESTS) if path.is_dir() else []
    if tables:
        return f"; if a table tells the classes, name it: {tables[0]}"
    folders = sub_folders(path) if path.is_dir() else []
    return f"; if the folders in it are the classes, name {folders[0]}" if len(folders) == 1 and sub_folders(folders[0]) else ""


def _manifest_parts(path: Path, separator: str) -> tuple[Listing, Listing | None, list[tuple[str, int]]]:
    """What a manifest has to learn from, to score with, and of other parts; where it names no part to learn from, that is all."""
    rows = _rows(path, separator)
    parts: dict[str, list[Labelled]] = {}
    for row in rows:
        parts.setdefault(word_of(row.part), []).append((row.file, row.labels))
    learn = next((word for word in LEARN if word in parts), None)
    if learn is None:
        return _listing(path, [(row.file, row.labels) for row in rows], (), None, separator), None, []
    score = next((word for word in SCORE if word in parts), None)
    known = _listing(path, parts.pop(learn), (), None, separator)
    others = [(f"of part {word or 'unknown'}", len(found)) for word, found in sorted(parts.items()) if word != score]
    return known, None if score is None else _listing(path, parts[score], (), known.labels, separator), others


def _rows(path: Path, separator: str, known: Sequence[str] | None = None) -> list[Row]:
    if path.suffix.lower() not in MANIFESTS or not path.is_file():
        raise ValueError(f"{path}: expected a folder of class sub-folders, or a manifest {', '.join(sorted(MANIFESTS))}")
    return read_manifest(path, separator, known)


def read_unlabelled(folder: str | Path, labels: Sequence[str]) -> Listing:
    """All pictures in a folder and below it, for learning from a teacher. Raises ValueError if there are none."""
    if not Path(folder).is_dir():
        raise ValueError(f"{folder}: expected a folder with pictures")
    found = find_pictures(folder)
    if not found.files:
        raise ValueError(f"{folder}: expected a folder with pictures ({', '.join(sorted(SUFFIXES))})")
    return Listing(found.files, (UNLABELLED,) * len(found.files), tuple(labels), found.left_out)


def concatenate(one: Listing, other: Listing) -> Listing:
    return Listing(one.files + other.files, one.targets + other.targets, one.labels, _sum(one.left_out, other.left_out), one.many)


def split(listing: Listing, share: float, seed: int) -> tuple[Listing, Listing]:
    """A share of every class held out, at least one picture: (to learn from, to score with), the same for the same seed.

    Raises ValueError if a class has too few pictures to do both.
    """
    members_of: dict[int, list[int]] = {target: [] for target in range(len(listing.labels))}
    for index, target in enumerate(listing.targets):
        for place in places(target) or (len(listing.labels),):  # pictures without a label are a group of their own
            members_of.setdefault(place, []).append(index)
    held, decided = np.zeros(len(listing.targets), bool), np.zeros(len(listing.targets), bool)
    # Where pictures have many labels: first those of the rarest label, of which the others then lack as many.
    for target in sorted(members_of, key=lambda one: (len(members_of[one]), one)) if listing.many else members_of:
        members = np.array(members_of[target])
        if len(members) < 2 and target < len(listing.labels):
            label = listing.labels[target]
            raise ValueError(f"class {label!r}: expected at least two pictures, one to learn from and one to score with")
        count = min(max(1, round(share * len(members))), len(members) - 1) - int(held[members].sum())
        free = members[~decided[members]]
        held[np.random.default_rng((seed, target)).permutation(free)[: max(0, count)]] = True
        decided[free] = True
    for members in map(np.array, members_of.values()):
        if len(members) and held[members].all():  # each held for another label of it
            held[members[0]] = False
    return replace(_chosen(listing, ~held), left_out=listing.left_out), _chosen(listing, held)


def _chosen(listing: Listing, mask: np.ndarray) -> Listing:
    kept = np.flatnonzero(mask)
    return Listing(
        tuple(listing.files[i] for i in kept), tuple(listing.targets[i] for i in kept), listing.labels, many=listing.many
    )


def _folder(folder: Path, separator: str, may_be_empty: bool) -> tuple[list[Labelled], LeftOut]:
    """Pairs of file and classes, and what was left out; classes to score with `may_be_empty`."""
    found, left_out = [], Counter[str]()
    for child in sub_folders(folder):
        inside = find_pictures(child)
        if not inside.files and not may_be_empty:
            raise ValueError(f"{child}: a class with no pictures ({', '.join(sorted(SUFFIXES))})")
        labels = split_labels(child.name, separator)
        if not labels and not separator:
            raise ValueError(f"{folder}: a sub-folder is called {child.name!r}, which names no class")
        found += [(file, labels) for file in inside.files]
        left_out.update(dict(inside.left_out))
    if not found:
        raise ValueError(f"{folder}: expected one sub-folder for each class, found none{_inner(folder)}")
    loose = sum(1 for entry in folder.iterdir() if entry.suffix.lower() in SUFFIXES and not entry.is_dir())
    if loose:
        left_out["beside the folders of classes"] = loose
    return found, tuple(sorted(left_out.items()))


def _sum(one: LeftOut, other: LeftOut) -> LeftOut:
    return tuple(sorted((Counter(dict(one)) + Counter(dict(other))).items()))
