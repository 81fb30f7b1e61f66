"""Writes files and folders whole or not at all: aside, synced, renamed. Nothing is removed that was not written here."""

import errno
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ernest.storage.ownership import flock

ASIDE = ".aside-"
"""Before the name of a folder in which a writer works beside what it writes."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskFullError(OSError):
    """The disk is full; the message is one line."""

    def __init__(self, path: Path, need: int | None, why: str = "No space left on device") -> None:
        needed = "" if need is None else f"{need / 1e6:.1f} MB needed, "
        message = f"{needed}{free_bytes(path) / 1e6:.1f} MB free; make room and start again"
        super().__init__(f"{path}: could not be written ({why}): {message}")

    def __reduce__(self) -> tuple:
        return OSError, (str(self),)  # on its way between processes it needs no path


def free_bytes(path: str | Path) -> int:
    """Free bytes on the disk where `path` is or will be."""
    real = _real(Path(path).absolute())
    return shutil.disk_usage(next(folder for folder in (real, *real.parents) if folder.is_dir())).free


def check_writable(path: str | Path) -> None:
    """Raises ValueError where nothing can be written to `path`, before the work whose result it is to hold."""
    path = Path(path).absolute()
    above = next(folder for folder in path.parents if os.path.lexists(folder))
    if not above.is_dir():
        raise ValueError(f"{path} cannot be written: {above} is no folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ValueError(f"{path} cannot be written: {above} does not permit it")


def check_new(folder: str | Path) -> None:
    """Raises ValueError where something is in the place of a new folder, or where none can be made."""
    if Path(folder).exists():
        raise ValueError(f"{folder} exists already: choose a new folder")
    check_writable(folder)


def check_file(path: str | Path) -> None:
    """As `check_writable`, of a file: raises ValueError for a folder too."""
    check_writable(path)
    if Path(path).is_dir():
        raise ValueError(f"{path} is a folder, which would be lost: move it, or choose another name")


def check_replaceable(folder: str | Path) -> None:
    """Raises ValueError where a folder is there that a new one cannot take the place of: a mount point, as volumes of containers
    are, or the folder from which relative paths are seen, which would be gone."""
    here = os.path.realpath(folder)
    if here == os.path.realpath(os.curdir):
        raise ValueError(f"{folder} is the folder that you are in, which cannot be replaced: name a new one in it")
    if os.path.ismount(here):
        raise ValueError(f"{folder} is where a disk begins, which cannot be replaced: name a new folder in it")


@contextmanager
def write_file(path: str | Path, need: int | None = None, mine: Callable[[Path], bool] | None = None) -> Iterator[Path]:
    """Yields a path beside `path`; the file (or folder) that the body writes there takes the place of `path` at the end.

    Other files that the body writes beside it move along, before it: a model may have a second file. After an error or a kill
    `path` is as it was. Files of a folder that have no counterpart in the new one stay, unless `mine` knows them as made by an
    earlier writer. Raises ValueError, and replaces nothing, where a folder lies in the way of a file, a file in that of a
    folder, or one that is not `mine` in that of a file which the caller did not name. Raises DiskFullError; `need` is the number
    of bytes to tell then.
    """
    path = Path(path).absolute()
    real = _real(path)
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(real)
        folder, lock = _new_folder(real)
        try:
            yield folder / path.name
            entries = sorted(folder.iterdir(), key=lambda entry: entry.name == path.name)
            targets = [_real(path.with_name(entry.name)) for entry in entries]
            for entry, target in zip(entries, targets, strict=True):
                _sync(entry)
                _keep_others(entry, target, None if target == real and entry.is_file() else mine)
            for entry, target in zip(entries, targets, strict=True):
                _replace(entry, target)
            _sync_one(real.parent)
        finally:
            _discard(folder, real)
            if lock is not None:
                os.close(lock)
    except OSError as error:
        if error.errno not in FULL or isinstance(error, DiskFullError):
            raise
        raise DiskFullError(path, need, os.strerror(error.errno)) from None


@contextmanager
def write_folder(path: str | Path, need: int | None = None, mine: Callable[[Path], bool] | None = None) -> Iterator[Path]:
    """A new folder with the name of `path`, which takes the place of `path` when the body is done; what was there goes last.

    Files that only the old one has stay in it, but for those that are `mine`: see `write_file`.
    """
    with write_file(path, need, mine) as aside:
        aside.mkdir()
        yield aside


def remove_files(folder: Path, *patterns: str) -> None:
    """Removes the files in `folder` of these patterns of names, and folders that this leaves empty; all else stays."""
    for file in [file for pattern in patterns for file in folder.glob(pattern) if file.is_file()]:
        file.unlink()
        for above in file.parents:
            if not above.is_relative_to(folder) or any(above.iterdir()):
                break
            above.rmdir()


def append_line(path: str | Path, line: str) -> None:
    """Adds a line of UTF-8 to a file. Raises DiskFullError."""
    try:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskFullError(Path(path), len(line), os.strerror(error.errno)) from None


def read_json(path: str | Path) -> dict[str, Any]:
    """The object that a JSON file holds. Raises ValueError, which names the file, where it holds none."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: damaged: expected a table")
    return found


