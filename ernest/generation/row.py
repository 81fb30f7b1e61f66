"""One sample of a request: what it has made, what it feeds next, and what is to be predicted from that."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ernest.generation.frames import Frames
from ernest.generation.prompts import Prompt
from ernest.generation.request import Answer, End, MadeSegment, MaxLengths, Request
from ernest.generation.sampling import Sampling, Stream, at_frame
from ernest.generation.text_states import BROKEN, WHOLE, TextStates
from ernest.model.submodel import SubModel
from ernest.sequence.groups import centred
from ernest.sequence.record import Kind
from ernest.tokenizers.bundle import Tokenizers

Prediction = Literal["token", "bits", "codes", "end of codes", "nothing"]
ONLY_CONTROLS = -1
NOWHERE = np.zeros((1, 3))
Allowed = tuple[int, int, tuple[int, ...]]
"""The tokens that may be chosen: those that a text in a state goes on with, and how many more it may have; and control tokens."""


@dataclass(frozen=True, eq=False)
class ChosenCodes:
    """The codes of a codec frame `[levels]`, their log-probabilities under the policy `[levels]`, the sum of these, and their
    log-likelihood. They may be the end of audio; `is_begun` says whether they were chosen before the sample was cut."""

    codes: Tensor
    elements: Tensor
    log_p: float
    own: float
    ends: bool
    is_begun: bool


@dataclass(frozen=True, eq=False)
class Feed:
    """The next positions of a row, and what their hidden states predict: a `token`; the cells of a `scale`, with the sum of the
    frame so far as `value`; the finished sum of a frame; or the codes of a codec frame. `time` is the frame's place."""

    what: Literal["token", "cells", "sum", "codes"]
    predicts: Prediction
    token: int = 0
    scale: int = 0
    time: int = 0
    value: Tensor | None = None


