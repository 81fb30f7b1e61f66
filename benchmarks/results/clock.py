"""How long a run has taken, over all the times that it was begun, whether it ended, was stopped or was killed."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ernest.device import processor_seconds
from ernest.storage import write_text

EVERY = 10.0
"""Seconds between notes: so much may be lost to a kill."""


@dataclass(frozen=True)
class Spent:
    """Seconds on the wall, and seconds of processors; of a process that was killed, its children's are not known."""

    wall: float = 0.0
    processor: float = 0.0


def read(path: Path) -> Spent:
    """What is noted in `path` so far."""
    return Spent(**json.loads(path.read_text())) if path.is_file() else Spent()


@contextmanager
def counted(path: Path, every: float = EVERY) -> Iterator[None]:
    """Adds the time inside to what is noted in `path`, there and then."""
    before, wall, processor = read(path), time.monotonic(), processor_seconds()
    ended = threading.Event()

    def note() -> None:
        spent = Spent(before.wall + time.monotonic() - wall, before.processor + processor_seconds() - processor)
        write_text(path, json.dumps(asdict(spent)))

    def tick() -> None:
        while not ended.wait(every):
            note()

    ticking = threading.Thread(target=tick, daemon=True)
    ticking.start()
    try:
        yield
    finally:
        ended.set()
        ticking.join()
        note()
