"""Finds the picture files in folders, follows links, leaves copies and hidden files out, and counts what was left out."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = frozenset(
    {".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".j2k", ".jfif", ".jif", ".jp2", ".jpe", ".jpeg", ".jpg", ".jpx"}
    | {".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
"""What is taken for a picture in a folder, beside files of no known kind that begin as pictures do; a file that is named may be
called anything."""

COPIES = frozenset(
    ("@eadir", "@recycle", "@recently-snapshot", "@tmp", "#recycle", "#snapshot", "$recycle.bin", "__macosx", "lost+found")
)
"""Folders, in small letters, in which network storage and systems keep thumbnails and what was deleted; hidden ones count too."""

ENDING = re.compile(r"\.[0-9_~-]*[a-z][a-z0-9_~-]{0,11}")
"""What tells a kind of files; the numbers of `frame.0001` and the rest of an address in `1.jpg?width=64` do not."""

MOST_REASONS = 8

POINTER = b"version https://git-lfs"
UNFETCHED = "a pointer of Git LFS to a file that has not been fetched: git lfs pull"
"""How files begin that a repository was cloned without, and what they are."""

BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*", b"BM")
SNIFFED = 16


@dataclass(frozen=True)
class FoundPictures:
    """Pictures of a folder, sorted, and how many other files there are for each reason not to take them."""

    files: tuple[Path, ...]
    left_out: tuple[tuple[str, int], ...]


def find_pictures(folder: str | Path) -> FoundPictures:
    """The pictures of a folder and of all below it; a folder that several links lead to is looked at once.

    A sub-folder that cannot be read stands among the pictures, for its reader to complain.
    """
    files, left_out = [], Counter[str]()
    for path, reason in _walk(str(folder)):
        if reason is None:
            files.append(Path(path))
        else:
            left_out[reason] += 1
    return FoundPictures(tuple(files), tuple(sorted(left_out.items())))


def name_pictures(paths: Iterable[str | Path]) -> FoundPictures:
    """Files as they are named; of a folder all pictures in it and below it. Raises ValueError if it has none."""
    files, left_out = [], Counter[str]()
    for path in map(Path, paths):
        if not os.path.isdir(path):
            files.append(path)
            continue
        inside = find_pictures(path)
        if not inside.files:
            raise ValueError(f"{path}: expected a folder with pictures ({', '.join(sorted(SUFFIXES))})")
        files += inside.files
        left_out.update(dict(inside.left_out))
    return FoundPictures(tuple(files), tuple(sorted(left_out.items())))


def is_copy_or_hidden(name: str) -> bool:
    """True of folders and files that a person does not see, or that hold copies: `.ipynb_checkpoints`, `._1.jpg`, `@eaDir`."""
    return name.startswith(".") or name.casefold() in COPIES


def describe_left_out(left_out: Iterable[tuple[str, int]]) -> str:
    """Such as "3 .txt, 2 hidden"; of many reasons the most frequent."""
    reasons = list(left_out)
    shown = sorted(reasons, key=lambda one: -one[1])[:MOST_REASONS] if len(reasons) > MOST_REASONS + 1 else reasons
    rest = sum(count for _, count in reasons) - sum(count for _, count in shown)
    return ", ".join([f"{count} {reason}" for reason, count in shown] + [f"{rest} of other kinds"] * (rest > 0))


def printable(name: str) -> str:
    r"""A name as text can hold it: bytes that are no UTF-8 become \xe9 and the like."""
    return os.fsencode(name).decode("utf-8", "backslashreplace") if not name.isascii() else name


def _walk(folder: str) -> Iterator[tuple[str, str | None]]:
    """Every file with the reason why it is not taken, None for pictures; in the order of their parts."""
    seen: set[tuple[int, int]] = set()
    waiting: list[tuple[str, os.DirEntry[str] | None]] = [(folder, None)]
    while waiting:
        path, file = waiting.pop()
        entries = [] if file else _entries(path, seen)
        if file or entries is None:
            yield path, _reason(file) if file else None
            continue
        for entry in reversed(entries):
            if not _is_folder(entry):
                waiting.append((entry.path, entry))
            elif not is_copy_or_hidden(entry.name):
                waiting.append((entry.path, None))
            else:
                yield from ((name, f"in {printable(entry.name)}") for _, _, names in os.walk(entry.path) for name in names)


def _entries(folder: str, seen: set[tuple[int, int]]) -> list[os.DirEntry[str]] | None:
    """What is in a folder, sorted; nothing if it has been looked at; None if it cannot be read."""
    try:
        status = os.stat(folder)
        place = status.st_dev, status.st_ino
        if place in seen:
            return []
        seen.add(place)
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in circles: the reader complains
        return False


def _reason(entry: os.DirEntry[str]) -> str | None:
    """Why a file is no picture; None if it is one."""
    if entry.name.startswith("."):
        return "hidden"
    ending = os.path.splitext(entry.name)[1].lower()
    if ending in SUFFIXES:
        return None
    if ENDING.fullmatch(ending):
        return printable(ending)
    return None if _begins_as_picture(entry) else "without an ending"


def _begins_as_picture(entry: os.DirEntry[str]) -> bool:
    try:
        if not entry.is_file():  # a pipe would be waited for
            return False
        with open(entry.path, "rb") as file:
            head = file.read(SNIFFED)
    except OSError:
        return False
    return head.startswith(BEGINNINGS) or head[8:12] == b"WEBP" or head[4:12] in (b"ftypavif", b"ftypheic")
