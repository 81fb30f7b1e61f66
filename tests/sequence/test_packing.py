"""Packing: whatever the examples, a row holds them whole and side by side, and loses none that was drawn."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernest.sequence.packing import fill_row


def size(n: int) -> int:
    return n


@given(st.data(), st.integers(1, 60), st.integers(1, 20), st.integers(1, 5))
def test_nothing_overlaps_and_nothing_is_lost(data, length, patience, rows):
    drawn: list[tuple[int, int]] = []

    def draws():
        for number in count():
            drawn.append((number, data.draw(st.integers(1, length))))
            yield drawn[-1]

    kept, held, source = [], [], draws()
    for _ in range(rows):
        before = held
        row, held = fill_row(source, lambda example: example[1], length, before, patience)
        used = sum(need for _, need in row)
        assert used <= length
        assert used == length or len(held) >= patience
        assert row, "the first example fits always"
        assert len(held) <= max(patience, len(before))
        room = length
        for example in sorted(row + held):  # who is held over found no room left when it came
            assert (example in row) == (example[1] <= room)
            room -= example[1] * (example in row)
        kept += row
    assert sorted(kept + held) == drawn


def test_what_was_held_over_comes_first():
    row, held = fill_row(iter([6, 5, 3, 9, 8]), size, 10, patience=2)
    assert (row, held) == ([6, 3], [5, 9])
    row, held = fill_row(iter([4, 7, 1]), size, 10, held, patience=3)
    assert (row, held) == ([5, 4, 1], [9, 7])


def test_patience_counts_what_is_held():
    assert fill_row(iter([6, 5, 9, 4]), size, 10, patience=2) == ([6], [5, 9])


def test_an_example_longer_than_a_row_is_refused():
    with pytest.raises(ValueError, match=r"11 positions .* row of 10: raise sequence\.length"):
        fill_row(iter([4, 11]), size, row_length=10)
