"""A user's records with every file decoded once: pixels and samples as arrays on disk, from which all later stages read."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from ernest.data.arrays import ArrayWriter, map_arrays, write_arrays
from ernest.data.json_lines import LinesOnDisk
from ernest.data.record_line import StoredSegment
from ernest.data.records import LINES, RecordFolder
from ernest.sequence.record import Kind, Record, Segment
from ernest.storage import write_folder

Check = Callable[[int, Record], None]
"""Called with the line of a record, and the record, whose arrays have the right shapes but may hold zeros."""


class DecodedRecords(Sequence[Record]):
    """Records in order, without their facts; also, as a whole, `images` and `frames` of videos, uint8 `[N, height, width, 3]`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines = LinesOnDisk(folder / LINES)
        self.arrays = map_arrays(folder)

    def __reduce__(self) -> tuple[type, tuple]:
        return DecodedRecords, (self.folder,)

    def __len__(self) -> int:
        return len(self.lines)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        line = json.loads(self.lines[index])
        return Record(tuple(self._segment(entry) for entry in line["segments"]), line["task"])

    @property
    def tasks(self) -> list[str]:
        """That of every record."""
        return [json.loads(line)["task"] for line in self.lines]

    @property
    def images(self) -> np.ndarray | None:
        """The pictures of all files, each once."""
        return self.arrays.get("image")

    @property
    def frames(self) -> np.ndarray | None:
        """The frames of all videos, each once."""
        return self.arrays.get("video")

    def captions(self, kind: Kind) -> dict[tuple[int, int], list[str]]:
        """Where each picture, video or sound begins and ends in the array of its kind, and all texts that stand between it and
        the next ones on both sides. Samples of voices are left out: nobody said what they say."""
        texts_of: dict[tuple[int, int], dict[str, None]] = {}
        for line in map(json.loads, self.lines):
            for entry, texts in _beside(line["segments"]):
                if entry["kind"] == kind:
                    texts_of.setdefault((entry["start"], entry["end"]), {}).update(dict.fromkeys(texts))
        return {rows: list(texts) for rows, texts in sorted(texts_of.items())}

    def voices(self) -> dict[tuple[int, int], str]:
        """Where each sample of a voice begins and ends in the array of sounds, and whose voice it is."""
        entries = (entry for line in map(json.loads, self.lines) for entry in line["segments"] if "voice" in entry)
        return dict(sorted(((entry["start"], entry["end"]), entry["voice"]) for entry in entries))

    def _segment(self, entry: dict[str, Any]) -> Segment:
        others, voice = tuple(entry.get("texts", ())[1:]), entry.get("voice", "")
        return Segment(entry["kind"], self._data(entry), entry["made"], entry["open"], others, voice)

    def _data(self, entry: dict[str, Any]) -> Any:
        if entry["kind"] == "text":
            return entry["texts"][0]
        rows = np.array(self.arrays[entry["kind"]][entry["start"] : entry["end"]])
        return rows[0] if entry["kind"] == "image" else rows

    @staticmethod
    def write(folder: Path, records: RecordFolder, check: Check) -> None:
        """Decodes each file of `records` once. What `check` or a broken file raises leaves nothing behind."""
        with write_folder(folder) as aside, (aside / LINES).open("w") as lines, write_arrays(aside) as arrays:
            decoder = _Decoder(arrays)
            for stored in records.stored:
                entries, segments = [], []
                for index, segment in enumerate(stored.segments):
                    try:
                        entry, data = decoder.decode(segment)
                    except ValueError as error:
                        where = f"{records.path / LINES}, line {stored.line}: segments[{index}].file"
                        raise ValueError(f"{where}: {error}") from error
                    entries.append(entry)
                    segments.append(Segment(segment.kind, data, segment.made, segment.open, segment.others, segment.voice))
                check(stored.line, Record(tuple(segments), stored.task))
                lines.write(json.dumps({"task": stored.task, "segments": entries}) + "\n")


def _beside(entries: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Each medium of a record, samples of voices aside, and the texts before and after it up to the next ones."""
    runs: list[list[str]] = [[]]
    media = []
    for entry in entries:
        if entry["kind"] == "text":
            runs[-1] += entry["texts"]
        elif "voice" not in entry:
            media.append(entry)
            runs.append([])
    return ((entry, runs[number] + runs[number + 1]) for number, entry in enumerate(media))


class _Decoder:
    """Remembers where the content of each file lies, and its type and shape."""

    def __init__(self, arrays: ArrayWriter) -> None:
        self.arrays = arrays
        self.known: dict[tuple[Path, str, int, tuple[int, int] | None], tuple[tuple[int, int], np.dtype, tuple[int, ...]]] = {}

    def decode(self, segment: StoredSegment) -> tuple[dict[str, Any], Any]:
        """The entry of a segment, and its content: zeros, which take no memory, where the file was decoded before."""
        entry: dict[str, Any] = {"kind": segment.kind, "made": segment.made, "open": segment.open}
        if segment.kind == "text":
            return entry | {"texts": [segment.text, *segment.others]}, segment.text
        if segment.voice:
            entry["voice"] = segment.voice
        key = segment.file, segment.kind, segment.frames, segment.rows
        if key in self.known:
            (start, end), dtype, shape = self.known[key]
            return entry | {"start": start, "end": end}, np.broadcast_to(np.zeros((), dtype), shape)
        data = segment.data()
        start, end = self.arrays.append(segment.kind, data[None] if segment.kind == "image" else data)
        self.known[key] = (start, end), data.dtype, data.shape
        return entry | {"start": start, "end": end}, data
