"""Reads parquet files as `datasets` of Hugging Face and others write them: media as bytes in a column, captions or classes in
another, or rows that are documents."""

import importlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ernest.data.media import kind_of
from ernest.data.mediafile import MediaFile
from ernest.data.table_rows import NoTable, Row, texts_of
from ernest.data.tables import choose_text_column, join_numbered

_BYTES = ("binary", "large_binary")
_ROWS = 16
"""Rows whose media are in memory at one time."""


@dataclass(frozen=True)
class ParquetMedia:
    """A file's column of media, and the captions of each row; an empty list where a row has none."""

    path: str
    column: str
    texts: list[list[str]]
    note: str

    def files(self, name: str) -> Iterator[tuple[str, MediaFile]]:
        """Each row's medium by its name. One that is given by its path is looked for beside the parquet file."""
        number = 0
        with _open(self.path) as file:
            for batch in file.iter_batches(_ROWS, columns=[self.column]):
                for cell in batch.column(0).to_pylist():
                    where = f"{self.path}, row {number}"
                    held: dict[str, Any] = {"bytes": cell} if isinstance(cell, bytes) else cell or {}
                    content = held.get("bytes")
                    if content is not None:
                        yield f"{name}/{number}", MediaFile(where, "", content=content)
                    else:
                        path = os.path.join(os.path.dirname(self.path), held.get("path") or "?")
                        yield f"{name}/{number}", MediaFile(f"{where}: no bytes, but the path {path}", path)
                    number += 1


def read_parquet(path: str, text_column: str | None) -> ParquetMedia:
    """Its columns and captions, without its media. Raises NoTable where it has no media or no captions."""
    with _open(path) as file:
        schema = file.schema_arrow
        media = [field.name for field in schema if "bytes" in {inner.name for inner in _inner(field.type)}]
        media = media or [field.name for field in schema if str(field.type) in _BYTES and _begins_a_medium(file, field.name)]
        if not media:
            raise NoTable(f"{path}: no column of media, each with bytes")
        others = [name for name in schema.names if name not in media and not _inner(schema.field(name).type)]
        values = file.read(columns=others).to_pydict()
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    for name in others:
        classes = features.get(name, {}).get("names") if isinstance(features.get(name), dict) else None
        if classes:
            values[name] = [classes[value] if value is not None and 0 <= value < len(classes) else None for value in values[name]]
    rows: Sequence[Row] = [
        (number, dict(zip(others, row, strict=True))) for number, row in enumerate(zip(*values.values(), strict=True))
    ]
    if not text_column:
        others, rows = join_numbered(others, rows)
    column, note = choose_text_column(path, [media[0], *others], rows, media[0], text_column)
    return ParquetMedia(path, media[0], [texts_of(row.get(column)) for _, row in rows], note)


def _begins_a_medium(file: Any, column: str) -> bool:
    """Whether the first bytes of a column of bytes are those of a picture, a sound or a film, and not of a number."""
    cells = next(file.iter_batches(_ROWS, columns=[column]), None)
    first = next((cell for cell in cells.column(0).to_pylist() if cell), b"") if cells is not None else b""
    return kind_of(MediaFile(column, "", content=first)) is not None


def read_rows(path: str) -> Iterator[dict[str, Any]]:
    """The rows of a file, of which few are in memory at one time. Raises NoTable where it cannot be read."""
    with _open(path) as file:
        for batch in file.iter_batches(_ROWS):
            yield from batch.to_pylist()


def table_rows(path: str) -> list[Row]:
    """The rows of a file without media, numbered from 1. Raises NoTable where it cannot be read."""
    with _open(path) as file:
        columns = [field.name for field in file.schema_arrow if str(field.type) not in _BYTES]
        return list(enumerate(file.read(columns=columns).to_pylist(), 1))


def _inner(kind: Any) -> list[Any]:
    return [kind.field(number) for number in range(kind.num_fields)] if str(kind).startswith("struct") else []


def _open(path: str) -> Any:
    try:
        return importlib.import_module("pyarrow.parquet").ParquetFile(path)
    except ImportError as error:
        raise NoTable(f"{path}: parquet needs the package pyarrow: pip install 'ernest-ai[parquet]'", names_files=True) from error
    except Exception as error:
        raise NoTable(f"{path}: no parquet file that can be read: {' '.join(str(error).split())}") from error
