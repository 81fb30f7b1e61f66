"""A picture, film or sound wherever it lies: a file, a part of an archive, or bytes; and errors that name it in one line."""

import importlib
import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from PIL import Image, UnidentifiedImageError


@dataclass(frozen=True, slots=True)
class MediaFile:
    """`name` is what messages call it. Its bytes are the file `path`, or `size` of them from `offset` on, or `content`."""

    name: str
    path: str
    offset: int = 0
    size: int | None = None
    content: bytes | None = None

    def open(self) -> BinaryIO:
        """The bytes, to be read from the start and in any order. Raises ValueError where there is no such file, or it may not be
        read."""
        if self.content is not None:
            return io.BytesIO(self.content)
        if not os.path.isfile(self.path):  # a pipe would wait for ever
            raise ValueError(f"{self.name}: there is no such file")
        try:
            return open(self.path, "rb") if self.size is None else io.BufferedReader(_Part(self.path, self.offset, self.size))
        except OSError as error:
            raise ValueError(f"{self.name}: cannot be read: {error.strerror}") from error


Source = Path | str | MediaFile


def media_file(source: Source) -> MediaFile:
    """The file that `source` names."""
    return source if isinstance(source, MediaFile) else MediaFile(str(source), str(source))


class _Part(io.RawIOBase):
    """`size` bytes of a file, as a file."""

    def __init__(self, path: str, offset: int, size: int) -> None:
        self.file = open(path, "rb", buffering=0)  # noqa: SIM115
        self.offset, self.size, self.place = offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.place = max(0, (0, self.place, self.size)[whence] + offset)
        return self.place

    def readinto(self, buffer: Any, /) -> int:
        self.file.seek(self.offset + self.place)
        count = self.file.readinto(memoryview(buffer)[: max(0, self.size - self.place)]) or 0
        self.place += count
        return count

    def close(self) -> None:
        self.file.close()
        super().close()


# ------------------------------------------------------------------ faults

TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)
"""What Pillow says of pictures of more pixels than its limit."""


@contextmanager
def strictly() -> Iterator[None]:
    """Libraries warn about odd metadata in good files, which is ignored; a picture too large to be honest is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@contextmanager
def naming(file: MediaFile, noun: str) -> Iterator[None]:
    """Turns whatever the libraries raise on a broken file into a ValueError of one line that names it."""
    try:
        with strictly():
            yield
    except ImportError:
        raise
    except TOO_LARGE as error:
        raise ValueError(f"{file.name}: a {noun} too large to be read: {str(error).partition(', could')[0]}") from error
    except Exception as error:
        if isinstance(error, ValueError) and str(error).startswith(f"{file.name}: "):
            raise
        known = " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())
        reason = "no format that can be read" if isinstance(error, UnidentifiedImageError) else known
        raise ValueError(f"{file.name}: not a {noun} that can be read: {reason}") from error


def library(name: str, file: MediaFile) -> ModuleType:
    """The optional library `name`, or an error that says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{file.name}: this format needs the package {name}: pip install 'ernest-ai[media]'") from error
