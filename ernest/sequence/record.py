"""Records, before tokenisation: texts, pictures, videos and sounds in reading order, each given or made.

A record is a list of *segments* (text, image, video, audio). A segment is *given*, to be understood,
or *made*, to be generated; only made segments carry loss.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Kind = Literal["text", "image", "video", "audio"]
KINDS: tuple[Kind, ...] = ("text", "image", "video", "audio")


@dataclass(frozen=True)
class Segment:
    """A text, picture, video or sound of a record, given or made.

    `data` by kind: text a `str`; image uint8 `[height, width, 3]`; video uint8 `[frames, height, width, 3]`;
    audio float32 `[samples]` in [-1, 1]. An `open` video goes on beyond the record, so
    its end is never predicted: a record may show only its first frame. `others` are texts that may stand in the place of
    a text: training draws one of all of them each time. A given sound with a `voice`, the name of whoever speaks, is a sample
    of that voice: what it says does not count.
    """

    kind: Kind
    data: Any
    made: bool
    open: bool = False
    others: tuple[str, ...] = ()
    voice: str = ""

    def __post_init__(self) -> None:
        fault = _fault(self.kind, self.data)
        if self.others and (self.kind != "text" or any(_fault("text", text) for text in self.others)):
            fault = f"others: only a text has other texts, none of them empty, got {self.others!r}"
        if self.open and not (self.kind == "video" and self.made):
            fault = "only a video that is made can be open"
        if self.voice and (self.kind != "audio" or self.made):
            fault = f"only a given sound can be a sample of a voice, such as {self.voice!r}"
        if fault:
            raise ValueError(f"segment of kind {self.kind!r}: {fault}")


@dataclass(frozen=True)
class Record:
    """Segments in reading order, a name for the direction they train, and the facts a verifier needs."""

    segments: tuple[Segment, ...]
    task: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.segments:
            raise ValueError("a record needs at least one segment")
        if not any(segment.made for segment in self.segments):
            raise ValueError("a record needs at least one segment that is made: nothing would be learnt from it")
        if any(segment.open for segment in self.segments[:-1]):
            raise ValueError("an open segment must be the last of its record: nothing can follow what has no end")


def given(kind: Kind, data: Any, others: tuple[str, ...] = (), voice: str = "") -> Segment:
    """A segment that the model is given: it conditions on it and learns nothing from it."""
    return Segment(kind, data, made=False, others=others, voice=voice)


def made(kind: Kind, data: Any, open: bool = False, others: tuple[str, ...] = ()) -> Segment:
    """A segment that the model learns to make."""
    return Segment(kind, data, made=True, open=open, others=others)


def _fault(kind: str, data: Any) -> str:
    """What is wrong with `data` as a segment of `kind`, or the empty string."""
    if kind not in KINDS:
        return f"the kind must be one of {', '.join(KINDS)}"
    if kind == "text":
        return "" if isinstance(data, str) and data else f"expected a text that is not empty, got {data!r}"
    if not isinstance(data, np.ndarray):
        return f"expected a numpy array, got {type(data).__name__}"
    if kind == "audio":
        right = data.ndim == 1 and data.dtype == np.float32 and data.size > 0
        return "" if right else f"expected float32 [samples], got {data.dtype} {list(data.shape)}"
    shape = "[height, width, 3]" if kind == "image" else "[frames, height, width, 3]"
    right = data.dtype == np.uint8 and data.ndim == (3 if kind == "image" else 4) and data.shape[-1] == 3 and data.size
    return "" if right else f"expected uint8 {shape}, got {data.dtype} {list(data.shape)}"
