"""What a report of a tokenizer is made of: figures with what they mean, pairs to look at or to hear, and how long things take."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

SHOWN = 12
"""Pairs of a report."""

T = TypeVar("T")


@dataclass(frozen=True)
class Measure:
    """One figure, and what it means."""

    name: str
    value: float
    unit: str = ""
    note: str = ""

    def __str__(self) -> str:
        return f"{self.value:,.3g} {self.unit}".strip() if abs(self.value) < 1000 else f"{self.value:,.0f} {self.unit}".strip()


@dataclass(frozen=True)
class Pair:
    """What went in, and what came back: pixels uint8 `[height, width, 3]` or `[frames, height, width, 3]`, waves float32
    `[samples]`, or texts."""

    given: np.ndarray | str
    rebuilt: np.ndarray | str
    note: str = ""


def speeds(seconds: float, spent: Mapping[str, float], note: str, count: int, what: str) -> list[Measure]:
    """How many times faster than real time each way is, from the seconds of the processor `spent` on `seconds` of media."""
    return [
        Measure(f"{name}, times real time", seconds / took, "", f"{note}; {count / took:,.0f} {what} a second of one process")
        for name, took in spent.items()
    ]


def timed(run: Callable[[], T]) -> tuple[T, float]:
    """What `run` gives, and the seconds of the processor that it took; it runs twice, since the first time prepares."""
    run()
    start = time.process_time()
    result = run()
    return result, max(time.process_time() - start, 1e-9)


def spread(things: Sequence[T], most: int) -> list[T]:
    """At most `most` of them, evenly spread."""
    count = min(len(things), most)
    return [things[i * len(things) // count] for i in range(count)]
