"""Records on disk: a folder with `records.jsonl`, one record a line, and the media files that it names.

    {"task": "image→text", "segments": [{"kind": "image", "role": "given", "file": "a.png"},
                                        {"kind": "text", "role": "made", "text": "a red seven"}], "facts": {"digit": 7}}

`task` and `facts` may be left out. Files are named relative to the folder, and brought to the world's sizes and rate
when they are read (`ernest.data.media`). A video may say `"open": true` (it goes on beyond the record) and
`"frames": 1` (the number of frames to take from it; by default the recipe's). A text may have `"others": [...]`, texts that
may stand in its place: training draws one of all each time. A given sound may have `"voice": "anna"`: it is a sample of how
anna speaks, of which what it says does not count.

What Ernest itself writes lies in one array for each kind, of which a segment takes `"rows": [17, 18]` of `"file":
"media/image.npy"`: a file for each picture takes several times as long to write.
"""

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, cast, overload

import numpy as np

from ernest.config.media import USUAL, MediaSpec, read_media, written_differently
from ernest.data import media
from ernest.data.json_lines import LinesOnDisk
from ernest.sequence.record import KINDS, Kind, Record, Segment
from ernest.storage import fingerprint

LINES = "records.jsonl"
ROLES = ("given", "made")
_A = {"text": "a text", "video": "a video", "audio": "a sound"}

_RECORD_KEYS = ("task", "segments", "facts")
_SEGMENT_KEYS = ("kind", "role", "text", "others", "file", "rows", "open", "frames", "voice")


@dataclass(frozen=True)
class StoredSegment:
    """A segment as its JSON line states it: its text, or the name of its media file."""

    kind: Kind
    made: bool
    text: str
    file: Path
    open: bool
    frames: int
    rows: tuple[int, int] | None = None
    others: tuple[str, ...] = ()
    """Texts that may stand in the place of `text`."""
    spec: MediaSpec = USUAL
    voice: str = ""
    """Whose voice a sound is a sample of."""

    def read(self) -> Segment:
        """The segment with its content, read from the media file."""
        return Segment(self.kind, self.data(), self.made, self.open, self.others, self.voice)

    def data(self) -> Any:
        """The content as `Segment.data` holds it, read from the media file."""
        if self.rows is not None:
            return self._array_rows(*self.rows)
        match self.kind:
            case "text":
                return self.text
            case "image":
                return media.read_image(self.file, self.spec)
            case "video":
                return media.read_video(self.file, self.frames, self.spec)
            case "audio":
                return media.read_audio(self.file, self.spec)

    def _array_rows(self, start: int, end: int) -> np.ndarray:
        try:
            status = self.file.stat()
            array = _opened(self.file, (status.st_ino, status.st_mtime_ns, status.st_size))
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"{self.file}: no array that can be read: {error}") from error
        dtype, shape = row_shape(self.kind, self.spec)
        if array.dtype != dtype or array.shape[1:] != shape or not start < end <= len(array):
            raise ValueError(
                f"{self.file}: no rows {start} to {end} of a segment of kind {self.kind}, but {array.dtype} {array.shape}"
            )
        rows = np.array(array[start:end])
        return rows[0] if self.kind == "image" else rows


def row_shape(kind: Kind, spec: MediaSpec) -> tuple[type[np.generic], tuple[int, ...]]:
    """Type and shape of a picture, of a frame of a video, or of a sample, in the array of its kind."""
    return (np.float32, ()) if kind == "audio" else (np.uint8, (*spec.size, 3))


@dataclass(frozen=True)
class StoredRecord:
    """A record as its JSON line states it, with the line's number."""

    line: int
    task: str
    segments: tuple[StoredSegment, ...]
    facts: Mapping[str, Any]


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
            return _parsed(self.lines[index], self.folder, number, self.spec, self.written)
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


def check_media(records: RecordFolder) -> None:
    """Reads each file of some records once: a broken one should stop a run before it starts, not in its last hour. Raises
    ValueError that names the line and the file."""
    readable: set[tuple[Any, ...]] = set()
    for record in records.stored:
        try:
            _check_media(record, readable)
        except ValueError as error:
            raise ValueError(f"{records.path / LINES}, line {record.line}: {error}") from error


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


TOLD = 256
"""Files whose last bytes tell whether media were changed and kept their sizes, as sounds do, at least."""


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else -1


def _last_bytes(file: Path) -> bytes:
    if not file.is_file():
        return b""
    with file.open("rb") as content:
        content.seek(max(0, file.stat().st_size - 1024))
        return content.read()


def read_lines(folder: Path | str, spec: MediaSpec = USUAL) -> RecordFolder:
    """The records of `folder`; lines are checked, and no media are opened. Raises ValueError as `load_records` does."""
    folder = Path(folder)
    if not (folder / LINES).is_file():
        raise ValueError(f"{folder} is no folder of records: it has no {LINES}")
    stored = StoredRecords(folder, spec)
    for _ in stored:  # each is parsed, and so checked
        pass
    if not len(stored):
        raise ValueError(f"{folder / LINES} holds no record")
    return RecordFolder(folder, stored)


