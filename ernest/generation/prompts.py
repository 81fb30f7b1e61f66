"""Lays prompts out up to where the model goes on, and finds the positions that two prompts have in common."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from itertools import pairwise

import numpy as np

from ernest.data.examples import EncodedSegment, Example
from ernest.data.layout import PackedExample, lay_out_tokens, tokenise_segments
from ernest.sequence.groups import TEXT, VOICE, CodeTokens, Layout, ScaleTokens, TextTokens
from ernest.sequence.record import Kind
from ernest.tokenizers.bundle import Tokenizers


@dataclass(frozen=True, eq=False)
class Prompt:
    """A prompt's segments and layout; `spans` are the positions of those that are no text, by the number of the segment. Two
    prompts whose `key` `[positions]` begins alike have the same hidden states there."""

    segments: tuple[EncodedSegment, ...]
    layout: Layout
    spans: dict[int, range]
    key: np.ndarray

    def __len__(self) -> int:
        return len(self.layout)

    def boundary(self, position: int) -> int:
        """The last place, not behind `position`, that lies within no picture, video or sound."""
        return min([position, *(span.start for span in self.spans.values() if span.start < position < span.stop)])

    def tail(self, start: int) -> PackedExample:
        """What follows the first `start` positions, a boundary, to be collated."""
        kept = [number for number, span in self.spans.items() if span.start >= start]
        return PackedExample(Example(tuple(self.segments[n] for n in kept), ""), _cut(self.layout, slice(start, None)))


def lay_out_prompt(
    segments: Sequence[EncodedSegment], first: Kind | None, tokenizers: Tokenizers, drop_condition: bool
) -> Prompt:
    """Given `segments`, and the begin token of the `first` made segment: None is chosen by the model, and that of a sound is fed
    by its row, since the codes chosen there enter the row's keys and values."""
    given = tokenise_segments(segments, tokenizers, tokenizers.text.encode, drop_condition)
    given = tuple((tokens, False) for tokens, _ in given)
    begun = _begun(first, bool(given), tokenizers)
    layout = lay_out_tokens([*given, (begun, True)] if begun else given, tokenizers)
    if begun:
        ahead = begun.cells + 1 if isinstance(begun, ScaleTokens) else 2 if isinstance(begun, CodeTokens) else 1
        layout = _cut(layout, slice(0, len(layout) - ahead))
    layout = replace(layout, weight=np.zeros(len(layout), np.float32))
    spans = _spans(segments, layout)
    return Prompt(tuple(segments), layout, spans, _key(segments, layout, spans))


def _begun(first: Kind | None, given: bool, tokenizers: Tokenizers) -> ScaleTokens | CodeTokens | TextTokens | None:
    """A made segment as short as can be, whose begin is wanted; None where the prompt ends with what is given."""
    if first is None and given:
        return None
    if first in ("image", "video"):
        return ScaleTokens(1, tokenizers.vision.quantiser.sizes, first == "video")
    return CodeTokens(0) if first == "audio" else TextTokens((tokenizers.text.null,))


def common_length(one: Prompt, other: Prompt) -> int:
    """Positions at the beginning that two prompts share, up to a boundary of both; at least one is left over."""
    length = min(len(one), len(other))
    same = one.key[:length] == other.key[:length]
    equal = length if same.all() else int(same.argmin())
    return one.boundary(other.boundary(min(equal, len(one) - 1)))


def _cut(layout: Layout, span: slice) -> Layout:
    return Layout(**{field.name: getattr(layout, field.name)[span] for field in fields(layout)})


def _spans(segments: Sequence[EncodedSegment], layout: Layout) -> dict[int, range]:
    """Media follow each other in the order of their segments, with text between; but a voice is one position, whatever stands
    beside it."""
    numbers = [number for number, segment in enumerate(segments) if segment.form != "text"]
    if not numbers:
        return {}
    place = np.where(layout.source == TEXT, -1, np.where(layout.source == VOICE, layout.content, len(segments)))
    edges = [*np.flatnonzero(np.diff(place, prepend=-2)).tolist(), len(layout)]
    media = [range(start, stop) for start, stop in pairwise(edges) if place[start] >= 0]
    return dict(zip(numbers, media, strict=True))


def _key(segments: Sequence[EncodedSegment], layout: Layout, spans: dict[int, range]) -> np.ndarray:
    """A token by its id, other content by a hash of its segment."""
    key = np.where(layout.source == TEXT, layout.content, 0)
    for number, span in spans.items():
        data = np.ascontiguousarray(segments[number].data)
        form = f"{segments[number].form} {segments[number].video} {data.shape} {data.dtype}".encode()
        digest = blake2b(form + data.tobytes(), digest_size=8).digest()
        key[span.start : span.stop] = int.from_bytes(digest, "little", signed=True)
    return key
