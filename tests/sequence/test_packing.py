"""Packing: whatever the documents, rows hold them whole and side by side."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernest.sequence.packing import fill_rows


@given(st.data(), st.integers(1, 6), st.integers(1, 60), st.integers(1, 20))
def test_nothing_overlaps_and_nothing_is_lost(data, rows, length, patience):
    drawn: list[tuple[int, int]] = []

    def draws():
        for number in count():
            drawn.append((number, data.draw(st.integers(1, length))))
            yield drawn[-1]

    placed = fill_rows(draws(), lambda document: document[1], rows, length, patience)
    assert len(placed) == rows
    kept = [document for row in placed for document in row]
    assert len(set(kept)) == len(kept)
    assert set(kept) <= set(drawn)
    assert all(sum(need for _, need in row) <= length for row in placed)
    assert all(row == sorted(row) for row in placed)
    # A document is passed over only where no row has room for it, and all rows were given their chance.
    for number, need in set(drawn) - set(kept):
        earlier = [sum(n for m, n in row if m < number) for row in placed]
        assert all(used + need > length for used in earlier)
    passed_over = [document for document in drawn if document not in kept]
    assert len(passed_over) >= patience or all(sum(need for _, need in row) == length for row in placed)


def test_rows_are_filled_from_the_first():
    lengths = iter([6, 5, 4, 3, 2, *[9] * 99])
    assert fill_rows(lengths, lambda n: n, rows=2, row_length=10) == [[6, 4], [5, 3, 2]]


def test_patience_is_for_misses_in_a_row():
    lengths = iter([6, 5, 9, 4, 9, 3, 9, 2])
    assert fill_rows(lengths, lambda n: n, rows=2, row_length=10, patience=2) == [[6, 4], [5, 3, 2]]
    lengths = iter([6, 5, 9, 9, 4, 3])
    assert fill_rows(lengths, lambda n: n, rows=2, row_length=10, patience=2) == [[6], [5]]


def test_a_document_longer_than_a_row_is_refused():
    with pytest.raises(ValueError, match=r"11 positions .* row of 10: raise sequence\.length"):
        fill_rows(iter([4, 11]), lambda n: n, rows=2, row_length=10)
