"""Rows without padding: documents of any length side by side, kept apart by the mask."""

from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


def fill_rows(draws: Iterator[T], length: Callable[[T], int], rows: int, row_length: int, patience: int = 16) -> list[list[T]]:
    """Places each drawn document into the first row that has room, until `patience` draws in a row fit nowhere.

    Raises ValueError for a document that is longer than a row.
    """
    placed: list[list[T]] = [[] for _ in range(rows)]
    room = [row_length] * rows
    misses = 0
    while misses < patience and any(room):
        document = next(draws)
        need = length(document)
        if need > row_length:
            raise ValueError(f"a document of {need} positions is longer than a row of {row_length}: raise sequence.length")
        row = next((r for r in range(rows) if room[r] >= need), None)
        if row is None:
            misses += 1
            continue
        misses = 0
        placed[row].append(document)
        room[row] -= need
    return placed
