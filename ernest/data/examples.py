"""Examples: records after the tokenizers, before a batch. Text stays text, so that BPE-dropout can cut it anew each time;
made pictures stay latents, so that bits can be flipped anew; given pictures stay pixels, for both paths of the encoder."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch

from ernest.sequence.groups import CodeTokens, PatchTokens, ScaleTokens, TextTokens, Tokens
from ernest.sequence.record import Record, Segment
from ernest.tokenizers.bundle import Tokenizers

Form = Literal["text", "pixels", "latent", "codes"]


@dataclass(frozen=True)
class EncodedSegment:
    """A tokenised segment. `data` by form: text a `str`; pixels uint8 `[frames, height, width, 3]`; latent float16
    `[frames, bits, rows, columns]`; codes int16 `[frames, levels]`."""

    form: Form
    data: Any
    made: bool
    video: bool = False
    open: bool = False


@dataclass(frozen=True)
class Example:
    segments: tuple[EncodedSegment, ...]
    task: str


def encode(records: Iterable[Record], tokenizers: Tokenizers, chunk: int = 256) -> Iterable[Example]:
    """Examples of records, in order; pictures and sounds go through their tokenizers a chunk at a time."""
    records = iter(records)
    while part := list(islice(records, chunk)):
        segments = [segment for record in part for segment in record.segments]
        latents, codes = _latents(segments, tokenizers), _codes(segments, tokenizers)
        for record in part:
            yield Example(tuple(_encoded_segment(segment, latents, codes) for segment in record.segments), record.task)


def encode_segments(segments: Sequence[Segment], tokenizers: Tokenizers) -> tuple[EncodedSegment, ...]:
    """Segments, encoded, in order, where they are no record: of a question whose answer is still to be made."""
    latents, codes = _latents(segments, tokenizers), _codes(segments, tokenizers)
    return tuple(_encoded_segment(segment, latents, codes) for segment in segments)


def _encoded_segment(segment: Segment, latents: dict[int, np.ndarray], codes: dict[int, np.ndarray]) -> EncodedSegment:
    if segment.kind == "text":
        return EncodedSegment("text", segment.data, segment.made)
    if segment.kind == "audio":
        return EncodedSegment("codes", codes[id(segment)], segment.made)
    video = segment.kind == "video"
    if segment.made:
        return EncodedSegment("latent", latents[id(segment)], True, video, segment.open)
    return EncodedSegment("pixels", segment.data if video else segment.data[None], False, video)


@torch.inference_mode()
def _latents(segments: Sequence[Segment], tokenizers: Tokenizers) -> dict[int, np.ndarray]:
    """Latents of all made pictures and videos, by segment."""
    segments = [s for s in segments if s.kind in ("image", "video") and s.made]
    if not segments:
        return {}
    frames = [s.data if s.kind == "video" else s.data[None] for s in segments]
    latent = torch.cat([tokenizers.vision.encode(part) for part in to_frames(np.concatenate(frames)).split(256)])
    parts = latent.half().numpy()
    ends = np.cumsum([len(f) for f in frames])
    return {id(s): part for s, part in zip(segments, np.split(parts, ends[:-1]), strict=True)}


@torch.inference_mode()
def _codes(segments: Sequence[Segment], tokenizers: Tokenizers) -> dict[int, np.ndarray]:
    segments = [s for s in segments if s.kind == "audio"]
    coded = tokenizers.audio.encode([s.data for s in segments]) if segments else []
    return {id(s): c.numpy().astype(np.int16) for s, c in zip(segments, coded, strict=True)}


def to_frames(pixels: np.ndarray) -> torch.Tensor:
    """uint8 `[..., height, width, 3]` to float `[..., 3, height, width]` in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).movedim(-1, -3).float() / 255


def to_tokens(segment: EncodedSegment, tokenizers: Tokenizers, cut: Callable[[str], Sequence[int]]) -> Tokens:
    """What the layout needs to know of a segment; `cut` turns text into symbols."""
    if segment.form == "text":
        return TextTokens(tuple(cut(segment.data)))
    if segment.form == "codes":
        return CodeTokens(len(segment.data))
    if segment.form == "pixels":
        rows, columns = tokenizers.vision.grid
        return PatchTokens(len(segment.data), (rows // 2, columns // 2), segment.video)
    return ScaleTokens(len(segment.data), tokenizers.vision.quantiser.sizes, segment.video, segment.open)
