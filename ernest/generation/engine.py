"""The decoding engine: requests are submitted, and every step decodes one group of each of their rows, of whatever kind."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import RLock
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from ernest.checkpoint import Learnt
from ernest.data.examples import EncodedSegment
from ernest.device import one_thread_after_fork, supports_bf16
from ernest.generation.choices import Choices
from ernest.generation.drafts import HeadDrafter, Speculation, drafter
from ernest.generation.inputs import inputs_of, positions_of
from ernest.generation.known import doubts_about, refuse_impossible, refuse_unlearnt
from ernest.generation.prompts import Prompt, lay_out_prompt
from ernest.generation.request import Answer, Event, MaxLengths, Request
from ernest.generation.row import Feed, Row
from ernest.generation.sampling import Sampling
from ernest.generation.slots import Hidden, Slots
from ernest.generation.text_states import TextStates
from ernest.generation.writing import TextWriter
from ernest.model.decoding import CompiledBlocks, usable
from ernest.model.network import Ernest
from ernest.model.submodel import SubModel, SubModels, stack
from ernest.model.submodel import check as check_submodel
from ernest.sequence.record import Kind
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.vision import to_pixels


def bf16_pays(model: Ernest) -> bool:
    """Whether a network decodes faster with its trunk in half precision: not where the compiled kernels take it, which count in
    float32 and need less time than PyTorch in bfloat16, whose copies of all weights alone take as long as a group."""
    return supports_bf16(model.token_embedding.weight.device) and not usable(model.backbone, model.config)


class Engine:
    """Generation with a network, or with a sub-model of it where a request names none; `bf16` runs the trunk in half precision.

    `submit`, `step` and `cancel` are all there is; `generate` is the first two in a loop. At most `rows` samples run at once, and
    others wait. What a row makes does not depend on the company that it is in. With `learnt`, what the model never learnt is
    refused; with `speculation`, texts are drafted ahead, which changes no answer.

    Threads that share an engine wait for each other. Whatever is raised in a step, an interruption as well, gives up all that is
    under way. Raises ValueError for `rows` or a `submodel` that cannot be.
    """

    def __init__(
        self,
        model: Ernest,
        tokenizers: Tokenizers,
        submodel: SubModel | None = None,
        max_lengths: MaxLengths | None = None,
        bf16: bool = False,
        rows: int = 100,
        learnt: Learnt | None = None,
        speculation: Speculation | None = None,
    ) -> None:
        if rows < 1:
            raise ValueError(f"rows = {rows} must be at least 1")
        if submodel is not None:
            check_submodel(submodel, model.config, model.spec.levels)
        one_thread_after_fork()
        self.model, self.tokenizers, self.submodel, self.bf16 = model.eval(), tokenizers, submodel, bf16
        self.max_lengths, self.rows, self.learnt = max_lengths or MaxLengths.of(tokenizers.media), rows, learnt
        self.states = TextStates(tokenizers.text.pieces)
        self._slots = Slots(model, tokenizers, bf16)
        self._choices = Choices(model, tokenizers, self.states, speculation is not None)
        self._drafter = None if speculation is None else drafter(speculation, model, tokenizers, bf16)
        self._writer = None
        if isinstance(self._drafter, HeadDrafter) and self._drafter.compiled and isinstance(self._slots.trunk, CompiledBlocks):
            self._writer = TextWriter(self._slots, self._drafter, self.states, self._drafter.speculation)
        self._waiting: deque[Row] = deque()
        self._cancelled: list[Row] = []
        self._laid_out: WeakKeyDictionary[Request, tuple[Prompt, ...]] = WeakKeyDictionary()
        self._tickets = 0
        self._lock = RLock()

    # -------------------------------------------------------------- requests

    def submit(self, request: Request) -> int:
        """Queues a request; returns the ticket that its events carry. Raises ValueError for a prompt that cannot be laid out, and
        for what the model never learnt."""
        with self._lock:
            prompts = self._lay_out(request)
            if request.begun and self._drafter is not None:
                raise ValueError("begun: an engine that drafts ahead takes up no sample that was cut")
            self._tickets += 1
            submodel = request.submodel or self.submodel
            for sample in range(request.samples):
                row = Row(self._tickets, sample, request, submodel, self.max_lengths, self.tokenizers, self.states)
                row.prompts = prompts
                self._waiting.append(row)
            return self._tickets

    def check(self, request: Request) -> None:
        """Raises ValueError where `submit` would."""
        self._lay_out(request)

    def cancel(self, ticket: int) -> None:
        """Ends the samples of a ticket that have not ended; the next step says so."""
        with self._lock:
            for row in [*self._waiting, *self._live]:
                if row.ticket == ticket and row.end is None:
                    row.end = "cancelled"
            self._cancelled += [row for row in self._waiting if row.end is not None]
            self._waiting = deque(row for row in self._waiting if row.end is None)

    @property
    def busy(self) -> bool:
        """Whether a step has anything to do."""
        return bool(self._waiting or self._cancelled or self._slots.owners)

    @property
    def occupancy(self) -> tuple[int, int, int]:
        """Samples under way, samples that wait, and the bytes of keys and values that are held."""
        return len(self._live), len(self._waiting), self._slots.cache.keys.nbytes + self._slots.cache.values.nbytes

    def positions(self, request: Request) -> int:
        """How many positions the prompt of a request takes."""
        return len(self._lay_out(request)[0])

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """Runs what the step before has chosen, takes waiting rows in, and chooses the next group of every row that predicts one:
        what is chosen is told before it is run."""
        with self._lock, self._or_nothing():
            return self._step()

    def _step(self) -> list[Event]:
        going_on = [row for row in self._live if row.end is None]
        written = [row for row in going_on if self._writer is not None and row.goes_on and self._writer.suits(row)]
        events = self._write(written, len(written) == len(going_on) and not self._waiting) if written else []
        hidden = [*self._advance([row for row in going_on if row not in set(written)]), *self._join()]
        events += [event for predicting in hidden for event in self._choices.choose(predicting)]
        ended = [row for row in self._live if row.end is not None]
        events += [Event(row.ticket, row.sample, "end", answer=row.answer()) for row in [*self._cancelled, *ended]]
        self._cancelled = []
        if ended:
            self._slots.release(ended)
            if self._drafter is not None:
                self._drafter.forget(ended)
        return events

    def generate(self, requests: Sequence[Request]) -> list[list[Answer]]:
        """The answers to requests, one for each sample; the engine must not be busy."""
        answers: list[dict[int, Answer]] = [{} for _ in requests]
        with self._lock:
            if self.busy:
                raise RuntimeError("generate: the engine is busy with other requests; use submit and step")
            for request in requests:  # before any is queued
                self.check(request)
            with self._or_nothing():
                tickets = {self.submit(request): n for n, request in enumerate(requests)}
                while self.busy:
                    for event in self.step():
                        if event.answer is not None:
                            answers[tickets[event.ticket]][event.sample] = event.answer
        return [[by_sample[sample] for sample in sorted(by_sample)] for by_sample in answers]

    def doubts(self, request: Request) -> tuple[str, ...]:
        """A line for each thing that makes the answer doubtful, such as words that were never seen in training."""
        return () if self.learnt is None else doubts_about(self.learnt, request.prompt, request.kinds)

    def submodels(self, rows: int) -> SubModels | None:
        """The engine's sub-model for each of `rows` rows of a teacher-forced batch."""
        return None if self.submodel is None else stack([self.submodel] * rows, self.model.config)

    # -------------------------------------------------------------- answers of one segment

    def answers(
        self,
        prompts: Sequence[Sequence[EncodedSegment]],
        kind: Kind,
        sampling: Sampling | None = None,
        seed: int = 0,
        frames: int | None = None,
        first_frames: Tensor | None = None,
    ) -> list[Answer]:
        """An answer of one segment of `kind` to each prompt; prompt i draws by `(seed, i)`."""
        beginnings = [None] * len(prompts) if first_frames is None else list(first_frames)
        requests = [
            Request(tuple(prompt), (kind,), sampling, (seed, i), frames=frames, first_frames=beginning)
            for i, (prompt, beginning) in enumerate(zip(prompts, beginnings, strict=True))
        ]
        return [answer for (answer,) in self.generate(requests)]

    def texts(self, prompts: Sequence[Sequence[EncodedSegment]], sampling: Sampling | None = None, seed: int = 0) -> list[str]:
        """Texts, one per prompt."""
        return [self.tokenizers.text.decode(answer.segments[0].value) for answer in self.answers(prompts, "text", sampling, seed)]

    def pictures(
        self, prompts: Sequence[Sequence[EncodedSegment]], sampling: Sampling | None = None, seed: int = 0
    ) -> list[np.ndarray]:
        """uint8 `[height, width, 3]` each."""
        return [frames[0] for frames in self.draw([a.segments[0].value for a in self.answers(prompts, "image", sampling, seed)])]

    def videos(
        self,
        prompts: Sequence[Sequence[EncodedSegment]],
        sampling: Sampling | None = None,
        seed: int = 0,
        first: Tensor | None = None,
        frames: int | None = None,
    ) -> list[np.ndarray]:
        """uint8 `[frames, height, width, 3]` each; the model ends them, unless `frames` are told."""
        latents = None if frames is None else self.tokenizers.media.latents(frames)
        return self.draw([a.segments[0].value for a in self.answers(prompts, "video", sampling, seed, latents, first)])

    def sounds(
        self, prompts: Sequence[Sequence[EncodedSegment]], sampling: Sampling | None = None, seed: int = 0
    ) -> list[np.ndarray]:
        """float32 `[samples]` each."""
        return self.play([answer.segments[0].value for answer in self.answers(prompts, "audio", sampling, seed)])

    @torch.inference_mode()
    def draw(self, sums: Sequence[Tensor]) -> list[np.ndarray]:
        """Decodes sums of scales `[latents, bits, rows, columns]` to frames: uint8 `[frames, height, width, 3]` each."""
        if not sums:
            return []
        if self.tokenizers.media.temporal_stride > 1:
            return [to_pixels(self.tokenizers.vision.decode_film(one)).numpy() for one in sums]
        decoded = torch.cat([self.tokenizers.vision.decode(part) for part in torch.cat(list(sums)).split(256)])
        return np.split(to_pixels(decoded).numpy(), np.cumsum([len(one) for one in sums])[:-1])

    @torch.inference_mode()
    def play(self, codes: Sequence[Tensor]) -> list[np.ndarray]:
        """Decodes codes `[frames, levels]` to sound: float32 `[samples]` each; no frames give one of silence."""
        spoken = [one for one in codes if len(one)]
        waves = iter(self.tokenizers.audio.decode(spoken) if spoken else [])
        silence = np.zeros(self.tokenizers.audio.config.samples, np.float32)
        return [next(waves) if len(one) else silence for one in codes]

    # -------------------------------------------------------------- rows

    @contextmanager
    def _or_nothing(self) -> Iterator[None]:
        """Nobody knows what rows hold after a step that was broken off: none is kept."""
        try:
            yield
        except BaseException:
            self._waiting.clear()
            self._cancelled.clear()
            self._slots.clear()
            if self._drafter is not None:
                self._drafter.clear()
            raise

    @property
    def _live(self) -> list[Row]:
        return list(dict.fromkeys(self._slots.owners))

    def _join(self) -> list[Hidden]:
        """Runs the prompts of rows for which there is room."""
        free = self.rows - len(self._live)
        joining = [self._waiting.popleft() for _ in range(min(free, len(self._waiting)))]
        if not joining:
            return []
        self._choices.refresh()
        hidden = self._slots.prefill(joining)
        return [] if hidden is None else [hidden]

    def _lay_out(self, request: Request) -> tuple[Prompt, ...]:
        """The prompt and, under guidance, the one without its words; kept as long as the request."""
        if request not in self._laid_out:
            first = request.kinds[0] if request.kinds else None
            refuse_impossible(request, self.model, self.tokenizers, self.max_lengths.frames)
            drops = (False, True) if request.guided else (False,)
            prompts = tuple(lay_out_prompt(request.prompt, first, self.tokenizers, drop) for drop in drops)
            if self.learnt is not None:
                refuse_unlearnt(self.learnt, request.prompt, request.kinds, len(prompts[0]))
            self._laid_out[request] = prompts
        return self._laid_out[request]

    def _advance(self, rows: Sequence[Row]) -> list[Hidden]:
        """Feeds what was chosen; rows whose groups are as wide as each other go together."""
        by_width: dict[int, list[tuple[Row, Feed]]] = {}
        texts: list[tuple[Row, Feed]] = []
        for row in rows:
            is_text = self._drafter is not None and row.goes_on and self._drafter.suits(row)
            feed = row.next_feed()
            together = texts if is_text else by_width.setdefault(positions_of(feed, self.tokenizers), [])
            together.append((row, feed))
        hidden = []
        for width in sorted(by_width):
            together = by_width[width]
            x = inputs_of(together, self.model, self.tokenizers)
            position = np.stack([row.positions(feed) for row, feed in together])
            lost = np.array([row.lost(feed, self.model.config.frame_window) for row, feed in together])
            hidden.append(self._slots.advance([row for row, _ in together], x, position, self._choices.listen, lost=lost))
        if texts:
            hidden.append(self._speculate([row for row, _ in texts], [feed.token for _, feed in texts]))
        return hidden

    def _write(self, rows: list[Row], alone: bool) -> list[Event]:
        assert self._writer is not None
        for row in rows:
            row.next_feed()
        return self._writer.write(rows, alone)

    def _speculate(self, rows: list[Row], tokens: list[int]) -> Hidden:
        """Feeds the last tokens of texts with what may follow them."""
        assert self._drafter is not None
        drafts = self._drafter.draft(rows)
        fed = torch.tensor([[token, *draft] for token, draft in zip(tokens, drafts, strict=True)], device=self._slots.device)
        position = np.array([row.length for row in rows])[:, None] + np.arange(fed.shape[1])
        where = position[..., None].repeat(3, axis=-1)
        hidden = self._slots.advance(rows, self.model.token_embedding(fed), where, lambda hidden: None, causal=True)
        return replace(hidden, drafts=drafts)
