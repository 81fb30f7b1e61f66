"""Packs examples of any length into rows with little padding; the mask keeps them apart."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def fill_row(
    draws: Iterator[T], length: Callable[[T], int], row_length: int, leftover: Sequence[T] = (), patience: int = 6
) -> tuple[list[T], list[T]]:
    """Fills a row from `leftover`, then from `draws`; returns the row and the examples that did not fit, at most `patience`.

    Where the next row begins with what this one held over, nothing that was drawn is lost, and long examples come as often as
    they are drawn. Raises ValueError for an example that is longer than a row.
    """
    row: list[T] = []
    rest: list[T] = []
    room = row_length

    def put(example: T) -> None:
        nonlocal room
        need = length(example)
        if need > row_length:
            raise ValueError(f"an example of {need} positions is longer than a row of {row_length}: raise sequence.length")
        if need > room:
            rest.append(example)
            return
        row.append(example)
        room -= need

    for example in leftover:
        put(example)
    while room and len(rest) < patience:
        put(next(draws))
    return row, rest