class Row:
    """The state of one sample. Its `slots` of the cache hold the conditioned row and, under guidance, the unconditioned one."""

    def __init__(
        self,
        ticket: int,
        sample: int,
        request: Request,
        submodel: SubModel | None,
        limits: MaxLengths,
        tokenizers: Tokenizers,
        states: TextStates,
    ) -> None:
        self.ticket, self.sample, self.request, self.submodel = ticket, sample, request, submodel
        self.limits, self.tokenizers, self.states = limits, tokenizers, states
        self.control, self.sizes = tokenizers.control_tokens, tokenizers.vision.quantiser.sizes
        self.begins: dict[int, Kind] = {
            self.control.boi: "image", self.control.bov: "video", self.control.boa: "audio", self.control.sep: "text"
        }  # fmt: skip
        self.begin_of = {kind: token for token, kind in self.begins.items()}
        self.stream = Stream(request.seed, sample)
        self.slots: list[int] = []
        self.prompts: tuple[Prompt, ...] = ()
        self.length = 0
        self.feeds: deque[Feed] = deque()
        self.predicts: Prediction = "token"
        self.following = None if request.kinds is None else deque(request.kinds)
        self.kind: Kind | None = None
        self.segments: list[MadeSegment] = []
        self.log_likelihood = self.log_prob = 0.0
        self.end: End | None = None
        self.words: list[int] | None = []
        """What was fed since the prompt, as long as it is tokens alone."""
        self.verified: tuple[Tensor, list[int]] | None = None
        """Hidden states of the positions that the last step chose tokens at, and the tokens."""
        self.chosen_codes: ChosenCodes | None = None
        self.begun = deque(request.begun)

    def start(self) -> None:
        """The prompts stand in the cache, with the begin token where it is not that of a sound."""
        self.length = len(self.prompts[0])
        if self.following is None:
            return
        kind = self.following.popleft()
        if kind == "audio":
            self.predicts = "nothing"
            self._feed_begin(kind)
        else:
            self.predicts = self._open(kind)
            self.begin = self.length - 1

    def next_feed(self) -> Feed:
        """What comes now; the row must not have ended."""
        feed = self.feeds.popleft()
        if feed.what == "token" and feed.token in (self.control.boi, self.control.bov):
            self.begin = self.length
        self.predicts = feed.predicts
        if feed.what != "token":
            self.words = None
        elif self.words is not None:
            self.words.append(feed.token)
        return feed

    def positions(self, feed: Feed) -> np.ndarray:
        """(t, h, w) of the positions of a feed, `[n, 3]`."""
        if feed.what in ("token", "codes"):
            return NOWHERE + self.length
        offsets = centred_at(self.sizes[feed.scale] if feed.what == "cells" else (1, 1), self.sizes[-1])
        return offsets + np.array([feed.time, self.begin, self.begin])

    def lost(self, feed: Feed, window: int) -> tuple[int, int]:
        """The columns that a feed does not see, from the first to before the last: those of frames that a `window` of frames has
        left behind, where it is not 0 (`ernest.sequence.history`)."""
        if feed.what not in ("cells", "sum") or not window:
            return 0, 0
        behind = max(feed.time - self.begin - window, 0)
        return self.begin + 1, self.begin + 1 + behind * sum(rows * columns for rows, columns in self.sizes)

    def recall(self) -> Any:
        """The value of the choice at hand, where the request brings it; else None."""
        return self.begun.popleft() if self.begun else None

    def answer(self) -> Answer:
        assert self.end is not None
        return Answer(tuple(self.segments), self.log_likelihood, self.log_prob, self.end)

    # -------------------------------------------------------------- segments

    @property
    def _more(self) -> bool:
        return self.following is None or bool(self.following)

    def _open(self, kind: Kind) -> Prediction:
        """Begins a segment; what the position before it predicts."""
        self.kind = kind
        if kind == "text":
            self.ids: list[int] = []
            self.state = WHOLE
            return "token"
        if kind == "audio":
            self.codec_frames: list[Tensor] = []
            return "codes"
        self.frames = Frames(self.tokenizers.vision.quantiser, self.request.first_frames if kind == "video" else None)
        return "bits"

    def _follow(self, end: End = "end") -> None:
        """A segment is complete: ends, or says what the last feed predicts."""
        self.kind = None
        if self.following is None and len(self.segments) == self.limits.segments:
            self.end = "length"
        elif self.following is None:
            self._predict("token")
        elif not self.following:
            self.end = end
        elif self.following[0] == "text":  # needs no begin token behind a picture or a sound
            self._predict(self._open(self.following.popleft()))
        else:
            self._feed_begin(self.following.popleft())

    def _predict(self, prediction: Prediction) -> None:
        self.feeds[-1] = replace(self.feeds[-1], predicts=prediction)

    def _feed_begin(self, kind: Kind) -> None:
        self.feeds.append(Feed("token", self._open(kind), self.begin_of[kind]))

    # -------------------------------------------------------------- choices

    def sampling(self) -> Sampling:
        """For the choice at hand."""
        sampling = self.request.sampling_of(self.kind or "text")
        return at_frame(sampling, self.frames.frame) if self.predicts == "bits" else sampling

    def allowed(self, draft: Sequence[int] = ()) -> list[Allowed]:
        """What may be chosen next, and behind each of the tokens of `draft`, which a row has that is in a text."""
        found = [self._allowed()]
        state = self.state if draft else WHOLE
        for n, token in enumerate(draft, start=1):
            state = int(self.states.after[state, token]) if state != BROKEN else BROKEN
            left = self.limits.tokens - len(self.ids) - 1 - n
            found.append(
                (state, left, self.ends_of_text() if state == WHOLE else ()) if state != BROKEN and left >= 0 else found[0]
            )
        return found

    def _allowed(self) -> Allowed:
        if self.kind == "video":
            return ONLY_CONTROLS, 0, (self.control.cont, self.control.eov)
        if self.kind == "text":
            return self.state, self.limits.tokens - len(self.ids) - 1, self.ends_of_text() if self.state == WHOLE else ()
        media, prompt = (self.control.boi, self.control.bov, self.control.boa), self.request.prompt
        if not self.segments and prompt and prompt[-1].form == "text":
            return ONLY_CONTROLS, 0, (*media, self.control.sep)
        begun = bool(self.segments or prompt)  # a document opens with text, since no position before it predicts anything else
        return WHOLE, self.limits.tokens - 1, (*(media if begun else ()), self.control.eos)

    def ends_of_text(self) -> tuple[int, ...]:
        """The control tokens that may end the text at hand."""
        if self.following is None and len(self.segments) + 1 < self.limits.segments:
            return *self.begins, self.control.eos
        return (self.begin_of[self.following[0]] if self.following else self.control.eos,)

    @property
    def goes_on(self) -> bool:
        """Whether a text goes on."""
        return self.end is None and self.kind == "text" and bool(self.ids) and self.feeds[0].predicts == "token"

    def take_token(self, token: int) -> None:
        if self.kind == "video":
            self._go_on_or_end(token == self.control.cont)
        elif token == self.control.eos or token in self.begins:
            self._take_control(token)
        else:
            self._take_text(token)

    def _take_control(self, token: int) -> None:
        if self.kind == "text":
            self.segments.append(MadeSegment("text", self.ids))
        if token == self.control.eos:
            self.end = "end"
        else:
            if self.following:
                self.following.popleft()
            self._feed_begin(self.begins[token])

    def _take_text(self, token: int) -> None:
        if self.kind is None:
            self._open("text")
        self.ids.append(token)
        self.state = int(self.states.after[self.state, token])
        if len(self.ids) < self.limits.tokens:
            self.feeds.append(Feed("token", "token", token))
            return
        self.segments.append(MadeSegment("text", self.ids))
        if not self.following:
            self.end = "length"
            return
        self.feeds.append(Feed("token", "nothing", token))
        self._feed_begin(self.following.popleft())

    def take_bits(self, bits: Tensor, total: Tensor) -> None:
        """The bits of the scale at hand, and the sum of the frame's scales with it."""
        frames = self.frames
        if not frames.take(bits, total):
            self.feeds.append(Feed("cells", "bits", scale=frames.scale, time=self.begin + frames.frame, value=total))
            return
        made, wanted = len(frames.finished), min(self.request.frames or self.limits.frames, self.limits.frames)
        if self.kind == "image" or made == wanted:
            self._end_vision("end" if self.kind == "image" or self.request.frames else "length", feed_sum=True)
        elif self.request.frames is None and made >= frames.known:
            self._feed_sum("token")
        else:
            self._feed_sum("bits")
            frames.next()

    def _feed_sum(self, predicts: Prediction) -> None:
        finished = self.frames.finished
        self.feeds.append(Feed("sum", predicts, time=self.begin + len(finished), value=finished[-1]))

    def _go_on_or_end(self, go_on: bool) -> None:
        """The position that predicted CONT predicts the next frame too; EOV follows as a token."""
        if go_on:
            self.frames.next()
            self.predicts = "bits"
        else:
            self._end_vision("end", feed_sum=False)

    def _end_vision(self, end: End, feed_sum: bool) -> None:
        assert self.kind is not None
        self.segments.append(self.frames.segment(self.kind))
        if self._more:
            if feed_sum:
                self._feed_sum("nothing")
            token = self.control.eov if self.kind == "video" else self.control.eoi
            self.feeds.append(Feed("token", "nothing", token))
        self._follow(end)

    def take_codes(self, codes: Tensor, ended: bool) -> None:
        """The codes `[levels]` that were chosen on the way through the layers; those of the end of audio have `ended` it."""
        if not ended:
            self.codec_frames.append(codes)
        full = len(self.codec_frames) == self.limits.codec_frames
        if not ended and not full:
            self.feeds.append(Feed("codes", "codes", value=codes))
            return
        nothing = codes.new_zeros(0, len(codes))
        self.segments.append(MadeSegment("audio", torch.stack(self.codec_frames) if self.codec_frames else nothing))
        if self._more:
            self.feeds += [Feed("codes", "end of codes", value=codes)] if not ended else []
            self.feeds.append(Feed("codes", "nothing", value=torch.full_like(codes, self.tokenizers.audio.config.codebook)))
        self._follow("end" if ended else "length")


@lru_cache
def centred_at(scale: tuple[int, int], finest: tuple[int, int]) -> np.ndarray:
    """(0, y, x) of the cells of a scale, `[cells, 3]`."""
    return np.array([(0.0, y, x) for y, x in centred(scale, finest)])
