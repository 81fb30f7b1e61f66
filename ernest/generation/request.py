"""What is asked of the engine, and what comes back: requests, events group by group, and answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from torch import Tensor

from ernest.config.media import CODE_RATE, USUAL, MediaSpec
from ernest.data.examples import EncodedSegment
from ernest.generation.sampling import DEFAULTS, Sampling
from ernest.model.submodel import SubModel
from ernest.sequence.record import KINDS, Kind

End = Literal["end", "length", "cancelled"]
Group = Literal["token", "bits", "codes", "end"]


@dataclass(frozen=True)
class MaxLengths:
    """The longest segment of each kind, in tokens, latents and frames of codes, and the most segments."""

    tokens: int = USUAL.longest_text
    frames: int = USUAL.frames
    codec_frames: int = round(USUAL.longest_answer * CODE_RATE)
    segments: int = 8
    """Of an answer whose kinds the model chooses."""

    @classmethod
    def of(cls, media: MediaSpec) -> Self:
        """The lengths that the media of a recipe allow."""
        return cls(media.longest_text, media.latents(media.frames), round(media.longest_answer * CODE_RATE))


@dataclass(frozen=True, eq=False)
class Request:
    """A prompt of given segments, and the `kinds` of the segments to make, in order; None leaves them to the model, which
    decides by its control tokens.

    `sampling` is one for all kinds or one of each, and None the usual one of each. `samples` answers share the prompt; each draws
    by `seed` and its own number. `submodel` None is the engine's. A video has as many latents as the model will, or `frames`;
    `first_frames`, latents `[frames, bits, rows, columns]`, are its beginning. A latent is one frame, or with a temporal stride a
    group of them. `experts` asks for what training needs of every choice: the experts behind it, and the log-probabilities of its
    elements.

    `begun` are values of the events of a sample that was cut: it goes on behind them as if it had just chosen them, and tells
    them to nobody. They use up the random numbers that choosing takes.
    """

    prompt: tuple[EncodedSegment, ...]
    kinds: tuple[Kind, ...] | None
    sampling: Sampling | Mapping[Kind, Sampling] | None = None
    seed: int | tuple[int, ...] = 0
    samples: int = 1
    submodel: SubModel | None = None
    frames: int | None = None
    first_frames: Tensor | None = None
    experts: bool = False
    begun: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.kinds, str) or any(kind not in KINDS for kind in self.kinds or ()):
            raise ValueError(f"kinds = {self.kinds!r}: expected some of {', '.join(KINDS)}, such as ('text',)")
        if self.kinds is not None and not self.kinds:
            raise ValueError("kinds: name at least one, or None to let the model decide")
        if self.samples < 1:
            raise ValueError(f"samples = {self.samples} must be at least 1")
        if self.frames is not None and self.frames < 1:
            raise ValueError(f"frames = {self.frames} must be at least 1")
        if self.begun and self.samples > 1:
            raise ValueError("begun: what one sample has made cannot be the beginning of several")

    def sampling_of(self, kind: Kind) -> Sampling:
        if isinstance(self.sampling, Sampling):
            return self.sampling
        return (self.sampling or DEFAULTS).get(kind, DEFAULTS[kind])

    @property
    def guided(self) -> bool:
        """Whether an unconditioned row runs beside each sample."""
        return any(self.sampling_of(kind).guidance > 0 for kind in self.kinds or KINDS)


@dataclass(frozen=True, eq=False)
class MadeSegment:
    """A segment as the model made it. `value` by kind: token ids; latent sums float `[frames, bits, rows, columns]`; codes
    `[frames, levels]`. `bits`, bool `[frames, cells, bits]`, are those of a picture or video that its sums were made from."""

    kind: Kind
    value: Any
    bits: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """What was made for one sample. `log_likelihood` is that of the choices under the model itself, at temperature 1, unguided
    and unrestricted; `log_prob` that under the policy that sampled them. What is laid down and not chosen, counts in neither.
    `end` says whether the model ended it, a length, or a cancel."""

    segments: tuple[MadeSegment, ...]
    log_likelihood: float
    log_prob: float
    end: End


@dataclass(frozen=True, eq=False)
class Event:
    """One group that was chosen for a sample of a ticket, or with `answer` the sample's end.

    `value` by `group`: a token id; the bits bool `[cells, bits]` of `scale` of `frame`, with which its sum of scales is `total`
    `[bits, rows, columns]`; codes `[levels]` of a codec frame, the end of audio among them. `position` is the last one of those
    that predict it, counted from the document's first. `allowed` says which tokens could be chosen. On request `experts`,
    `[layers, positions, k]` with -1 for none, ran at the positions that predict the group, and `elements` are the
    log-probabilities of its bits or codes one by one.
    """

    ticket: int
    sample: int
    group: Group
    value: Any = None
    log_prob: float = 0.0
    log_likelihood: float = 0.0
    frame: int = 0
    scale: int = 0
    position: int = 0
    allowed: tuple[int, int, tuple[int, ...]] | None = None
    experts: Tensor | None = field(default=None, repr=False)
    elements: Tensor | None = field(default=None, repr=False)
    total: Tensor | None = field(default=None, repr=False)
    answer: Answer | None = field(default=None, repr=False)
