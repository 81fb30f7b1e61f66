"""Arrays too large for memory: grown on disk a few rows at a time, one .npy file each, and mapped when they are read."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np


class ArrayWriter:
    """Grows arrays by name. Rows of one name have one type and one shape, those of its first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, BinaryIO] = {}
        self.kinds: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}
        self.lengths: dict[str, int] = {}

    def append(self, name: str, rows: np.ndarray) -> tuple[int, int]:
        """Adds `rows` `[n, ...]`; returns where they begin and end in the array."""
        kind = rows.dtype, rows.shape[1:]
        if name not in self.files:
            self.files[name] = (self.folder / f"{name}.npy").open("wb")
            self.kinds[name], self.lengths[name] = kind, 0
            self.files[name].write(_header(*kind, 0))
        if kind != self.kinds[name]:
            raise ValueError(
                f"{name}: rows of {kind[0]} {list(kind[1])} after rows of {self.kinds[name][0]} {self.kinds[name][1]}"
            )
        self.files[name].write(np.ascontiguousarray(rows).data)
        start = self.lengths[name]
        self.lengths[name] = start + len(rows)
        return start, self.lengths[name]

    def finish(self) -> None:
        """Writes the lengths, which are known only now."""
        for name, file in self.files.items():
            file.seek(0)
            file.write(_header(*self.kinds[name], self.lengths[name]))
        self.close()

    def close(self) -> None:
        for file in self.files.values():
            file.close()


@contextmanager
def write_arrays(folder: Path) -> Iterator[ArrayWriter]:
    """A writer of arrays into `folder`, which are complete when the body is done."""
    writer = ArrayWriter(folder)
    try:
        yield writer
        writer.finish()
    finally:
        writer.close()


def map_arrays(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of a folder by name, read from disk where they are touched. Raises ValueError that names a damaged file."""
    arrays = {}
    for path in sorted(folder.glob("*.npy")):
        try:
            arrays[path.stem] = np.load(path, mmap_mode="r")
        except (ValueError, EOFError) as error:
            raise ValueError(f"{path}: damaged: {error}") from None
    return arrays


def _header(dtype: np.dtype, shape: tuple[int, ...], length: int) -> bytes:
    """The head of an .npy file, which numpy pads so that its size does not hang on the length."""
    head = io.BytesIO()
    fields = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length, *shape)}
    np.lib.format.write_array_header_1_0(head, fields)
    return head.getvalue()
