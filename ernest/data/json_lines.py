"""The lines of a large file, read where they are asked for: in memory is only where each begins."""

from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

import numpy as np


class LinesOnDisk(Sequence[bytes]):
    """The lines of a file that hold something, or those of them that `chosen` numbers."""

    def __init__(self, path: Path, chosen: Iterable[int] | None = None) -> None:
        self.path = path
        starts, ends, numbers, start = array("q"), array("q"), array("q"), 0
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    starts.append(start)
                    ends.append(start + len(line))
                    numbers.append(number)
                start += len(line)
        self.spans = np.stack([np.array(one, np.int64) for one in (starts, ends, numbers)], 1)
        if chosen is not None:
            self.spans = self.spans[np.fromiter(chosen, np.int64)]
        self.content = np.memmap(path, mode="r") if len(self.spans) else np.zeros(0, np.uint8)

    def __len__(self) -> int:
        return len(self.spans)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        start, end, _ = self.spans[index]
        return self.content[start:end].tobytes()

    def number(self, index: int) -> int:
        """Which line of the file a line is, counted from 1."""
        return int(self.spans[index, 2])
