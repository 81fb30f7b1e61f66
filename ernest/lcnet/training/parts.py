"""Recognises the parts of a data set among sub-folders (train beside val, Training beside Testing), which are no classes."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ernest.lcnet.image_io.find import find_pictures, is_copy_or_hidden

LEARN = ("train", "training", "trainset")
SCORE = ("val", "valid", "validation", "valset", "dev", "devset", "eval", "evaluation", "test", "testing", "testset")
"""Words for the part to score with, the preferred ones first: what is kept for the very end comes last."""

FILLER = frozenset(("data", "dataset", "image", "images", "img", "imgs", "part", "photos", "pictures", "seg", "set", "split"))


@dataclass(frozen=True)
class Parts:
    """The folder to learn from, the one to score with if there is one, and other sub-folders, which are left alone."""

    learn: Path
    score: Path | None
    others: tuple[Path, ...]


def find_parts(folder: Path) -> Parts | None:
    """The parts of a data set; None where the sub-folders are classes.

    Parts are told by their names, whatever the case and with fillers such as seg_train or train2017; one that holds nothing but
    another folder of its kind is entered, and one with pictures of no class is not scored with. Raises ValueError where there are
    two to learn from, and where all sub-folders hold the same ones, so that they are no classes but parts under other names; of
    train beside another, and of fold1 and fold2, some may lack a class.
    """
    inside = sub_folders(folder)
    learn = [path for path in inside if word_of(path.name) in LEARN]
    score = sorted((path for path in inside if word_of(path.name) in SCORE), key=lambda path: SCORE.index(word_of(path.name)))
    if not learn or not (score or len(inside) == 1):
        _refuse_same_insides(folder, inside)
        return None
    if len(learn) > 1:
        names = " and ".join(path.name for path in learn)
        raise ValueError(f"{folder}: {names} are both to learn from: put them together, or name one, with --validation")
    score = [path for path in score if sub_folders(path) or not has_pictures(path)]
    others = tuple(path for path in inside if path not in (learn[0], *score[:1]))
    return Parts(_entered(learn[0], LEARN), _entered(score[0], SCORE) if score else None, others)


def sub_folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, without hidden ones and those of copies."""
    return sorted(child for child in folder.iterdir() if os.path.isdir(child) and not is_copy_or_hidden(child.name))


def has_pictures(folder: Path) -> bool:
    """Whether pictures lie in a folder itself, not in one below it."""
    return any(file.parent == folder for file in find_pictures(folder).files)


def word_of(name: str) -> str:
    """What is left of a folder's name without case, digits and fillers, if it is a single word; else nothing."""
    words = [word for word in re.split(r"[^a-z]+", name.casefold()) if word and word not in FILLER]
    return words[0] if len(words) == 1 else ""


def _entered(folder: Path, words: tuple[str, ...]) -> Path:
    """Archives often hold seg_train/seg_train."""
    inside = sub_folders(folder)
    return inside[0] if len(inside) == 1 and word_of(inside[0].name) in words else folder


def _refuse_same_insides(folder: Path, inside: list[Path]) -> None:
    try:
        names = [{child.name for child in sub_folders(path)} for path in inside]
    except OSError:  # one that cannot be read: its reader complains
        return
    if len(inside) < 2 or not (names[0] and _are_the_same(names, [path.name for path in inside])):
        return
    if any(map(has_pictures, inside)):
        return
    shown, same = ", ".join(path.name for path in inside[:3]), ", ".join(sorted(set.intersection(*names))[:3])
    raise ValueError(
        f"{folder}: {shown} hold the same sub-folders ({same}): are they parts of the data rather than classes? "
        "Name one to learn from, and another with --validation; or list files and labels in a manifest"
    )


def _are_the_same(insides: list[set[str]], names: list[str]) -> bool:
    """Whether folders of these names hold the same; where their names say so, too, all that one of the others holds will do."""
    if all(len(inside) > 1 and inside == insides[0] for inside in insides):
        return True
    most = max(insides, key=len)
    alike = any(word_of(name) in LEARN for name in names) or len({re.sub("[0-9]+", "", name) for name in names}) == 1
    return alike and len(most) > 1 and all(inside <= most for inside in insides) and bool(set.intersection(*insides))
