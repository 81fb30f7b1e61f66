"""Rows with little padding: examples of any length side by side, kept apart by the mask."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def fill_row(
    draws: Iterator[T], length: Callable[[T], int], row_length: int, held: Sequence[T] = (), patience: int = 6
) -> tuple[list[T], list[T]]:
    """A row of what fits of `held` and then of `draws`, and what was held over: `patience` examples at most that did not fit.

    Where the next row begins with what this one held over, nothing that was drawn is lost, and long examples come as often as
    they are drawn. Raises ValueError for an example that is longer than a row.
    """
    row: list[T] = []
    left: list[T] = []
    room = row_length

    def place(example: T) -> None:
        nonlocal room
        need = length(example)
        if need > row_length:
            raise ValueError(f"an example of {need} positions is longer than a row of {row_length}: raise sequence.length")
        if need > room:
            left.append(example)
            return
        row.append(example)
        room -= need

    for example in held:
        place(example)
    while room and len(left) < patience:
        place(next(draws))
    return row, left