def read_log(path: str | Path) -> list[dict[str, Any]]:
    """The JSON objects of a log, one a line, up to a line that is none: a kill may have torn the last."""
    return [entry for _, entry in log_lines(path)]


def log_lines(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The lines that `read_log` reads, each with its object."""
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            return
        if not isinstance(told, dict):
            return
        yield line, told


def write_text(path: str | Path, text: str) -> None:
    """Writes UTF-8."""
    content = text.encode()
    with write_file(path, len(content)) as aside:
        aside.write_bytes(content)


def _new_folder(path: Path) -> tuple[Path, int | None]:
    """A folder beside `path` for this writer alone, and its lock, which dies with the process: others can tell what was left.

    Windows has no such lock: what killed writers left stays there.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.parent))
        if sys.platform == "win32":
            return folder, None
        with suppress(FileNotFoundError):  # taken for a leftover before it was locked
            lock = os.open(folder, os.O_RDONLY)
            flock(lock)
            if folder.is_dir():
                return folder, lock
            os.close(lock)


def is_leftover(path: Path) -> bool:
    """Whether a writer that was killed may have left it: the next one clears it away."""
    return path.name.startswith(ASIDE)


def _prefix(path: Path) -> str:
    return f"{ASIDE}{path.name[:64]}-"


def _clear_leftovers(path: Path) -> None:
    """Removes what killed writers of `path` left beside it."""
    if sys.platform == "win32":
        return
    for folder in [entry for entry in path.parent.iterdir() if entry.name.startswith(_prefix(path))]:
        with suppress(OSError):  # gone meanwhile, or its writer lives
            lock = os.open(folder, os.O_RDONLY)
            try:
                flock(lock, wait=False)
                _discard(folder, path)
            finally:
                os.close(lock)


def _real(path: Path) -> Path:
    """Where `path` leads: a link that the user set stays one."""
    return Path(os.path.realpath(path))


def _keep_others(new: Path, old: Path, mine: Callable[[Path], bool] | None) -> None:
    """Gives `new`, which is about to take the place of `old`, a second link to whatever its writer did not make in `old`."""
    if not os.path.lexists(old):
        return
    if new.is_dir() != old.is_dir():
        kind = "folder" if old.is_dir() else "file"
        raise ValueError(f"{old} is a {kind}, which would be lost: move it, or choose another name")
    if not new.is_dir():
        _check_mine(old, mine)
        return
    for name, folders, files in os.walk(old, onerror=_give_up):
        inside = new / Path(name).relative_to(old)
        if inside.is_file():
            raise ValueError(f"{name} is a folder, which would be lost: move it, or choose another name")
        links = [folder for folder in folders if Path(name, folder).is_symlink()]
        if not folders and not files:
            inside.mkdir(parents=True, exist_ok=True)
        for file in (*files, *links):
            found, place = Path(name, file), inside / file
            if place.is_dir():
                raise ValueError(f"{found} would be lost: move it, or choose another name")
            if os.path.lexists(place):
                _check_mine(found, mine)
            elif mine is None or not mine(found):
                inside.mkdir(parents=True, exist_ok=True)
                _link(found, place)
        if inside.is_dir():
            _sync_one(inside)


def _give_up(error: OSError) -> None:
    raise error


def _check_mine(found: Path, mine: Callable[[Path], bool] | None) -> None:
    if mine is not None and not mine(found):
        raise ValueError(f"{found} was not made here and would be lost: move it, or choose another name")


def _link(found: Path, place: Path) -> None:
    """A second name for a file, or a copy where the file system has no such thing."""
    try:
        os.link(found, place, follow_symlinks=False)
    except OSError:
        shutil.copy2(found, place, follow_symlinks=False)


def _replace(entry: Path, target: Path) -> None:
    """Renames `entry` to `target`. Linux swaps it with a folder in one step; elsewhere a folder first moves out of the way."""
    if target.is_dir():
        if _swap(entry, target):
            return
        os.replace(target, entry.with_name(_MOVED + target.name))
    os.replace(entry, target)


_MOVED = "replaced-"
"""Before the name of what had to move out of the way."""


def _swap(one: Path, other: Path) -> bool:
    if sys.platform != "linux":
        return False
    import ctypes

    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename is not None and rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def _discard(folder: Path, path: Path) -> None:
    """Removes a writer's folder; what had to move out of the way and was not replaced goes back."""
    for moved in folder.glob(f"{_MOVED}*"):
        home = path.with_name(moved.name.removeprefix(_MOVED))
        if not os.path.lexists(home):
            os.replace(moved, home)
    shutil.rmtree(folder, ignore_errors=True)


def _sync(entry: Path) -> None:
    for inner in [*entry.rglob("*"), entry]:
        if inner.is_file() or inner.is_dir():
            _sync_one(inner)


def _sync_one(entry: Path) -> None:
    windows = sys.platform == "win32"  # which syncs what is open for writing, and no folders
    if windows and entry.is_dir():
        return
    number = os.open(entry, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
