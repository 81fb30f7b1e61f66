"""What is asked of the model thread, and what it tells back: plain values that both threads may hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ernest.config.media import USUAL
from ernest.generation.sampling import Sampling
from ernest.sequence.record import Kind, Segment
from ernest.serve.models import ModelName

Ending = Literal["stop", "length"]


@dataclass(frozen=True)
class Work:
    """A prompt of `segments` for a model, and the `kinds` of segments to make; None leaves them to the model.

    `sampling` is one for all kinds or one of each, and None the usual one of each. A text ends after `max_tokens`, or before one
    of the words in `stop`. What is made of the kinds in `watch` is told as it grows, of a picture the first `scales`, or all;
    with 0 of them, only that it has begun. `experts` tells those behind it as well. `first_frame`, uint8 `[height, width, 3]`,
    begins a video.
    """

    model: ModelName
    segments: tuple[Segment, ...]
    kinds: tuple[Kind, ...] | None
    sampling: Sampling | Mapping[Kind, Sampling] | None = None
    seed: int = 0
    samples: int = 1
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    watch: frozenset[Kind] = frozenset()
    scales: int | None = None
    experts: bool = False
    first_frame: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Made:
    """A segment that was made. `data` by kind: `str`; uint8 `[height, width, 3]`; uint8 `[frames, height, width, 3]`; float32
    `[samples]` of `rate` a second. On the model thread, until they are decoded, sums of scales and codes instead."""

    kind: Kind
    data: Any
    rate: int = USUAL.sample_rate


@dataclass(frozen=True)
class Token:
    """What a token spells, and its log-probability under the model."""

    spelled: bytes
    log_prob: float


@dataclass(frozen=True, eq=False)
class Update:
    """News of one of a work's samples.

    `text` was added to a text, by `tokens`. A `picture` is shown up to a `scale` of a `frame`; a `sound`, up to now: `made` holds
    it. The `end` brings all that was made, and the number of choices that it took.
    """

    sample: int
    what: Literal["text", "picture", "sound", "end"]
    text: str = ""
    tokens: tuple[Token, ...] = ()
    made: tuple[Made, ...] = ()
    frame: int = 0
    scale: int = 0
    ending: Ending = "stop"
    choices: int = 0
    experts: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class Accepted:
    """What the model thread says of a work that it takes: the positions of its prompt, and what makes its answer doubtful."""

    positions: int
    doubts: tuple[str, ...] = ()
