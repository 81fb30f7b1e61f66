"""Texts stay whole: compared with the decoder of the standard library, on random tokens."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernest.generation.text_states import HALF, WHOLE, TextStates

UNITS = st.sampled_from([b"\x00a", b"\xd8\x3d", b"\xdc\x00", b"\xd8", b"\xdc", b"\x00", b"\xff", b"\xd8\x3d\xdc\x00"])
PIECES = st.lists(UNITS, min_size=1, max_size=3).map(b"".join)


def is_text(text: bytes) -> bool:
    try:
        text.decode("utf-16-be")
    except UnicodeDecodeError:
        return False
    return True


def is_begun(text: bytes) -> bool:
    """Whether bytes can go on to be a text: one of these rests makes them one."""
    return any(is_text(text + rest) for rest in (b"", b"\x00", b"\xdc\x00", b"\x00\xdc\x00"))


@settings(max_examples=200, deadline=None)
@given(pieces=st.lists(PIECES, min_size=1, max_size=6))
def test_a_text_goes_on_as_far_as_the_decoder_goes(pieces):
    states = TextStates([b"", *pieces])
    state, text = WHOLE, b""
    for token, piece in enumerate(pieces, start=1):
        allowed = states.allowed(state, 9)
        assert not allowed[0]  # a control token spells nothing
        assert bool(allowed[token]) == is_begun(text + piece)
        if allowed[token]:
            state, text = int(states.after[state, token]), text + piece
            assert (state == WHOLE) == is_text(text)


@pytest.mark.parametrize(
    ("piece", "needed"), [(b"a", 1), (b"\xd8", 3), (b"\xd8a", 2), (b"\xd8a\xdc", 1), (b"\x00a", 0), (b"\xdc", 99)]
)
def test_what_cannot_be_made_whole_in_time_is_not_begun(piece, needed):
    states = TextStates([piece, b"\x00"])
    assert [bool(states.allowed(WHOLE, left)[0]) for left in range(5)] == [left >= needed for left in range(5)]
    assert states.after[HALF, 1] == WHOLE
