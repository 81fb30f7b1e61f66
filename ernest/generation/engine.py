"""The decoding engine: requests are submitted, and every step decodes one group of each of their rows, of whatever kind."""

from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.checkpoint import Learnt
from ernest.data.examples import EncodedSegment
from ernest.generation.code_choice import CodeChoice
from ernest.generation.known import doubts_about, refuse_unlearnt
from ernest.generation.prompts import Prompt, lay_out_prompt
from ernest.generation.request import Answer, Event, Group, MaxLengths, Request
from ernest.generation.row import ONLY_CONTROLS, Feed, Row
from ernest.generation.sampling import Draws, Sampling, apply_cfg, choose_bits, choose_class
from ernest.generation.slots import Hidden, Hook, Slots
from ernest.generation.text_states import TextStates
from ernest.model.network import Ernest
from ernest.model.submodel import SubModel, SubModels, stack
from ernest.sequence.batch import Cells
from ernest.sequence.record import Kind
from ernest.tokenizers.audio import SAMPLES
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.vision import to_pixels


class Engine:
    """Generation with a network, or with a sub-model of it where a request names none; `bf16` runs the trunk in half precision.

    `submit`, `step` and `cancel` are all there is; `generate` is the first two in a loop. At most `rows` samples run at once, and
    others wait. What a row makes does not depend on the company that it is in. With `learnt`, what the model never learnt is
    refused.
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
    ) -> None:
        self.model, self.tokenizers, self.submodel, self.bf16 = model.eval(), tokenizers, submodel, bf16
        self.max_lengths, self.rows, self.learnt = max_lengths or MaxLengths(), rows, learnt
        self.states = TextStates(tokenizers.text.pieces)
        self._slots = Slots(model, tokenizers, bf16)
        self._waiting: deque[Row] = deque()
        self._hidden: list[Hidden] = []
        self._cancelled: list[Row] = []
        self._laid_out: WeakKeyDictionary[Request, tuple[Prompt, ...]] = WeakKeyDictionary()
        self._tickets = 0
        self._masks = lru_cache(maxsize=1024)(self._mask)

    # -------------------------------------------------------------- requests

    def submit(self, request: Request) -> int:
        """Queues a request; returns the ticket that its events carry. Raises ValueError for a prompt that cannot be laid out, and
        for what the model never learnt."""
        prompts = self._lay_out(request)
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
        """Takes waiting rows in, chooses the next group of every row that predicts one, and runs what was chosen."""
        self._join()
        events: list[Event] = []
        for hidden in self._hidden:
            events += self._choose_tokens(hidden) + self._choose_bits(hidden) + self._take_codes(hidden)
        self._hidden = []
        ended = [row for row in self._live if row.end is not None]
        events += [Event(row.ticket, row.sample, "end", answer=row.answer()) for row in [*self._cancelled, *ended]]
        self._cancelled = []
        if ended:
            self._slots.release(ended)
        self._advance(self._live)
        return events

    def generate(self, requests: Sequence[Request]) -> list[list[Answer]]:
        """The answers to requests, one for each sample; the engine must not be busy."""
        if self.busy:
            raise RuntimeError("generate: the engine is busy with other requests; use submit and step")
        for request in requests:  # before any is queued
            self.check(request)
        tickets = {self.submit(request): n for n, request in enumerate(requests)}
        answers: list[dict[int, Answer]] = [{} for _ in requests]
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
        return self.draw([a.segments[0].value for a in self.answers(prompts, "video", sampling, seed, frames, first)])

    def sounds(
        self, prompts: Sequence[Sequence[EncodedSegment]], sampling: Sampling | None = None, seed: int = 0
    ) -> list[np.ndarray]:
        """float32 `[samples]` each."""
        return self.play([answer.segments[0].value for answer in self.answers(prompts, "audio", sampling, seed)])

    @torch.inference_mode()
    def draw(self, sums: Sequence[Tensor]) -> list[np.ndarray]:
        """Decodes sums of scales `[frames, bits, rows, columns]` to frames: uint8 `[frames, height, width, 3]` each."""
        if not sums:
            return []
        decoded = torch.cat([self.tokenizers.vision.decode(part) for part in torch.cat(list(sums)).split(256)])
        return np.split(to_pixels(decoded).numpy(), np.cumsum([len(one) for one in sums])[:-1])

    @torch.inference_mode()
    def play(self, codes: Sequence[Tensor]) -> list[np.ndarray]:
        """Decodes codes `[frames, levels]` to sound: float32 `[samples]` each; no frames give one of silence."""
        spoken = [one for one in codes if len(one)]
        waves = iter(self.tokenizers.audio.decode(spoken) if spoken else [])
        return [next(waves) if len(one) else np.zeros(SAMPLES, np.float32) for one in codes]

    # -------------------------------------------------------------- choices

    @property
    def _live(self) -> list[Row]:
        return list(dict.fromkeys(self._slots.owners))

    def _join(self) -> None:
        free = self.rows - len(self._live)
        joining = [self._waiting.popleft() for _ in range(min(free, len(self._waiting)))]
        if joining:
            hidden = self._slots.prefill(joining)
            self._hidden += [] if hidden is None else [hidden]

    def _lay_out(self, request: Request) -> tuple[Prompt, ...]:
        """The prompt and, under guidance, the one without its words; kept as long as the request."""
        if request not in self._laid_out:
            first = request.kinds[0] if request.kinds else None
            drops = (False, True) if request.guided else (False,)
            prompts = tuple(lay_out_prompt(request.prompt, first, self.tokenizers, drop) for drop in drops)
            if self.learnt is not None:
                refuse_unlearnt(self.learnt, request.prompt, request.kinds, len(prompts[0]))
            self._laid_out[request] = prompts
        return self._laid_out[request]

    def _choose_tokens(self, hidden: Hidden) -> list[Event]:
        chosen = [r for r, row in enumerate(hidden.rows) if row.predicts == "token" and row.end is None]
        if not chosen:
            return []
        rows, draws = _rows_of(hidden, chosen)
        logits, guided = self._logits(self.model.text_head, hidden, chosen, draws, 1)
        mask = torch.stack([self._masks(*row.allowed()) for row in rows])
        tokens, log_p = choose_class(guided[:, 0].masked_fill(~mask, -torch.inf), draws)
        own = F.log_softmax(logits[:, 0].float(), dim=-1).gather(1, tokens[:, None])[:, 0]
        events = []
        for r, token, p, q in zip(chosen, tokens.tolist(), log_p.tolist(), own.tolist(), strict=True):
            events.append(_event(hidden, r, "token", token, p, q, 1))
            hidden.rows[r].take_token(token)
        return events

    def _mask(self, state: int, left: int, controls: tuple[int, ...]) -> Tensor:
        """The tokens that a row may choose, bool `[vocabulary]`."""
        if state == ONLY_CONTROLS:
            mask = torch.zeros(self.tokenizers.text.vocab_size, dtype=torch.bool)
        else:
            mask = self.states.allowed(state, left).clone()
        mask[list(controls)] = True
        return mask.to(self._slots.device)

    def _choose_bits(self, hidden: Hidden) -> list[Event]:
        by_scale: dict[int, list[int]] = {}
        for r, row in enumerate(hidden.rows):
            if row.predicts == "bits" and row.end is None and not row.feeds:
                by_scale.setdefault(row.scale, []).append(r)
        return [event for scale in sorted(by_scale) for event in self._choose_bits_of(hidden, by_scale[scale], scale)]

    def _choose_bits_of(self, hidden: Hidden, chosen: list[int], scale: int) -> list[Event]:
        quantiser = self.tokenizers.vision.quantiser
        rows, draws = _rows_of(hidden, chosen)
        height, width = quantiser.sizes[scale]
        logits, guided = self._logits(self.model.bit_head, hidden, chosen, draws, height * width)
        bits, log_p = choose_bits(guided, draws)
        known = [row.known_bits() for row in rows]
        for n, given in enumerate(known):
            if given is not None:
                bits[n] = given
        own = -F.binary_cross_entropy_with_logits(logits.float(), bits.float(), reduction="none").sum((1, 2))
        bits = bits.cpu()
        totals = torch.stack([row.total for row in rows]) + quantiser.lookup(bits, scale)
        events = []
        for n, (r, p, q) in enumerate(zip(chosen, log_p.tolist(), own.tolist(), strict=True)):
            if known[n] is None:
                events.append(_event(hidden, r, "bits", bits[n], p, q, height * width, rows[n].frame, scale))
            rows[n].take_bits(bits[n], totals[n])
        return events

    def _take_codes(self, hidden: Hidden) -> list[Event]:
        events = []
        for r, row in enumerate(hidden.rows):
            if row.predicts == "codes" and row.end is None and not row.feeds:
                codes, log_p, own = row.chosen_codes
                events.append(_event(hidden, r, "codes", codes, log_p, own, 1))
                row.take_codes(codes)
        return events

    def _logits(
        self, head: Callable[[Tensor], Tensor], hidden: Hidden, chosen: list[int], draws: Draws, positions: int
    ) -> tuple[Tensor, Tensor]:
        """Logits `[R, positions, …]` of rows at the last positions of their group, their own and the guided ones."""
        own, free = [hidden.own[r] for r in chosen], [hidden.free[r] for r in chosen]
        is_guided = any(sampling.guidance for sampling in draws.samplings)
        index = [*own, *free] if is_guided else own
        states = hidden.states if index == list(range(len(hidden.states))) else hidden.states[index]
        logits = head(states[:, -positions:])
        if not is_guided:
            return logits, logits
        logits, unconditioned = logits.chunk(2)
        return logits, apply_cfg(logits, unconditioned, draws)

    # -------------------------------------------------------------- the next groups

    def _advance(self, rows: Sequence[Row]) -> None:
        """Feeds what was chosen; rows whose groups are as wide as each other go together."""
        by_width: dict[int, list[tuple[Row, Feed]]] = {}
        for row in rows:
            feed = row.next_feed()
            height, width = self.tokenizers.vision.quantiser.sizes[feed.scale] if feed.what == "cells" else (1, 1)
            by_width.setdefault(height * width, []).append((row, feed))
        for width in sorted(by_width):
            together = by_width[width]
            x = self._inputs(together, width)
            position = np.stack([row.positions(feed) for row, feed in together])
            self._hidden.append(self._slots.advance([row for row, _ in together], x, position, self._listen))

    def _inputs(self, together: Sequence[tuple[Row, Feed]], width: int) -> Tensor:
        """`[rows, width, model width]`."""
        device = self._slots.device
        kinds: dict[tuple[str, int], list[int]] = {}
        for r, (_, feed) in enumerate(together):
            kinds.setdefault((feed.what, feed.scale), []).append(r)
        parts = []
        for (what, scale), chosen in kinds.items():
            some = [together[r] for r in chosen]
            if what == "token":
                parts.append(self.model.token_embedding(torch.tensor([[feed.token] for _, feed in some], device=device)))
                continue
            value = torch.stack([feed.value for _, feed in some if feed.value is not None])
            if what == "codes":
                parts.append(self.model.audio.embed(value.to(device))[:, None])
            else:
                parts.append(self._cells(value, torch.stack([row.previous for row, _ in some]), scale, what == "sum"))
        if len(parts) == 1:
            return parts[0]
        order = torch.tensor([r for chosen in kinds.values() for r in chosen], device=device)
        return torch.cat(parts)[order.argsort()]

    def _cells(self, total: Tensor, previous: Tensor, scale: int, is_sum: bool) -> Tensor:
        """Inputs `[rows, cells, width]` of one scale, beside the frame before; or of SΣ, with the whole frame."""
        quantiser, device = self.tokenizers.vision.quantiser, self._slots.device
        value = quantiser.down(total, scale).flatten(2).transpose(1, 2)
        beside = torch.zeros_like(value) if is_sum else quantiser.down(previous, scale).flatten(2).transpose(1, 2)
        rows, cells, _ = value.shape
        index = torch.arange(rows * cells, device=device)
        frames = total.flatten(1) if is_sum else torch.zeros(0, self.model.frame_projection.in_features)
        flat = torch.cat([value, beside], dim=2).flatten(0, 1).to(device)
        scales = torch.full((rows * cells,), scale, device=device)
        inputs = Cells(index, flat, scales, index[: len(frames)], frames.to(device))
        return self.model.embed_cells(inputs, torch.zeros(rows * cells, self.model.config.width, device=device)).unflatten(
            0, (rows, cells)
        )

    def _listen(self, places: Hidden) -> Hook:
        """What comes after each layer: rows that predict codes choose one at each of the top ones."""
        chosen = [r for r, row in enumerate(places.rows) if row.predicts in ("codes", "end of codes")]
        if not chosen:
            return lambda layer, x: x
        rows, draws = _rows_of(places, chosen)
        own = [places.own[r] for r in chosen]
        twins = [n for n, r in enumerate(chosen) if places.free[r] != places.own[r]]
        index = torch.tensor(own + [places.free[chosen[n]] for n in twins], device=self._slots.device)
        codec = self.tokenizers.audio.config
        choice = CodeChoice(rows, draws, twins, codec.codebook, codec.levels)

        def hook(layer: int, x: Tensor) -> Tensor:
            return self.model.audio.step(layer, x, index, choice)

        return hook


def _rows_of(hidden: Hidden, chosen: list[int]) -> tuple[list[Row], Draws]:
    rows = [hidden.rows[r] for r in chosen]
    return rows, Draws([row.sampling() for row in rows], [row.stream for row in rows])


def _event(
    hidden: Hidden, r: int, group: Group, value: object, log_p: float, own: float, positions: int, frame: int = 0, scale: int = 0
) -> Event:
    """Counts a choice of a row, and tells it."""
    row = hidden.rows[r]
    row.log_prob += log_p
    row.log_likelihood += own
    experts = hidden.experts[:, hidden.own[r], -positions:] if row.request.experts else None
    return Event(row.ticket, row.sample, group, value, log_p, own, frame, scale, experts)
