"""Writing aside: a file or folder that is there is whole, whatever stopped the program."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """A free name beside `path`, with its ending, for a file or a folder that takes the place of `path` when all is written.

    If writing fails, what was at `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part, old = (path.with_name(f".{word}-{path.name}") for word in ("part", "old"))
    _remove(part)
    try:
        yield part
        for file in (part, *part.rglob("*")):
            if file.is_file():
                with file.open("rb") as written:
                    os.fsync(written.fileno())
        if path.is_dir():  # a folder with something in it cannot be renamed over
            _remove(old)
            os.replace(path, old)
        os.replace(part, path)
        _remove(old)
    finally:
        _remove(part)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
