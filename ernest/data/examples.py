"""Turns records into training examples. Text stays text, so that BPE-dropout can cut it anew each time; made pictures stay
latents, so that bits can be flipped anew; given pictures stay pixels, for both paths of the encoder."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch

from ernest.data.hearings import heard_length, heard_otherwise
from ernest.sequence.groups import CodeTokens, PatchTokens, ScaleTokens, TextTokens, Tokens, VoiceTokens
from ernest.sequence.record import Record, Segment
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.vision import to_frames

Form = Literal["text", "pixels", "latent", "codes", "voice"]


@dataclass(frozen=True)
class EncodedSegment:
    """A tokenised segment. `data` by form: text a `str`; pixels uint8 `[frames, height, width, 3]`; latent float16
    `[frames, bits, rows, columns]`; codes int16 `[frames, levels]`; voice float32 `[1, numbers]`. `others` may stand in
    its place: texts for a text, for a given sound the codes of other hearings."""

    form: Form
    data: Any
    made: bool
    video: bool = False
    open: bool = False
    others: tuple[Any, ...] = ()
    other: bool = False
    """Whether one of the others stands in its place."""

    @property
    def versions(self) -> tuple[Any, ...]:
        """All that may stand there."""
        return (self.data, *self.others)


@dataclass(frozen=True)
class Example:
    """A record after the tokenizers, and the task that it trains."""

    segments: tuple[EncodedSegment, ...]
    task: str

    def version(self, numbers: Sequence[int]) -> "Example":
        """With this version of each segment in its place, and no others."""
        chosen = zip(self.segments, numbers, strict=True)
        segments = (replace(one, data=one.versions[n], others=(), other=n > 0) if one.others else one for one, n in chosen)
        return replace(self, segments=tuple(segments))


def encode(records: Iterable[Record], tokenizers: Tokenizers, chunk: int = 256, hearings: int = 0) -> Iterable[Example]:
    """Examples of records, in order; pictures and sounds go through their tokenizers a chunk at a time. The others of given
    sounds are so many other hearings of them."""
    records = iter(records)
    while part := list(islice(records, chunk)):
        segments = [segment for record in part for segment in record.segments]
        encoded = iter(_with_hearings(segments, tokenizers, hearings))
        for record in part:
            yield Example(tuple(islice(encoded, len(record.segments))), record.task)


def _with_hearings(segments: Sequence[Segment], tokenizers: Tokenizers, hearings: int) -> Iterator[EncodedSegment]:
    """Encoded segments, of which given sounds have others: other hearings, whose encoding leaves their own as it is."""
    for segment, one in zip(segments, encode_segments(segments, tokenizers), strict=True):
        heard = [hear(segment, number, tokenizers) for number in range(1, hearings + 1)] if is_heard(segment) else []
        yield replace(one, others=tuple(_codes(heard, tokenizers))) if heard else one


def encode_segments(segments: Sequence[Segment], tokenizers: Tokenizers) -> tuple[EncodedSegment, ...]:
    """Encodes segments that are no record, such as a question whose answer is still to be made; in order."""
    heard = iter(_codes(segments, tokenizers)), iter(_voices(segments, tokenizers))
    latents = iter(_latents(segments, tokenizers))
    return tuple(_encoded(segment, latents, *heard) for segment in segments)


def outline(record: Record, tokenizers: Tokenizers, hearings: int = 0) -> Example:
    """An example of the same layout as that of `record`, with empty latents and codes of the right length: no tokenizer runs."""
    drawn = (_frames(segment) for segment in record.segments if _is_drawn(segment))
    latents = (frames[: tokenizers.media.latents(len(frames))] for frames in drawn)
    audio = tokenizers.audio.config
    empty = lambda samples: np.empty(-(-samples // audio.samples))
    codes = (empty(len(segment.data)) for segment in record.segments if _is_coded(segment))
    voices = itertools.repeat(np.empty((1, 0)))
    segments = []
    for segment in record.segments:
        one = _encoded(segment, latents, codes, voices)
        if is_heard(segment):
            lengths = (heard_length(segment.data, audio.sample_rate, number) for number in range(1, hearings + 1))
            one = replace(one, others=tuple(map(empty, lengths)))
        segments.append(one)
    return Example(tuple(segments), record.task)


def hear(segment: Segment, number: int, tokenizers: Tokenizers) -> Segment:
    """Hearing `number` of a sound."""
    return replace(segment, data=heard_otherwise(segment.data, tokenizers.audio.config.sample_rate, number))


def _encoded(
    segment: Segment, latents: Iterator[np.ndarray], codes: Iterator[np.ndarray], voices: Iterator[np.ndarray]
) -> EncodedSegment:
    """The segment in its form, with the next of the latents, codes or voices where it takes one."""
    video = segment.kind == "video"
    if segment.kind == "text":
        return EncodedSegment("text", segment.data, segment.made, others=segment.others)
    if segment.voice:
        return EncodedSegment("voice", next(voices), False)
    if segment.kind == "audio":
        return EncodedSegment("codes", next(codes), segment.made)
    if _is_drawn(segment):
        return EncodedSegment("latent", next(latents), True, video, segment.open)
    return EncodedSegment("pixels", _frames(segment), False, video)


def _is_drawn(segment: Segment) -> bool:
    """Whether it is a picture or video to be made, which is kept as latents."""
    return segment.kind in ("image", "video") and segment.made


def _is_coded(segment: Segment) -> bool:
    """Whether it is a sound that is kept as codes, as a sample of a voice is not."""
    return segment.kind == "audio" and not segment.voice


def is_heard(segment: Segment) -> bool:
    """Whether it is a sound to be understood, other than a sample of a voice."""
    return _is_coded(segment) and not segment.made


def _frames(segment: Segment) -> np.ndarray:
    """Of a picture or video: uint8 `[frames, height, width, 3]`."""
    return segment.data if segment.kind == "video" else segment.data[None]


@torch.inference_mode()
def _latents(segments: Sequence[Segment], tokenizers: Tokenizers) -> list[np.ndarray]:
    """Latents of all made pictures and videos."""
    frames = [_frames(segment) for segment in segments if _is_drawn(segment)]
    if not frames:
        return []
    if tokenizers.media.temporal_stride > 1:
        return [tokenizers.vision.encode_film(to_frames(film)).half().numpy() for film in frames]
    latent = torch.cat([tokenizers.vision.encode(part) for part in to_frames(np.concatenate(frames)).split(256)])
    return np.split(latent.half().numpy(), np.cumsum([len(f) for f in frames])[:-1])


@torch.inference_mode()
def _codes(segments: Sequence[Segment], tokenizers: Tokenizers) -> list[np.ndarray]:
    """Codes of all sounds."""
    waves = [segment.data for segment in segments if _is_coded(segment)]
    return [codes.numpy().astype(np.int16) for codes in tokenizers.audio.encode(waves)] if waves else []


def _voices(segments: Sequence[Segment], tokenizers: Tokenizers) -> list[np.ndarray]:
    """The embedding of each sample of a voice. Raises ValueError where the tokenizers know no voices."""
    waves = [segment.data for segment in segments if segment.voice]
    if waves and tokenizers.voice is None:
        raise ValueError("the model knows no voices from samples: its training had no samples of voices")
    return [embedding[None].numpy() for embedding in tokenizers.voice.embed(waves)] if tokenizers.voice and waves else []


def to_tokens(segment: EncodedSegment, tokenizers: Tokenizers, cut: Callable[[str], Sequence[int]]) -> Tokens:
    """A segment as `sequence.groups` lays it out; `cut` turns text into token ids."""
    if segment.form == "text":
        return TextTokens(tuple(cut(segment.data)))
    if segment.form == "codes":
        return CodeTokens(len(segment.data))
    if segment.form == "voice":
        return VoiceTokens()
    if segment.form == "pixels":
        rows, columns = tokenizers.vision.grid
        return PatchTokens(len(segment.data), (rows // 2, columns // 2), segment.video)
    return ScaleTokens(len(segment.data), tokenizers.vision.quantiser.sizes, segment.video, segment.open)
