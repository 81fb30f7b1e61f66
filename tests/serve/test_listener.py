"""What is told of a text while it grows: never half a character, never a part of a stop word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernest.serve.listener import _Text, held_back
from ernest.serve.models import ModelName
from ernest.serve.work import Token, Work

LETTERS = st.text("ab\U0001f600é", max_size=12)
WORDS = st.lists(st.text("ab\U0001f600", min_size=1, max_size=3), max_size=3)


def told(text: str, stop: list[str], most: int | None = None) -> tuple[list[str], list[Token], _Text]:
    """Byte by byte, as the worst of vocabularies would spell it."""
    growing = _Text(Work(ModelName("demo"), (), ("text",), max_tokens=most, stop=tuple(stop)))
    spelled, pieces, tokens = text.encode("utf-16-be"), [], []
    for end in range(1, len(spelled) + 1):
        try:
            spelled[:end].decode("utf-16-be")
            is_whole = True
        except UnicodeDecodeError:
            is_whole = False
        piece, some = growing.take(Token(spelled[end - 1 : end], -1.0), is_whole)
        pieces.append(piece)
        tokens += some
        if growing.cut:
            break
    piece, some = growing.rest()
    return [*pieces, piece], tokens + list(some), growing


@given(LETTERS, WORDS)
def test_the_pieces_are_the_text_before_its_first_stop_word(text, stop):
    pieces, _, growing = told(text, stop)
    places = [text.find(word) for word in stop if word in text]
    # The word that is complete first ends the text; with several at once, the one that begins first.
    expected = text
    for end in range(len(text) + 1):
        found = [place for word in stop if (place := text[:end].find(word)) >= 0]
        if found:
            expected = text[: min(found)]
            break
    assert "".join(pieces) == growing.whole == expected
    assert growing.cut == ("stop" if places else None)


@given(LETTERS, WORDS)
def test_nothing_is_taken_back(text, stop):
    pieces, _, growing = told(text, stop)
    for count in range(len(pieces)):
        assert growing.whole.startswith("".join(pieces[:count]))


@given(LETTERS, st.integers(1, 30))
def test_a_text_ends_after_its_most_tokens(text, most):
    """Half a character at the end is left out."""
    pieces, tokens, growing = told(text, [], most)
    spelled = text.encode("utf-16-be")[:most]
    assert "".join(pieces) == spelled.decode("utf-16-be", "ignore")
    assert len(tokens) == min(most, len(text.encode("utf-16-be")))
    assert growing.cut == ("length" if len(text.encode("utf-16-be")) >= most else None)


@pytest.mark.parametrize(
    ("text", "stop", "held"),
    [("abc", ["cd"], 1), ("abc", ["bcd", "c"], 2), ("abc", ["x"], 0), ("", ["a"], 0), ("aaa", ["aaaa"], 3)],
)
def test_what_is_held_back(text, stop, held):
    assert held_back(text, stop) == held
