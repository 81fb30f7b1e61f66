"""Examples that are encoded when they are drawn: tokenizers run while the model trains, instead of once before it.

An example is encoded alone, so that it is the same bits whoever draws it, and beside which others.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, lru_cache

import numpy as np

from ernest.data.examples import Example, encode, hear, is_heard, outline
from ernest.data.store import ExampleStore
from ernest.sequence.record import Record, Segment
from ernest.tokenizers.bundle import Tokenizers

LOOKED_AT, ENCODED = 1 << 14, 1 << 9
"""Outlines and examples that are kept: what was drawn last."""


class DrawnExamples:
    """A sequence of `Example` with the interface of `ExampleStore`, over records of the `tasks`; `fingerprint` tells these
    records from others.

    `glance` runs no tokenizer: its latents and codes have the right length, and hold nothing.
    """

    def __init__(
        self,
        records: Sequence[Record],
        tasks: Sequence[str],
        tokenizers: Tokenizers,
        fingerprint: str,
        hearings: int = 0,
    ) -> None:
        self.records, self.names, self.tokenizers, self.fingerprint = records, tasks, tokenizers, fingerprint
        self.hearings = hearings
        self.glance = lru_cache(LOOKED_AT)(self._outline)
        self.taken = lru_cache(ENCODED)(self._version)

    def __reduce__(self) -> tuple[type, tuple]:
        return DrawnExamples, (self.records, self.names, self.tokenizers, self.fingerprint, self.hearings)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Example:
        """The example, as its tokenizers make it now, without its other versions."""
        return self._version(index)

    def _version(self, index: int, versions: tuple[int, ...] = ()) -> Example:
        """With such versions of its sounds. Its arrays are laid out as on disk: sums over another layout are other bits."""
        record = self.records[index]
        numbers = versions or (0,) * len(record.segments)
        (example,) = encode([replace(record, segments=tuple(map(self._segment, record.segments, numbers)))], self.tokenizers)
        laid_out = (
            one if one.form == "text" else replace(one, data=np.ascontiguousarray(one.data), other=number > 0)
            for one, number in zip(example.segments, numbers, strict=True)
        )
        return replace(example, segments=tuple(laid_out))

    def _segment(self, segment: Segment, version: int) -> Segment:
        return hear(segment, version, self.tokenizers) if version and is_heard(segment) else segment

    def _outline(self, index: int) -> Example:
        return outline(self.records[index], self.tokenizers, self.hearings)

    @cached_property
    def tasks(self) -> dict[str, np.ndarray]:
        """The indices of each task's examples; tasks in the order in which they first come."""
        indices: dict[str, list[int]] = {}
        for index, task in enumerate(self.names):
            indices.setdefault(task, []).append(index)
        return {task: np.array(found) for task, found in indices.items()}


Examples = ExampleStore | DrawnExamples
"""What a training draws from."""
