"""A line of `records.jsonl`: what it states, checked field by field.

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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np

from ernest.config.media import USUAL, MediaSpec, written_differently
from ernest.data import media
from ernest.sequence.record import KINDS, Kind, Segment

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


@lru_cache(maxsize=8)
def _opened(file: Path, version: tuple[int, int, int]) -> np.ndarray:
    """The array of a file, mapped once for all segments that lie in it."""
    return np.load(file, mmap_mode="r")


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


def parse_line(line: bytes, folder: Path, number: int, spec: MediaSpec, written: MediaSpec) -> StoredRecord:
    """The record that the line of some number states. Its files lie in `folder`, whose arrays were `written` at those sizes, and
    are brought to the sizes of `spec`.

    Raises ValueError that names the field and what would be right.
    """
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
    content = _content(stored, kind, role, field)
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


def _content(stored: Mapping[str, Any], kind: Kind, role: str, field: str) -> str:
    """Its text or the name of its file, where it has the one that suits its kind, and no fields of other kinds."""
    expected = "text" if kind == "text" else "file"
    for key in ("text", "file"):
        if (key in stored) != (key == expected):
            raise ValueError(f'{field}.{key}: a segment of kind "{kind}" has the field "{expected}" and no other content')
    for key, owner in (("open", "video"), ("frames", "video"), ("others", "text"), ("voice", "audio")):
        if key in stored and kind != owner:
            raise ValueError(f'{field}.{key}: only {_A[owner]} has this field, not a segment of kind "{kind}"')
    if "voice" in stored and role == "made":
        raise ValueError(f'{field}.voice: a sample of a voice is "given", and this sound is to be made')
    return _text(stored[expected], f"{field}.{expected}")


def _text(stored: Any, field: str) -> str:
    text = _typed(stored, str, field, "a text")
    if not text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"{field}: {'holds half a surrogate pair' if text else 'is empty'}")
    return text


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
