"""Chooses the next group of every row from hidden states: tokens, the bits of a scale, the codes of a codec frame."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ernest.device import HOST
from ernest.generation.code_choice import CodeChoice
from ernest.generation.request import Event, Group
from ernest.generation.row import ONLY_CONTROLS, Allowed, Row
from ernest.generation.sampling import Draws, apply_cfg, choose_bits, choose_class
from ernest.generation.slots import Hidden, Hook
from ernest.generation.text_states import TextStates
from ernest.model.decoding import CompiledLinear, log_probs, usable
from ernest.model.network import Ernest
from ernest.tokenizers.bundle import Tokenizers


class Choices:
    """The heads of a network at work: rows are told what was chosen, and events tell it outside. Where it `keeps_hidden` states,
    rows get those that tokens were chosen from."""

    def __init__(self, model: Ernest, tokenizers: Tokenizers, states: TextStates, keeps_hidden: bool) -> None:
        self.model, self.tokenizers, self.states, self.keeps_hidden = model, tokenizers, states, keeps_hidden
        self.device = model.token_embedding.weight.device
        heads = [model.text_head, *model.audio.code_heads]
        if usable(model.text_head, model.config):
            heads = [CompiledLinear(head) for head in heads if isinstance(head, nn.Linear)]
        self.text_head, *self.code_heads = heads
        self._masks = lru_cache(maxsize=1024)(self._mask)

    def refresh(self) -> None:
        """Reads weights anew, if they are others than before."""
        for head in (self.text_head, *self.code_heads):
            if isinstance(head, CompiledLinear):
                head.refresh()

    def choose(self, hidden: Hidden) -> list[Event]:
        """What the rows of a group predict. Those that have ended choose nothing."""
        return [*self._choose_tokens(hidden), *self._choose_bits(hidden), *self._take_codes(hidden)]

    def listen(self, places: Hidden) -> Hook | None:
        """What comes after each layer: rows that predict codes choose one at each of the top ones."""
        chosen = [r for r, row in enumerate(places.rows) if row.predicts in ("codes", "end of codes")]
        if not chosen:
            return None
        rows, draws = _rows_of(places, chosen)
        own = [places.own[r] for r in chosen]
        twins = [n for n, r in enumerate(chosen) if places.free[r] != places.own[r]]
        index = torch.tensor(own + [places.free[chosen[n]] for n in twins], device=self.device)
        codec = self.tokenizers.audio.config
        choice = CodeChoice(rows, draws, twins, codec.codebook, codec.levels)
        return lambda layer, x: self.model.audio.step(layer, x, index, choice, self.code_heads)

    # -------------------------------------------------------------- tokens

    def _choose_tokens(self, hidden: Hidden) -> list[Event]:
        """With drafts, every position chooses as if those before it had chosen the draft, and counts as far as that is so."""
        chosen = [r for r, row in enumerate(hidden.rows) if row.predicts == "token" and row.end is None]
        if not chosen:
            return []
        rows, draws = _rows_of(hidden, chosen)
        drafts = [hidden.drafts[r] for r in chosen] if hidden.drafts else [()] * len(chosen)
        count = 1 + len(drafts[0])
        logits, guided = (part.flatten(0, 1) for part in self._logits(self.text_head, hidden, chosen, draws, count))
        allowed = [row.allowed(draft) for row, draft in zip(rows, drafts, strict=True)]
        masks = [self._masks(*key) for keys in allowed for key in keys]
        draws = draws if count == 1 else draws.ahead(count)
        tokens, log_p = choose_class(guided + torch.stack(masks), draws)
        begun = [row.recall() for row in rows]
        for n, token in enumerate(begun):
            if token is not None:
                tokens[n * count] = token
        own = log_probs(logits, tokens)
        table = torch.stack([tokens.double(), log_p.double(), own.double()], dim=1).unflatten(0, (-1, count)).tolist()
        events = []
        for r, row, draft, choices, keys, told in zip(chosen, rows, drafts, table, allowed, begun, strict=True):
            taken, found = _take_tokens(hidden, r, draft, choices, keys, told is not None)
            events += found
            if count > 1:
                row.length -= count - taken
                row.stream.skip(taken if row.sampling().temperature else 0)
            if self.keeps_hidden:
                states = hidden.states[hidden.own[r], -count:][:taken]
                row.verified = states, [int(token) for token, *_ in choices[:taken]]
        return events

    def _mask(self, state: int, left: int, controls: tuple[int, ...]) -> Tensor:
        return token_bias(self.states, state, left, controls).to(self.device)

    # -------------------------------------------------------------- bits

    def _choose_bits(self, hidden: Hidden) -> list[Event]:
        by_scale: dict[int, list[int]] = {}
        for r, row in enumerate(hidden.rows):
            if row.predicts == "bits" and row.end is None and not row.feeds:
                by_scale.setdefault(row.frames.scale, []).append(r)
        return [event for scale in sorted(by_scale) for event in self._choose_bits_of(hidden, by_scale[scale], scale)]

    def _choose_bits_of(self, hidden: Hidden, chosen: list[int], scale: int) -> list[Event]:
        quantiser = self.tokenizers.vision.quantiser
        rows, draws = _rows_of(hidden, chosen)
        height, width = quantiser.sizes[scale]
        logits, guided = self._logits(self.model.bit_head, hidden, chosen, draws, height * width)
        bits, elements = choose_bits(guided, draws)
        log_p = elements.flatten(1).sum(dim=1)
        brought = [row.frames.known_bits() for row in rows]
        known = [row.recall() if given is None else given for row, given in zip(rows, brought, strict=True)]
        for n, given in enumerate(known):
            if given is not None:
                bits[n] = given
        own = -F.binary_cross_entropy_with_logits(logits.float(), bits.float(), reduction="none").sum((1, 2))
        bits = bits.cpu()
        totals = torch.stack([row.frames.total for row in rows]) + quantiser.lookup(bits, scale)
        events = []
        for n, (r, p, q) in enumerate(zip(chosen, log_p.tolist(), own.tolist(), strict=True)):
            if known[n] is None:
                at, frame = slice(-height * width, None), rows[n].frames.frame
                of_scale = frame, scale, totals[n]
                events.append(_event(hidden, r, "bits", bits[n], p, q, at, *of_scale, elements=elements[n]))
            rows[n].take_bits(bits[n], totals[n])
        return events

    # -------------------------------------------------------------- codes

    def _take_codes(self, hidden: Hidden) -> list[Event]:
        """They were chosen on the way through the layers."""
        events = []
        for r, row in enumerate(hidden.rows):
            if row.predicts == "codes" and row.end is None and not row.feeds:
                choice = row.chosen_codes
                assert choice is not None
                if not choice.is_begun:
                    told = choice.codes, choice.log_p, choice.own
                    events.append(_event(hidden, r, "codes", *told, slice(-1, None), elements=choice.elements))
                row.take_codes(choice.codes, choice.ends)
        return events

    # -------------------------------------------------------------- logits

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


def _take_tokens(
    hidden: Hidden, r: int, draft: Sequence[int], choices: Sequence[list[float]], allowed: Sequence[Allowed], is_begun: bool
) -> tuple[int, list[Event]]:
    """Tells a row the tokens that were chosen, each with its two log-probabilities, as far as they are those of its draft, and
    one more. How many they are, and their events; what the row had chosen before it was cut has none."""
    row, count, taken = hidden.rows[r], len(choices), 0
    events: list[Event] = []
    for token, p, q in choices:
        if taken:
            row.next_feed()  # the draft stands in the cache already
        row.take_token(int(token))
        taken += 1
        if not is_begun:
            at = slice(taken - 1 - count, taken - count or None)
            events.append(_event(hidden, r, "token", int(token), p, q, at, allowed=allowed[taken - 1]))
        if taken == count or token != draft[taken - 1] or not row.goes_on:
            break
    return taken, events


def token_bias(states: TextStates, state: int, left: int, controls: tuple[int, ...]) -> Tensor:
    """What a row may not choose, as a bias of minus infinity `[vocabulary]`."""
    mask = torch.zeros(states.after.shape[1], dtype=torch.bool, device=HOST)
    if state != ONLY_CONTROLS:
        mask |= states.allowed(state, left)
    mask[list(controls)] = True
    return torch.zeros_like(mask, dtype=torch.float32).masked_fill(~mask, -torch.inf)


def _rows_of(hidden: Hidden, chosen: list[int]) -> tuple[list[Row], Draws]:
    rows = [hidden.rows[r] for r in chosen]
    return rows, Draws([row.sampling() for row in rows], [row.stream for row in rows])


def _event(
    hidden: Hidden,
    r: int,
    group: Group,
    value: object,
    log_p: float,
    own: float,
    at: slice,
    frame: int = 0,
    scale: int = 0,
    total: Tensor | None = None,
    allowed: Allowed | None = None,
    elements: Tensor | None = None,
) -> Event:
    """Counts a choice of a row, and tells it; `at` are the positions of the group that predicted it, counted from the end."""
    row = hidden.rows[r]
    row.log_prob += log_p
    row.log_likelihood += own
    position = row.length - 1 + (at.stop or 0)
    if not row.request.experts:
        return Event(row.ticket, row.sample, group, value, log_p, own, frame, scale, position, allowed, total=total)
    experts = hidden.experts[:, hidden.own[r], at]
    return Event(row.ticket, row.sample, group, value, log_p, own, frame, scale, position, allowed, experts, elements, total)
