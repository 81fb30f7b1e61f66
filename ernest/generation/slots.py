"""Runs prompts and groups of rows through the trunk, each in its slots of the cache; equal prompts and beginnings run once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.data.collate import collate
from ernest.device import HOST
from ernest.generation.prompts import Prompt, common_length
from ernest.model.cache import Cache, Places
from ernest.model.decoding import CompiledBlocks, Hook, PlainBlocks, usable
from ernest.model.network import Ernest
from ernest.model.submodel import SubModel, SubModels, full, stack
from ernest.sequence.batch import Batch
from ernest.sequence.history import frame_sight
from ernest.sequence.mask import allowed
from ernest.tokenizers.bundle import Tokenizers

SHARED_AT_LEAST = 32
"""Positions that two prompts must share, if not all but the last, before it pays to run the rest of one behind the other."""


class Tenant(Protocol):
    """The owner of some slots: one for each of its prompts, which have `length` positions there by now."""

    prompts: tuple[Prompt, ...]
    submodel: SubModel | None
    slots: list[int]
    length: int

    def start(self) -> None:
        """The prompts stand in the cache."""


T = TypeVar("T", bound=Tenant)


@dataclass(frozen=True)
class Hidden(Generic[T]):
    """Hidden states `[B, n, width]` of the last group of some rows, and the experts `[layers, B, n, k]` that ran there. Row r
    stands at `own[r]`, and its unconditioned twin at `free[r]`, or at `own[r]` again where it has none. `drafts` are the tokens
    behind the first one of each row that were fed before they were chosen."""

    rows: list[T]
    states: Tensor
    experts: Tensor
    own: list[int]
    free: list[int]
    drafts: list[list[int]] | None = None


class Slots(Generic[T]):
    """A cache and the owners of its slots, which are 0, 1, … without gaps."""

    def __init__(self, model: Ernest, tokenizers: Tokenizers, bf16: bool) -> None:
        self.model, self.tokenizers = model, tokenizers
        self.device = model.token_embedding.weight.device
        self.owners: list[T] = []
        if usable(model.backbone, model.config) and not bf16:
            blocks = list(model.backbone.blocks)
            self.trunk = CompiledBlocks(blocks, model.config, model.final_norm, model.audio.first_layer)
        else:
            self.trunk = PlainBlocks(model.trunk, bf16)
        dtype = torch.bfloat16 if bf16 else torch.float32
        self.cache = Cache(model.config, self.device, dtype, turns=isinstance(self.trunk, CompiledBlocks))
        self._stacked: dict[tuple[SubModel | None, ...], SubModels | None] = {}

    # -------------------------------------------------------------- rows come and go

    def prefill(self, rows: Sequence[T]) -> "Hidden[T] | None":
        """Takes rows in with their prompts, conditioned and unconditioned; hidden states of the last positions, None of none."""
        live = list(dict.fromkeys(self.owners))
        places: dict[tuple[SubModel | None, bytes], list[int]] = {}
        leaders: list[tuple[Prompt, T]] = []
        for row in rows:
            for prompt in row.prompts:
                key = row.submodel, prompt.key.tobytes()
                if key not in places:
                    leaders.append((prompt, row))
                places.setdefault(key, []).append(len(self.owners))
                row.slots.append(len(self.owners))
                self.owners.append(row)
            row.start()
        self.trunk.refresh()
        self.cache.reserve(len(self.owners), max(len(row.prompts[0]) for row in rows) + 1)
        slots = [shared[0] for shared in places.values()]
        number = {slot: n for n, shared in enumerate(places.values()) for slot in shared}
        states, experts = self._run_leaders(leaders, slots, live)
        for (prompt, _), shared in zip(leaders, places.values(), strict=True):
            if len(shared) > 1 and len(prompt):
                self.cache.copy([shared[0]] * (len(shared) - 1), shared[1:], len(prompt))
        asked = [row for row in rows if row.length]
        if not asked or states is None or experts is None:
            return None
        return Hidden(asked, states, experts, [number[row.slots[0]] for row in asked], [number[row.slots[-1]] for row in asked])

    def release(self, rows: Sequence[T]) -> None:
        """Rows leave; the last ones move into the gaps."""
        gone = {slot for row in rows for slot in row.slots}
        staying = len(self.owners) - len(gone)
        gaps = sorted(slot for slot in gone if slot < staying)
        movers = [slot for slot in range(staying, len(self.owners)) if slot not in gone]
        for gap, slot in zip(gaps, movers, strict=True):
            owner = self.owners[gap] = self.owners[slot]
            owner.slots[owner.slots.index(slot)] = gap
        if movers:
            self.cache.copy(movers, gaps, max(self.owners[gap].length for gap in gaps))
        del self.owners[staying:]
        for row in rows:
            row.slots = []

    def clear(self) -> None:
        """All rows leave, whatever state they are in."""
        for row in self.owners:
            row.slots = []
        self.owners.clear()

    # -------------------------------------------------------------- prompts

    def _run_leaders(
        self, leaders: list[tuple[Prompt, T]], slots: list[int], live: list[T]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Runs each of the different prompts once: those that begin like another one, behind the rest."""
        donors = _Donors()
        for row in live:
            for prompt, slot in zip(row.prompts, row.slots, strict=True):
                donors.add(prompt, row.submodel, slot)
        starts, later = [0] * len(leaders), []
        for n, ((prompt, row), slot) in enumerate(zip(leaders, slots, strict=True)):
            donor = donors.find(prompt, row.submodel)
            if donor is None:
                donors.add(prompt, row.submodel, slot)
            else:
                starts[n] = donor[1]
                later.append((n, donor[0]))
        behind = {n for n, _ in later}
        states: dict[int, tuple[Tensor, Tensor]] = {}
        self._run_by_length([n for n in range(len(leaders)) if n not in behind], leaders, slots, starts, states)
        for n, donor in later:
            self.cache.copy([donor], [slots[n]], starts[n])
        self._run_by_length([n for n, _ in later], leaders, slots, starts, states)
        if not states:
            return None, None
        blank = tuple(torch.zeros_like(part) for part in next(iter(states.values())))
        ordered = [states.get(n, blank) for n in range(len(leaders))]
        return torch.stack([one for one, _ in ordered]), torch.stack([experts for _, experts in ordered], dim=1)

    def _run_by_length(
        self,
        numbers: list[int],
        leaders: list[tuple[Prompt, T]],
        slots: list[int],
        starts: list[int],
        states: dict[int, tuple[Tensor, Tensor]],
    ) -> None:
        """Those of a length go together: padding stays below half."""
        counts = {n: len(leaders[n][0]) - starts[n] for n in numbers}
        waiting = [n for n in numbers if counts[n]]
        longest = max(counts.values(), default=0)
        while waiting:
            together = [n for n in waiting if 2 * counts[n] + 16 >= longest]
            waiting = [n for n in waiting if 2 * counts[n] + 16 < longest]
            longest = max((counts[n] for n in waiting), default=0)
            if together:
                found = self._run_prompts(
                    [leaders[n] for n in together], [slots[n] for n in together], [starts[n] for n in together]
                )
                states.update(zip(together, found, strict=True))

    def _run_prompts(self, leaders: list[tuple[Prompt, T]], slots: list[int], starts: list[int]) -> list[tuple[Tensor, Tensor]]:
        """Hidden state `[1, width]` and experts `[layers, 1, k]` of each prompt's last position; runs what follows `starts`."""
        counts = np.array([len(prompt) - start for (prompt, _), start in zip(leaders, starts, strict=True)])
        tails = [[prompt.tail(start)] for (prompt, _), start in zip(leaders, starts, strict=True)]
        batch = collate(tails, int(counts.max()), self.tokenizers)
        valid = batch.valid
        seen = allowed(batch.document, batch.group, batch.document, batch.group).sum(-1)  # groups rise: what is seen has no gaps
        ends = (seen + torch.tensor(starts, device=HOST)[:, None])[valid].numpy()
        places = Places(np.array(slots), np.array(starts), counts, ends, self._lost(batch, starts))
        x = self.model.embed(batch.to(self.device))[valid.to(self.device)]
        submodels = self.submodels([row.submodel for _, row in leaders])
        hidden, experts = self._run(x, batch.position[valid].numpy(), places, submodels, None)
        return [(hidden[n, None], experts[:, n, None]) for n in places.last.tolist()]

    def _lost(self, batch: Batch, starts: list[int]) -> np.ndarray | None:
        """What positions of prompts that begin at columns `starts` have lost from view, as `Places` tells it; None where nothing.
        A window leaves frames behind from the first on, and a boundary of prompts lies in no film: what is lost has no gaps."""
        config, spec = self.model.config, self.model.spec
        sight = frame_sight(batch.cells, batch.group, len(spec.scales), config.frame_window)
        if sight is None:
            return None
        own = batch.document, batch.group
        gone = (allowed(*own, *own) & ~allowed(*own, *own, sight)).long()
        first = gone.argmax(-1) + torch.tensor(starts, device=HOST)[:, None]
        return torch.stack([first, first + gone.sum(-1)])[:, batch.valid].numpy()

    # -------------------------------------------------------------- groups

    def advance(
        self,
        rows: Sequence[T],
        x: Tensor,
        position: np.ndarray,
        hook: Callable[["Hidden[T]"], Hook | None],
        causal: bool = False,
        lost: np.ndarray | None = None,
    ) -> "Hidden[T]":
        """The next group of rows, `n` positions each, with inputs `x` `[rows, n, width]` and (t, h, w) `position` `[rows, n, 3]`;
        `hook` gets the places of the rows and makes what comes after each layer. Where `causal`, every position is a group. The
        columns that each row does not see are `lost` `[rows, 2]`."""
        count = x.shape[1]
        of, places = self._places(rows, np.full(len(rows), count), causal)
        if lost is not None and lost.any():
            places = replace(places, lost=lost[of].repeat(count, axis=0).T)
        own = np.cumsum([0, *(len(row.slots) for row in rows)])
        hidden = Hidden(list(rows), x, x, own[:-1].tolist(), (own[1:] - 1).tolist())
        x, position = (x[of], position[of]) if len(of) > len(rows) else (x, position)
        submodels = self.submodels([rows[r].submodel for r in of])
        states, experts = self._run(x.flatten(0, 1), position.reshape(-1, 3), places, submodels, hook(hidden))
        for row in rows:
            row.length += count
        return replace(hidden, states=states.unflatten(0, (-1, count)), experts=experts.unflatten(1, (-1, count)))

    def catch_up(self, rows: Sequence[T], x: Tensor, counts: Sequence[int]) -> Tensor:
        """The next tokens of rows without twins, `counts` of each, with inputs `x` `[tokens, width]`: hidden states of the last
        ones."""
        of, places = self._places(rows, np.array(counts), True)
        position = places.table()[1][:, None].repeat(3, axis=1)
        hidden, _ = self._run(x, position, places, self.submodels([rows[r].submodel for r in of]), None)
        for row, count in zip(rows, counts, strict=True):
            row.length += count
        return hidden[places.last]

    def _places(self, rows: Sequence[T], counts: np.ndarray, causal: bool) -> tuple[list[int], Places]:
        """Where the next positions of rows go; of every slot, the number of its row."""
        of = [r for r, row in enumerate(rows) for _ in row.slots]
        counts, starts = counts[of], np.array([rows[r].length for r in of])
        ends = (starts + counts).repeat(counts)
        if causal:
            ends = np.arange(counts.sum()) + (starts - counts.cumsum() + counts).repeat(counts) + 1
        return of, Places(np.array([slot for row in rows for slot in row.slots]), starts, counts, ends)

    def _run(
        self, x: Tensor, position: np.ndarray, places: Places, submodels: SubModels | None, hook: Hook | None
    ) -> tuple[Tensor, Tensor]:
        """Hidden states `[P, width]` and experts `[layers, P, k]` of the positions, row after row."""
        self.cache.reserve(int(places.slots.max()) + 1, int((places.starts + places.counts).max()))
        hidden, experts = self.trunk(x, position, places, self.cache, submodels, hook)
        missing = self.model.config.top_k - experts.shape[-1]
        return hidden, F.pad(experts, (0, missing), value=-1) if missing else experts

    def submodels(self, submodels: list[SubModel | None]) -> SubModels | None:
        """Those of a call, stacked; None where all are whole."""
        if not any(submodels):
            return None
        key = tuple(submodels)
        if key not in self._stacked:
            if len(self._stacked) >= 64:
                self._stacked.clear()
            everything = full(self.model.config)
            self._stacked[key] = stack([one or everything for one in submodels], self.model.config, self.device)
        return self._stacked[key]


class _Donors:
    """Prompts whose keys and values stand in a slot, found by how they begin."""

    def __init__(self) -> None:
        self.known: dict[tuple[SubModel | None, bytes], tuple[Prompt, int]] = {}

    def add(self, prompt: Prompt, submodel: SubModel | None, slot: int) -> None:
        for key in (prompt.key, prompt.key[:-1], prompt.key[:SHARED_AT_LEAST]):
            if len(key):
                self.known.setdefault((submodel, key.tobytes()), (prompt, slot))

    def find(self, prompt: Prompt, submodel: SubModel | None) -> tuple[int, int] | None:
        """A slot and how many positions to take from it; at least one is left over."""
        for key in (prompt.key[:-1], prompt.key[:SHARED_AT_LEAST]):
            donor = self.known.get((submodel, key.tobytes()))
            if donor is not None and (shared := common_length(prompt, donor[0])):
                return donor[1], shared
        return None
