"""Examples on disk: written once, mapped and read one by one, with a fingerprint of what they are."""

import json
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ernest.data.arrays import ArrayWriter, map_arrays, write_arrays
from ernest.data.examples import EncodedSegment, Example
from ernest.storage import fingerprint, read_json, write_folder

KEPT = 1 << 14
"""Examples that are kept as they were read: a kilobyte or two each, for arrays stay in the file."""


class ExampleStore:
    """A sequence of `Example` in a folder of parts, each with a JSON line for an example, arrays of the forms, and an index.

    `glance(index)` is `store[index]` for whoever only looks at it: its arrays are those of the file, and those asked for last are
    kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts = [_Part(path.parent) for path in sorted(folder.glob(f"*/{_INDEX}"))]
        self.ends = np.cumsum([len(part) for part in self.parts])
        if not self.parts or not self.ends[-1]:
            raise ValueError(f"{folder} holds no examples")
        self.glance = lru_cache(KEPT)(self._read)

    def __reduce__(self) -> tuple[type, tuple]:
        return ExampleStore, (self.folder,)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def taken(self, index: int, versions: tuple[int, ...] = ()) -> Example:
        """What a row is made of: such `versions` of what `glance` gives, the first ones where nothing is said."""
        return self.glance(index).version(versions) if any(versions) else self.glance(index)

    def __getitem__(self, index: int) -> Example:
        """The example, whose arrays are copied: into memory that can be written and does not hang on the file."""
        example = self._read(index)
        own = lambda data: data if isinstance(data, str) else np.array(data)
        segments = (replace(one, data=own(one.data), others=tuple(map(own, one.others))) for one in example.segments)
        return replace(example, segments=tuple(segments))

    def _read(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        part = int(np.searchsorted(self.ends, index, side="right"))
        return self.parts[part].example(int(index - self.ends[part]) + len(self.parts[part]))

    @cached_property
    def tasks(self) -> dict[str, np.ndarray]:
        """The indices of each task's examples; tasks in the order in which they first come."""
        indices_of: dict[str, list[np.ndarray]] = {}
        for part, end in zip(self.parts, self.ends, strict=True):
            for number, task in enumerate(part.tasks):
                indices_of.setdefault(task, []).append(np.flatnonzero(part.arrays["task"] == number) + end - len(part))
        return {task: np.concatenate(indices) for task, indices in indices_of.items()}

    @property
    def fingerprint(self) -> str:
        """A hash of all parts, taken when they were written: no data is read for it."""
        return fingerprint(*(part.fingerprint for part in self.parts))

    @staticmethod
    def write(part: Path, examples: Iterable[Example]) -> None:
        """Writes one part, which takes the place of an older one when it is complete."""
        with write_folder(part, mine=lambda file: file.suffix == ".npy" or file.name in (_LINES, _INDEX)) as aside:
            tasks: dict[str, int] = {}
            with (aside / _LINES).open("wb") as lines, write_arrays(aside) as arrays:
                for example in examples:
                    arrays.append("offset", np.array([lines.tell()]))
                    arrays.append("task", np.array([tasks.setdefault(example.task, len(tasks))], np.int32))
                    entries = [_entry(segment, arrays) for segment in example.segments]
                    lines.write(json.dumps({"task": example.task, "segments": entries}).encode() + b"\n")
            written = fingerprint(aside / _LINES, *sorted(aside.glob("*.npy")))
            (aside / _INDEX).write_text(json.dumps({"tasks": list(tasks), "fingerprint": written}))


_LINES, _INDEX = "examples.jsonl", "index.json"


class _Part:
    def __init__(self, folder: Path) -> None:
        index = read_json(folder / _INDEX)
        self.tasks: list[str] = index["tasks"]
        self.fingerprint: str = index["fingerprint"]
        # Read as plain arrays: numpy takes ten times as long to cut a piece out of its memmap.
        self.arrays = {name: np.asarray(array) for name, array in map_arrays(folder).items()}
        self.lines = np.asarray(np.memmap(folder / _LINES, mode="r")) if self.tasks else np.zeros(0, np.uint8)

    def __len__(self) -> int:
        return len(self.arrays.get("offset", ()))

    def example(self, index: int) -> Example:
        offset = self.arrays["offset"]
        end = offset[index + 1] if index + 1 < len(offset) else len(self.lines)
        line = json.loads(self.lines[offset[index] : end].tobytes().decode())
        return Example(tuple(_segment(entry, self.arrays) for entry in line["segments"]), line["task"])


def _entry(segment: EncodedSegment, arrays: ArrayWriter) -> dict[str, Any]:
    """A segment as JSON; of an array, the range of rows in the array of its form."""
    entry: dict[str, Any] = {"form": segment.form, "made": segment.made}
    if segment.form == "text":
        return entry | {"text": segment.data} | ({"others": segment.others} if segment.others else {})
    start, end = arrays.append(segment.form, segment.data)
    entry |= {"start": start, "end": end, "video": segment.video, "open": segment.open}
    return entry | ({"others": [arrays.append(segment.form, other) for other in segment.others]} if segment.others else {})


def _segment(entry: dict[str, Any], arrays: dict[str, np.ndarray]) -> EncodedSegment:
    """The segment of a line."""
    form, others, flags = entry["form"], entry.get("others", ()), (entry.get("video", False), entry.get("open", False))
    if form == "text":
        return EncodedSegment(form, entry["text"], entry["made"], *flags, tuple(others))
    data, *others = (arrays[form][start:end] for start, end in ((entry["start"], entry["end"]), *others))
    return EncodedSegment(form, data, entry["made"], *flags, tuple(others))