def _parsed(line: bytes, folder: Path, number: int, spec: MediaSpec, written: MediaSpec) -> StoredRecord:
    try:
        content = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: byte {error.start} is {line[error.start]:#x}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from error
    _check_keys(content, _RECORD_KEYS, ("segments",), "the record")
    task = _typed(content.get("task", ""), str, "task", "a text")
    facts = _typed(content.get("facts", {}), dict, "facts", "an object")
    listed = _typed(content["segments"], list, "segments", "a list")
    segments = tuple(_segment(stored, f"segments[{index}]", folder, spec, written) for index, stored in enumerate(listed))
    if not any(segment.made for segment in segments):
        raise ValueError('segments: at least one needs "role": "made", or nothing would be learnt from the record')
    for index, segment in enumerate(segments):
        if segment.open and not (segment.kind == "video" and segment.made and index + 1 == len(segments)):
            raise ValueError(f'segments[{index}]: only a video that is made, as the last segment, can be "open"')
    return StoredRecord(number, task, segments, facts)


def _segment(stored: Any, field: str, folder: Path, spec: MediaSpec, written: MediaSpec) -> StoredSegment:
    _check_keys(stored, _SEGMENT_KEYS, ("kind", "role"), field)
    kind = cast(Kind, _one_of(stored["kind"], KINDS, f"{field}.kind"))
    role = _one_of(stored["role"], ROLES, f"{field}.role")
    expected = "text" if kind == "text" else "file"
    for key in ("text", "file"):
        if (key in stored) != (key == expected):
            raise ValueError(f'{field}.{key}: a segment of kind "{kind}" has the field "{expected}" and no other content')
    for key, owner in (("open", "video"), ("frames", "video"), ("others", "text"), ("voice", "audio")):
        if key in stored and kind != owner:
            raise ValueError(f'{field}.{key}: only {_A[owner]} has this field, not a segment of kind "{kind}"')
    if "voice" in stored and role == "made":
        raise ValueError(f'{field}.voice: a sample of a voice is "given", and this sound is to be made')
    content = _text(stored[expected], f"{field}.{expected}")
    others = _typed(stored.get("others", []), list, f"{field}.others", "a list of texts")
    frames = _typed(stored.get("frames", spec.frames), int, f"{field}.frames", "a whole number")
    if frames < 1:
        raise ValueError(f"{field}.frames: expected 1 or more, got {frames}")
    rows = _array_range(stored["rows"], kind, f"{field}.rows") if "rows" in stored else None
    if rows is not None and (difference := written_differently(written, spec, kind)):
        actual, wanted, settings = difference
        raise ValueError(
            f"{field}: {content} was imported at {actual}, and the recipe has {wanted}: import again with that recipe, or "
            f"--set {settings}"
        )
    return StoredSegment(
        kind,
        role == "made",
        content if kind == "text" else "",
        folder if kind == "text" else _inside(folder, content, f"{field}.file"),
        _typed(stored.get("open", False), bool, f"{field}.open", "true or false"),
        frames,
        rows,
        tuple(_text(text, f"{field}.others[{number}]") for number, text in enumerate(others)),
        spec,
        _text(stored["voice"], f"{field}.voice") if "voice" in stored else "",
    )


def _text(stored: Any, field: str) -> str:
    text = _typed(stored, str, field, "a text")
    if not text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"{field}: {'holds half a surrogate pair' if text else 'is empty'}")
    return text


@lru_cache(maxsize=8)
def _opened(file: Path, version: tuple[int, int, int]) -> np.ndarray:
    """The array of a file, mapped once for all segments that lie in it."""
    return np.load(file, mmap_mode="r")


def _array_range(rows: Any, kind: Kind, field: str) -> tuple[int, int]:
    if kind == "text" or not isinstance(rows, list) or [type(row) for row in rows] != [int, int] or not 0 <= rows[0] < rows[1]:
        raise ValueError(f"{field}: expected [start, end] of an array in a .npy file, got {json.dumps(rows)[:40]}")
    return rows[0], rows[1]


def _inside(folder: Path, name: str, field: str) -> Path:
    pure = PurePosixPath(name)
    drive = name[1:2] == ":" and name[0].isalpha()  # of Windows
    if pure.is_absolute() or not pure.parts or ".." in pure.parts or "\\" in name or "\0" in name or drive:
        raise ValueError(f'{field}: {name!r} must be a path inside the folder, with "/" between its parts and no ".."')
    return folder / pure


def _check_media(record: StoredRecord, readable: set[tuple[Any, ...]]) -> None:
    for index, segment in enumerate(record.segments):
        if segment.kind == "text" or (segment.file, segment.kind, segment.rows) in readable:
            continue
        try:
            segment.data()
        except ValueError as error:
            raise ValueError(f"segments[{index}].file: {error}") from error
        readable.add((segment.file, segment.kind, segment.rows))


def _check_keys(content: Any, known: Sequence[str], needed: Sequence[str], field: str) -> None:
    if not isinstance(content, dict):
        raise ValueError(f"{field}: expected an object, got {json.dumps(content)[:40]}")
    for key in content:
        if key not in known:
            raise ValueError(f"{field}: unknown field {key!r}{_nearest(key, known) or ': known are ' + ', '.join(known)}")
    for key in needed:
        if key not in content:
            raise ValueError(f"{field}: the field {key!r} is missing")


def _one_of(value: Any, known: Sequence[str], field: str) -> str:
    if value not in known:
        raise ValueError(f"{field}: {value!r} is none of {', '.join(known)}{_nearest(str(value), known)}")
    return value


def _typed(value: Any, expected: type, field: str, name: str) -> Any:
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        raise ValueError(f"{field}: expected {name}, got {json.dumps(value)[:40]}")
    return value


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f": did you mean {near[0]!r}?" if near else ""
