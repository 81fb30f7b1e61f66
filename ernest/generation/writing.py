"""Texts that the head of the token after next drafts ahead, in one compiled call for a step of all rows that are in a text."""

from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F

from ernest.generation.drafts import HeadDrafter, Speculation
from ernest.generation.request import Event
from ernest.generation.row import Row
from ernest.generation.slots import Slots
from ernest.generation.text_states import TextStates
from ernest.model.decoding import CompiledBlocks, room
from ernest.model.writing import ENDS, FIELDS, CompiledWriter, Texts, Written


class TextWriter:
    """Chooses for rows as `Choices` does, by the same numbers."""

    def __init__(self, slots: Slots[Row], drafter: HeadDrafter, states: TextStates, speculation: Speculation) -> None:
        assert isinstance(slots.trunk, CompiledBlocks)
        assert drafter.compiled is not None
        self.slots, self.drafter, self.speculation = slots, drafter, speculation
        self.compiled = CompiledWriter(slots.trunk, drafter.compiled, states.after)

    def suits(self, row: Row) -> bool:
        """Whether a row that is in a text can be written for: it has no unconditioned twin."""
        return self.drafter.suits(row) and len(row.slots) == 1

    def write(self, rows: Sequence[Row], alone: bool) -> list[Event]:
        """What the texts of rows go on with, whose last tokens are about to be fed; for several rounds where they are `alone`."""
        self.drafter.take_in(rows)
        ahead, rounds = self.speculation.ahead, self.speculation.rounds if alone else 1
        texts = self._texts(rows, rounds * (ahead + 1))
        slot, head_slot, column, head_column, *_ = texts.fields.max(axis=0).tolist()
        self.slots.cache.reserve(slot + 1, column + texts.draws.shape[1])
        self.drafter.cache.reserve(head_slot + 1, head_column + texts.fed.shape[1] + texts.draws.shape[1] + ahead)
        submodels = self.slots.submodels([row.submodel for row in rows])
        caches = self.slots.cache, self.drafter.cache
        written = self.compiled.write(texts, caches, submodels, ahead, self.speculation.least, rounds=rounds)
        self.drafter.lengths.update(zip(rows, texts.fields[:, FIELDS.index("head_column")].tolist(), strict=True))
        return [event for r, row in enumerate(rows) for event in self._take(r, row, texts, written)]

    def _texts(self, rows: Sequence[Row], longest: int) -> Texts:
        """The texts of rows as kernels read them."""
        drafter, verified = self.drafter, [row.verified for row in rows if row.verified is not None]
        widest = max(self.speculation.ahead + 1, *(len(tokens) for _, tokens in verified))
        hidden = room(len(rows), widest, self.slots.model.config.width)
        fed, fields = np.zeros((len(rows), widest), np.int64), np.full((len(rows), len(FIELDS) + ENDS), -1)
        samplings = [row.sampling() for row in rows]
        draws = np.zeros((len(rows), longest))
        for r, (row, (states, tokens)) in enumerate(zip(rows, verified, strict=True)):
            hidden[r, : len(tokens)] = states
            fed[r, : len(tokens)] = tokens
            ((state, left, _),) = row.allowed()
            ends = row.ends_of_text()
            place = row.slots[0], drafter.slots[row], row.length, drafter.lengths[row]
            fields[r, : len(FIELDS) + len(ends)] = *place, state, left, len(tokens), 0, *ends
            if samplings[r].temperature:
                draws[r] = row.stream.ahead(longest)
        temperature, top_p = (np.array([getattr(one, name) for one in samplings], float) for name in ("temperature", "top_p"))
        return Texts(fields, fed, hidden, temperature, top_p, draws)

    def _take(self, r: int, row: Row, texts: Texts, written: Written) -> list[Event]:
        """Tells a row what was chosen for it."""
        made = int(written.made[r])
        choices = [part[r, :made].tolist() for part in (written.tokens, written.log_p, written.own)]
        missing = self.slots.model.config.top_k - written.experts.shape[-1]
        events = []
        for n, (token, log_p, own) in enumerate(zip(*choices, strict=True)):
            if n:
                row.next_feed()  # it stands in the cache already
            (allowed,) = row.allowed()
            row.take_token(token)
            row.log_prob += log_p
            row.log_likelihood += own
            experts = F.pad(written.experts[:, r, n, None], (0, missing), value=-1) if row.request.experts else None
            event = Event(
                row.ticket, row.sample, "token", token, log_p, own, position=row.length, allowed=allowed, experts=experts
            )
            events.append(event)
            row.length += 1
        known = int(texts.fields[r, FIELDS.index("known")])
        row.verified = texts.hidden[r, :known], texts.fed[r, :known].tolist()
        row.stream.skip(made if texts.temperature[r] else 0)
        return events
