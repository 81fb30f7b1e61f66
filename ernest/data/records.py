"""Records on disk: a folder with `records.jsonl`, one record a line (`ernest.data.record_line`), and the media files that the
lines name."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from ernest.config.media import USUAL, MediaSpec, read_media
from ernest.data.json_lines import LinesOnDisk
from ernest.data.record_line import StoredRecord, parse_line
from ernest.sequence.record import Record
from ernest.storage import fingerprint

LINES = "records.jsonl"
TOLD = 256
"""Files whose last bytes tell whether media were changed and kept their sizes, as sounds do, at least."""


class StoredRecords(Sequence[StoredRecord]):
    """Records as their lines in `folder` state them, each parsed when it is asked for: memory does not grow with their number.

    `chosen` numbers some of them, from 0. Media are brought to the sizes of `spec`.
    """

    def __init__(self, folder: Path, spec: MediaSpec = USUAL, chosen: Iterable[int] | None = None) -> None:
        self.folder, self.lines, self.spec = folder, LinesOnDisk(folder / LINES, chosen), spec
        self.written = read_media(folder)

    def __len__(self) -> int:
        return len(self.lines)

    @overload
    def __getitem__(self, index: int) -> StoredRecord: ...
    @overload
    def __getitem__(self, index: slice) -> list[StoredRecord]: ...
    def __getitem__(self, index: int | slice) -> StoredRecord | list[StoredRecord]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number = self.lines.number(index)
        try:
            return parse_line(self.lines[index], self.folder, number, self.spec, self.written)
        except ValueError as error:
            raise ValueError(f"{self.folder / LINES}, line {number}: {error}") from error


@dataclass(frozen=True)
class RecordFolder(Sequence[Record]):
    """The records of a folder, in order; media are read anew at each access."""

    path: Path
    stored: Sequence[StoredRecord]

    def __len__(self) -> int:
        return len(self.stored)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> "RecordFolder": ...
    def __getitem__(self, index: int | slice) -> "Record | RecordFolder":
        if isinstance(index, slice):
            return RecordFolder(self.path, self.stored[index])
        stored = self.stored[index]
        return Record(tuple(segment.read() for segment in stored.segments), stored.task, stored.facts)


# ------------------------------------------------------------------ reading


def load_records(folder: Path | str, spec: MediaSpec = USUAL) -> RecordFolder:
    """The records of `folder`, every line and every file of it checked, and read lazily later, at the sizes of `spec`.

    Raises ValueError that names the file, the line and the field of the first mistake.
    """
    records = read_lines(folder, spec)
    check_media(records)
    return records


def read_lines(folder: Path | str, spec: MediaSpec = USUAL) -> RecordFolder:
    """The records of `folder`; lines are checked, and no media are opened. Raises ValueError as `load_records` does."""
    folder = Path(folder)
    if not (folder / LINES).is_file():
        raise ValueError(f"{folder} is no folder of records: it has no {LINES} (`ernest import` makes one)")
    stored = StoredRecords(folder, spec)
    for _ in stored:  # each is parsed, and so checked
        pass
    if not len(stored):
        raise ValueError(f"{folder / LINES} holds no record")
    return RecordFolder(folder, stored)


def check_media(records: RecordFolder) -> None:
    """Reads each file of some records once: a broken one should stop a run before it starts, not in its last hour. Raises
    ValueError that names the line and the file."""
    readable: set[tuple[Any, ...]] = set()
    for record in records.stored:
        try:
            _check_media(record, readable)
        except ValueError as error:
            raise ValueError(f"{records.path / LINES}, line {record.line}: {error}") from error


def _check_media(record: StoredRecord, readable: set[tuple[Any, ...]]) -> None:
    for index, segment in enumerate(record.segments):
        if segment.kind == "text" or (segment.file, segment.kind, segment.rows) in readable:
            continue
        try:
            segment.data()
        except ValueError as error:
            raise ValueError(f"segments[{index}].file: {error}") from error
        readable.add((segment.file, segment.kind, segment.rows))


def media_fingerprint(records: RecordFolder) -> str:
    """A hash of what the media of some records are, wherever their folder lies: of arrays all, of other files the sizes, and of
    `TOLD` of them, evenly spread, the last bytes too."""
    segments = (segment for record in records.stored for segment in record.segments if segment.kind != "text")
    arrays: list[Path] = []
    others: list[Path] = []
    for file in dict.fromkeys(segment.file for segment in segments):
        (arrays if file.suffix == ".npy" and file.is_file() else others).append(file)
    parts: list[Path | bytes | str] = [part for file in arrays for part in (file.name, file)]
    parts += [f"{file.relative_to(records.path).as_posix()} {_size(file)}" for file in others]
    step = max(1, len(others) // TOLD)
    return fingerprint(*parts, *(_last_bytes(file) for file in others[::step]))


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else -1


def _last_bytes(file: Path) -> bytes:
    if not file.is_file():
        return b""
    with file.open("rb") as content:
        content.seek(max(0, file.stat().st_size - 1024))
        return content.read()
