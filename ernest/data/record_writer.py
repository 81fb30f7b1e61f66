"""Writes records to a folder, equal pictures, videos and sounds once; `ernest.data.records` reads them."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ernest.config.media import FILE, USUAL, MediaSpec, to_json
from ernest.data import media
from ernest.data.arrays import ArrayWriter
from ernest.data.record_line import ROLES, row_shape
from ernest.data.records import LINES
from ernest.sequence.record import Kind, Record, Segment
from ernest.storage import write_folder

_SUFFIX = {"image": "png", "video": "webp", "audio": "wav"}


def save_records(folder: Path | str, records: Iterable[Record], spec: MediaSpec = USUAL) -> int:
    """Write `records` to the new folder `folder`, and return their number.

    Everything is written aside and renamed at the end. Equal pictures, videos and sounds are stored once. What
    has the sizes of `spec` comes back exactly; tuples among the facts come back as lists. Raises ValueError
    if `folder` exists and is not empty, if there is no record, or if the facts are no JSON.
    """
    folder = Path(folder)
    check_new(folder)
    with write_folder(folder) as aside, RecordWriter(aside, spec) as writer:
        for record in records:
            writer.write(record)
        if not writer.count:
            raise ValueError(f"{folder}: there is no record to write")
    return writer.count


def check_new(folder: Path) -> None:
    """Raises ValueError if `folder` exists and is not empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists already: records are written to a new folder")


class RecordWriter:
    """Writes records, whose media have the sizes and rates of `spec`, one by one into a folder that exists."""

    def __init__(self, folder: Path, spec: MediaSpec = USUAL) -> None:
        self.folder, self.count, self.spec = str(folder), 0, spec
        (folder / FILE).write_text(to_json(spec), encoding="utf-8")
        self.lines = (folder / LINES).open("w", encoding="utf-8")
        (folder / "media").mkdir()
        self.arrays = ArrayWriter(folder / "media")
        self.written: dict[str, dict[str, Any]] = {}
        self.last: tuple[np.ndarray | None, str] = None, ""

    def __enter__(self) -> "RecordWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.arrays.finish()
        self.lines.close()

    def write(self, record: Record) -> None:
        """Raises ValueError if the facts are no JSON."""
        self.count += 1
        content = {
            "task": record.task,
            "segments": [self._stored(segment) for segment in record.segments],
            "facts": dict(record.facts),
        }
        try:
            self.lines.write(json.dumps(content, ensure_ascii=False, allow_nan=False, default=_plain) + "\n")
        except (TypeError, ValueError) as error:
            raise ValueError(f"record {self.count}: its facts cannot be written as JSON: {error}") from error

    def digest(self, data: np.ndarray) -> str:
        """A name for the content of a picture, video or sound; that of the last one is kept, since records come in pairs."""
        if self.last[0] is not data:
            digest = hashlib.sha256(repr(data.shape).encode() + data.tobytes()).hexdigest()[:24]
            self.last = data, digest
        return self.last[1]

    def _stored(self, segment: Segment) -> dict[str, Any]:
        content: dict[str, Any] = {"kind": segment.kind, "role": ROLES[segment.made]}
        if segment.kind == "text":
            return content | {"text": segment.data} | ({"others": segment.others} if segment.others else {})
        key = f"{segment.kind} {self.digest(segment.data)}"
        if key not in self.written:
            self.written[key] = self._write_media(segment.kind, segment.data, key[-24:])
        content |= self.written[key]
        if segment.voice:
            content |= {"voice": segment.voice}
        if segment.kind == "video":
            content |= {"open": segment.open, "frames": len(segment.data)}
        return content

    def _write_media(self, kind: Kind, data: np.ndarray, digest: str) -> dict[str, Any]:
        """Where the data lie: in the array of their kind, or, of another size, in a file of their own."""
        rows = data[None] if kind == "image" else data
        if (rows.dtype, rows.shape[1:]) == row_shape(kind, self.spec):
            return {"file": f"media/{kind}.npy", "rows": list(self.arrays.append(kind, rows))}
        name = f"media/{digest[:2]}/{digest}.{_SUFFIX[kind]}"
        os.makedirs(f"{self.folder}/media/{digest[:2]}", exist_ok=True)
        path = f"{self.folder}/{name}"
        if kind == "image":
            media.write_image(path, data)
        elif kind == "video":
            media.write_video(path, data, self.spec.frame_rate)
        else:
            media.write_audio(path, data, self.spec.sample_rate)
        return {"file": name}


def _plain(value: Any) -> Any:
    """Numbers and arrays of numpy as JSON knows them."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{value!r} of type {type(value).__name__}")
