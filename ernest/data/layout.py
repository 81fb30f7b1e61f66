"""Where each part of an example stands in a row: its segments as tokens, and their layout."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ernest.data.examples import EncodedSegment, Example, to_tokens
from ernest.sequence.groups import Layout, TextTokens, Tokens, lay_out
from ernest.tokenizers.bundle import Tokenizers


@dataclass(frozen=True)
class PackedExample:
    """An example with its layout, ready to be packed."""

    example: Example
    layout: Layout


_lay_out = lru_cache(maxsize=8192)(lay_out)


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
    return PackedExample(
        example, _lay_out(tokenise_segments(example.segments, tokenizers, cut, drop_condition), tokenizers.control_tokens)
    )
