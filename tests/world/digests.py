"""Digests of records of every task and of collages, for processes that are told to make them in different ways."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from ernest.world.collages import collage
from ernest.world.split import HELD_OUT
from ernest.world.world import TASKS, UNTRAINED, records

SEED = 3
INDICES = (*range(18), *range(HELD_OUT, HELD_OUT + 6))
COLLAGES = range(12)


def digests(size: int) -> dict[str, str]:
    """Digest of each record, made `size` at a time, and of each collage."""
    found = {}
    for task in (*TASKS, *UNTRAINED):
        for start in range(0, len(INDICES), size):
            indices = INDICES[start : start + size]
            for index, record in zip(indices, records(task, SEED, indices), strict=True):
                facts = json.dumps(dict(record.facts), sort_keys=True)
                found[f"{task} {index}"] = _digest([facts, *(segment.data for segment in record.segments)])
    for index in COLLAGES:
        one = collage(SEED, index)
        found[f"collage {index}"] = _digest([one.pixels, one.boxes, one.kinds, one.mask])
    return found


def _digest(parts: Iterable[Any]) -> str:
    return hashlib.sha256(b"".join(part.encode() if isinstance(part, str) else part.tobytes() for part in parts)).hexdigest()
