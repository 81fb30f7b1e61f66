"""Lays an example out: its segments as tokens, and the input, target and position of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from ernest.data.examples import EncodedSegment, Example, to_tokens
from ernest.sequence.groups import ControlTokens, Layout, TextTokens, Tokens, lay_out
from ernest.tokenizers.bundle import Tokenizers


@dataclass(frozen=True)
class PackedExample:
    """An example with its layout, ready to be packed."""

    example: Example
    layout: Layout


def tokenise_segments(
    segments: Sequence[EncodedSegment], tokenizers: Tokenizers, cut: Callable[[str], Sequence[int]], drop_condition: bool = False
) -> tuple[tuple[Tokens, bool], ...]:
    """(tokens, made) of each segment; `drop_condition` replaces given text by null tokens."""
    tokenised = []
    for segment in segments:
        tokens = to_tokens(segment, tokenizers, cut)
        if drop_condition and isinstance(tokens, TextTokens) and not segment.made:
            tokens = TextTokens((tokenizers.text.null,) * len(tokens.ids))
        tokenised.append((tokens, segment.made))
    return tuple(tokenised)


def lay_out_example(
    example: Example, tokenizers: Tokenizers, cut: Callable[[str], Sequence[int]], drop_condition: bool = False
) -> PackedExample:
    """An example with its layout; `cut` turns text into token ids, `drop_condition` replaces given text by null tokens."""
    return lay_out_segments(example, tokenise_segments(example.segments, tokenizers, cut, drop_condition), tokenizers)


def lay_out_segments(example: Example, segments: Sequence[tuple[Tokens, bool]], tokenizers: Tokenizers) -> PackedExample:
    """An example whose segments are tokens already."""
    return PackedExample(example, lay_out_tokens(segments, tokenizers))


def lay_out_tokens(segments: Sequence[tuple[Tokens, bool]], tokenizers: Tokenizers) -> Layout:
    """The layout of (tokens, made) segments. It is made once for each form: dropout cuts nearly every text in a new way."""
    words = np.array([id_ for tokens, _ in segments if isinstance(tokens, TextTokens) for id_ in tokens.ids], np.int64)
    form = _form(_shape(segments), tokenizers.control_tokens)
    filled = []
    for values, (position, word) in ((form.layout.content, form.content), (form.layout.token_target, form.target)):
        filled.append(values.copy())
        filled[-1][position] = words[word]
    return replace(form.layout, content=filled[0], token_target=filled[1])


def count_positions(segments: Sequence[tuple[Tokens, bool]], tokenizers: Tokenizers) -> int:
    """The length of the layout of such segments."""
    return len(_form(_shape(segments), tokenizers.control_tokens).layout)


@dataclass(frozen=True)
class _Form:
    """What documents share whose texts differ in nothing but their words: the layout, and where the words stand in it, as input
    and as target: (position, number of the word) of each."""

    layout: Layout
    content: tuple[np.ndarray, np.ndarray]
    target: tuple[np.ndarray, np.ndarray]


def _shape(segments: Sequence[tuple[Tokens, bool]]) -> tuple[tuple[int | Tokens, bool], ...]:
    """With the number of its words in the place of a text."""
    return tuple((len(t.ids) if isinstance(t, TextTokens) else t, made) for t, made in segments)


@lru_cache(maxsize=4096)
def _form(segments: tuple[tuple[int | Tokens, bool], ...], control: ControlTokens) -> _Form:
    """Of a shape; word n is laid out as -2 - n, which no token is."""
    numbered, words = [], 0
    for tokens, made in segments:
        if isinstance(tokens, int):
            numbered.append((TextTokens(tuple(range(-2 - words, -2 - words - tokens, -1))), made))
            words += tokens
        else:
            numbered.append((tokens, made))
    layout = lay_out(numbered, control)
    content, target = ((at := np.flatnonzero(values <= -2), -2 - values[at]) for values in (layout.content, layout.token_target))
    return _Form(layout, content, target)
