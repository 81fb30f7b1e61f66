"""Lists picture files with their classes from a folder of class sub-folders or a manifest, and splits off a validation part."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ernest.lcnet.image_io.find import SUFFIXES, find_pictures, printable
from ernest.lcnet.training.manifest import MANIFESTS, clean_label, read_manifest
from ernest.lcnet.training.parts import find_parts, sub_folders

UNLABELLED = -1

LeftOut = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Listing:
    """Files, their targets (places in `labels`, or -1 for unlabelled ones) and the names of the classes.

    `left_out` says of files in the same folders that were not taken why, and how many they are.
    """

    files: tuple[Path, ...]
    targets: tuple[int, ...]
    labels: tuple[str, ...]
    left_out: LeftOut = ()


def read_parts(data: Path, validation: Path | None, share: float, seed: int) -> tuple[Listing, Listing]:
    """Pictures to learn from and pictures to score with, from a folder or a manifest.

    The latter come from `validation`, or from a folder beside the one to learn from (`find_parts`), or are a `share` of each
    class. Raises ValueError as `read_listing` and `find_parts` do.
    """
    parts = find_parts(data) if data.is_dir() else None
    learn = read_listing(parts.learn if parts else data)
    if validation is not None:
        return learn, read_listing(validation, learn.labels)
    if parts is None or parts.score is None:
        return split(learn, share, seed)
    others = tuple((f"in {printable(folder.name)}", len(find_pictures(folder).files)) for folder in parts.others)
    learn = replace(learn, left_out=_sum(learn.left_out, tuple(other for other in others if other[1])))
    return learn, read_listing(parts.score, learn.labels)


def read_listing(path: str | Path, labels: Sequence[str] | None = None) -> Listing:
    """The pictures of a folder, one sub-folder a class, or of a manifest with columns `file` and `label`.

    A manifest is CSV, TSV or one JSON object a line; its files are relative to its folder. Classes are sorted by name, unless
    `labels` gives them: then the data may lack some of them and must have no others.
    Raises ValueError, which names the folder or the line: a class without pictures, fewer than two classes, missing files.
    """
    path, left_out = Path(path), ()
    if path.is_dir():
        found, left_out = _folder(path, may_be_empty=labels is not None)
    elif path.suffix.lower() in MANIFESTS and path.is_file():
        found = read_manifest(path)
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
    return Listing(tuple(file for file, _ in found), tuple(target_of[name] for _, name in found), tuple(labels), left_out)


def read_unlabelled(folder: str | Path, labels: Sequence[str]) -> Listing:
    """All pictures in a folder and below it, for learning from a teacher. Raises ValueError if there are none."""
    if not Path(folder).is_dir():
        raise ValueError(f"{folder}: expected a folder with pictures")
    found = find_pictures(folder)
    if not found.files:
        raise ValueError(f"{folder}: expected a folder with pictures ({', '.join(sorted(SUFFIXES))})")
    return Listing(found.files, (UNLABELLED,) * len(found.files), tuple(labels), found.left_out)


def concatenate(one: Listing, other: Listing) -> Listing:
    return Listing(one.files + other.files, one.targets + other.targets, one.labels, _sum(one.left_out, other.left_out))


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
    return replace(_chosen(listing, ~held), left_out=listing.left_out), _chosen(listing, held)


def _chosen(listing: Listing, mask: np.ndarray) -> Listing:
    places = np.flatnonzero(mask)
    return Listing(tuple(listing.files[i] for i in places), tuple(listing.targets[i] for i in places), listing.labels)


def _folder(folder: Path, may_be_empty: bool) -> tuple[list[tuple[Path, str]], LeftOut]:
    """Pairs of file and class, and what was left out; classes to score with `may_be_empty`."""
    found, left_out = [], Counter[str]()
    for child in sub_folders(folder):
        inside = find_pictures(child)
        if not inside.files and not may_be_empty:
            raise ValueError(f"{child}: a class with no pictures ({', '.join(sorted(SUFFIXES))})")
        found += [(file, clean_label(child.name)) for file in inside.files]
        left_out.update(dict(inside.left_out))
    if not found:
        raise ValueError(f"{folder}: expected one sub-folder for each class, found none")
    loose = sum(1 for entry in folder.iterdir() if entry.suffix.lower() in SUFFIXES and not entry.is_dir())
    if loose:
        left_out["beside the folders of classes"] = loose
    return found, tuple(sorted(left_out.items()))


def _sum(one: LeftOut, other: LeftOut) -> LeftOut:
    return tuple(sorted((Counter(dict(one)) + Counter(dict(other))).items()))
