"""Drafts text tokens ahead of the network, which then verifies them all in one step: speculative decoding.

A draft is what a drafter holds likeliest. The network chooses at every position as it would without, by the same random numbers,
and a draft stands as far as it is what was chosen: answers are those of plain decoding, greedy or sampled.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ernest.generation.prompts import Prompt
from ernest.generation.row import Row
from ernest.generation.slots import Slots
from ernest.model.cache import Cache, Places
from ernest.model.decoding import PlainBlocks, usable
from ernest.model.network import Ernest
from ernest.model.submodel import SubModel
from ernest.model.writing import CompiledHead
from ernest.tokenizers.bundle import Tokenizers


@dataclass(frozen=True)
class Speculation:
    """How texts are drafted, so many tokens `ahead`: by a sub-model, or by the head of the token after next, over and over.

    What the head drafts is verified as long as it holds all of it together as likely as `least`: a wrong draft costs a third of
    a step. By kernels, a step drafts and verifies `rounds` times where nothing but texts is under way."""

    ahead: int = 2
    submodel: SubModel | None = None
    least: float = 0.3
    rounds: int = 4

    def __post_init__(self) -> None:
        for name in ("ahead", "rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
        if not 0 <= self.least < 1:
            raise ValueError(f"least = {self.least} must lie in [0, 1)")


def drafter(speculation: Speculation, model: Ernest, tokenizers: Tokenizers, bf16: bool) -> "HeadDrafter | SmallDrafter":
    """The drafter that `speculation` asks for. Raises ValueError for a network without the head that is to draft."""
    if speculation.submodel is None:
        return HeadDrafter(model, speculation)
    return SmallDrafter(model, tokenizers, speculation.submodel, speculation.ahead, bf16)


class HeadDrafter:
    """Drafts by the head of the token after next (ERNIE 5.0 §2.1), which was trained to see the made text alone. Its own result
    stands for the hidden state of a position that the network has not passed yet."""

    def __init__(self, model: Ernest, speculation: Speculation) -> None:
        if model.mtp is None:
            raise ValueError("the network has no head for the token after next (model.multi_token): draft by a sub-model")
        self.model, self.mtp, self.speculation, self.ahead = model, model.mtp, speculation, speculation.ahead
        config = model.mtp.sizes
        has_kernels = usable(self.mtp, config)
        self.cache = Cache(config, model.token_embedding.weight.device, torch.float32, turns=has_kernels)
        self.compiled = CompiledHead(model) if has_kernels else None
        self.blocks = PlainBlocks(self.mtp.run, bf16=False)
        self.slots: dict[Row, int] = {}
        self.lengths: dict[Row, int] = {}

    def draft(self, rows: Sequence[Row]) -> list[list[int]]:
        """Of rows whose last text tokens were chosen in this step."""
        self.take_in(rows)
        verified = [row.verified for row in rows if row.verified is not None]
        counts = [len(tokens) for _, tokens in verified]
        hidden = torch.cat([states for states, _ in verified])
        tokens = [token for _, chosen in verified for token in chosen]
        begins = [self.lengths[row] for row in rows]
        for row, count in zip(rows, counts, strict=True):
            self.lengths[row] += count  # what follows from drafts is written over later
        slots, positions = [self.slots[row] for row in rows], [row.length - n for row, n in zip(rows, counts, strict=True)]
        self.cache.reserve(max(slots) + 1, max(map(sum, zip(begins, counts, strict=True))) + self.ahead)
        if self.compiled is not None:
            return self.compiled.draft(np.array([counts, slots, begins, positions]), hidden, tokens, self.cache, self.ahead)
        found: list[list[int]] = []
        for _ in range(self.ahead):
            hidden, tokens = self._step(slots, hidden, tokens, np.array(begins), np.array(positions), np.array(counts))
            begins, positions = ([a + n for a, n in zip(part, counts, strict=True)] for part in (begins, positions))
            counts = [1] * len(rows)
            found.append(tokens)
        return [list(draft) for draft in zip(*found, strict=True)]

    def suits(self, row: Row) -> bool:
        """Whether a row that is in a text can be drafted for."""
        return row.verified is not None

    def forget(self, rows: Sequence[Row]) -> None:
        """Rows have ended."""
        for row in rows:
            self.slots.pop(row, None)
            self.lengths.pop(row, None)

    def clear(self) -> None:
        """All rows are forgotten."""
        self.forget(list(self.slots))

    def take_in(self, rows: Sequence[Row]) -> None:
        """Gives new rows a place in the cache."""
        new = [row for row in rows if row not in self.slots]
        if new and self.compiled is not None:
            self.compiled.refresh()
        for row in new:
            self.slots[row] = min(set(range(len(self.slots) + 1)) - set(self.slots.values()))
            self.lengths[row] = 0

    def _step(
        self, slots: list[int], hidden: Tensor, tokens: list[int], begins: np.ndarray, first: np.ndarray, count: np.ndarray
    ) -> tuple[Tensor, list[int]]:
        """The head on `count` positions of each row with the tokens that follow them, from columns `begins` and positions `first`
        on: its results at the last of each, and the tokens that they say."""
        x = self.mtp.join(hidden, self.model.token_embedding(torch.tensor(tokens, device=hidden.device)))
        index = np.arange(len(tokens)) - (count.cumsum() - count).repeat(count)
        places = Places(np.array(slots), begins, count, begins.repeat(count) + index + 1)
        position = (first.repeat(count) + index)[:, None].repeat(3, axis=1)
        x, _ = self.blocks(x, position, places, self.cache, None, None)
        last = x[places.last]
        return last, self.model.text_head(last).argmax(-1).tolist()


class SmallDrafter:
    """Drafts by a sub-model, which has a cache of its own and reads each prompt too. Rows that have made anything but text since
    their prompt are not drafted for."""

    def __init__(self, model: Ernest, tokenizers: Tokenizers, submodel: SubModel, ahead: int, bf16: bool) -> None:
        self.model, self.submodel, self.ahead = model, submodel, ahead
        self.small: Slots[_Small] = Slots(model, tokenizers, bf16)
        self.of: dict[Row, _Small] = {}

    def draft(self, rows: Sequence[Row]) -> list[list[int]]:
        """Of rows that are about to be fed the last of their tokens."""
        new = [row for row in rows if row not in self.of]
        self.of.update({row: _Small(row, self.submodel) for row in new})
        if new:
            self.small.prefill([self.of[row] for row in new])
        small = [self.of[row] for row in rows]
        tokens = [one.missing() for one in small]
        found: list[list[int]] = []
        for _ in range(self.ahead):
            x = self.model.token_embedding(torch.tensor([token for some in tokens for token in some], device=self.small.device))
            likeliest = self.model.text_head(self.small.catch_up(small, x, [len(some) for some in tokens])).argmax(-1).tolist()
            found.append(likeliest)
            tokens = [[token] for token in likeliest]
        drafts = [list(draft) for draft in zip(*found, strict=True)]
        for one, draft in zip(small, drafts, strict=True):
            one.drafted = draft[:-1]
        return drafts

    def suits(self, row: Row) -> bool:
        """Whether a row that is in a text can be drafted for."""
        return row.words is not None

    def forget(self, rows: Sequence[Row]) -> None:
        """Rows have ended."""
        gone = [self.of.pop(row) for row in rows if row in self.of]
        if gone:
            self.small.release(gone)

    def clear(self) -> None:
        """All rows are forgotten, whatever state they are in."""
        self.of.clear()
        self.small.clear()


class _Small:
    """A row as the sub-model has seen it: its prompt, its tokens as far as they are certain, and those `drafted` behind them."""

    def __init__(self, row: Row, submodel: SubModel) -> None:
        self.row = row
        self.submodel: SubModel | None = submodel
        self.prompts: tuple[Prompt, ...] = row.prompts[:1]
        self.slots: list[int] = []
        self.length = 0
        self.drafted: list[int] = []

    def start(self) -> None:
        self.length = len(self.prompts[0])

    def missing(self) -> list[int]:
        """The tokens that the sub-model has not seen; drafts that were not chosen are forgotten."""
        assert self.row.words is not None
        self.length -= len(self.drafted)
        tokens = self.row.words[self.length - len(self.prompts[0]) :]
        while self.drafted and len(tokens) > 1 and tokens[0] == self.drafted[0]:
            self.drafted.pop(0)
            tokens.pop(0)
            self.length += 1
        self.drafted = []
        return tokens
