"""Cached decoding: runs the prompts of a batch once, then appends the groups of the made segments to every row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from ernest.data.collate import collate
from ernest.data.examples import EncodedSegment, Example
from ernest.data.layout import PackedExample, tokenise_segments
from ernest.device import autocast
from ernest.model.attention import new_cache
from ernest.model.backbone import Routing
from ernest.model.network import Ernest
from ernest.model.submodel import SubModel, stack
from ernest.sequence.groups import Layout, Tokens, lay_out
from ernest.sequence.mask import allowed
from ernest.tokenizers.bundle import Tokenizers

Hook = Callable[[int, Tensor], Tensor]


@dataclass(frozen=True)
class Plan:
    """The prompt of a row, and the layout of the positions that follow it."""

    prompt: PackedExample
    tail: Layout


def plan_row(segments: Sequence[EncodedSegment], made: Tokens, tail: int, tokenizers: Tokenizers, drop_condition: bool) -> Plan:
    """Lays out given `segments` followed by `made`, and cuts before the last `tail` positions."""
    given = tokenise_segments(segments, tokenizers, tokenizers.text.encode, drop_condition)
    layout = lay_out([*given, (made, True)], tokenizers.control_tokens)
    cut = len(layout) - tail
    columns = {field.name: getattr(layout, field.name) for field in fields(layout)}
    head = Layout(**{name: column[:cut] for name, column in columns.items()})
    rest = Layout(**{name: column[cut:] for name, column in columns.items()})
    return Plan(PackedExample(Example(tuple(segments), ""), replace(head, weight=np.zeros(cut, np.float32))), rest)


class Decoder:
    """The cache and what its positions are. Each row goes on right behind its own prompt, and one mask rule hides the rest: what
    a row does not hold belongs to no document."""

    def __init__(
        self, model: Ernest, tokenizers: Tokenizers, plans: Sequence[Plan], submodel: SubModel | None, bf16: bool
    ) -> None:
        self.model, self.plans, self.rows = model, plans, len(plans)
        device = model.token_embedding.weight.device
        lengths = [len(plan.prompt.layout) for plan in plans]
        self.width = self.end = max(lengths)
        self.lengths = torch.tensor(lengths, device=device)
        self.submodels = None if submodel is None else stack([submodel] * self.rows, model.config, device)
        self.batch = collate([[plan.prompt] for plan in plans], self.width, tokenizers).to(device)
        total = self.width + len(plans[0].tail)
        self.bf16, dtype = bf16, torch.bfloat16 if bf16 else torch.float32
        self.caches = new_cache(model.config, self.rows, total, device, dtype)
        self.document = torch.full((self.rows, total), -1, device=device)
        self.group = torch.zeros(self.rows, total, dtype=torch.long, device=device)
        self.cursor = 0
        self.tail_group = torch.from_numpy(np.stack([plan.tail.group for plan in plans])).to(device)
        self.tail_position = torch.from_numpy(np.stack([plan.tail.position for plan in plans])).to(device)

    @property
    def last(self) -> Tensor:
        """Flat positions of the prompts' last columns, where the first group is predicted."""
        return torch.arange(self.rows, device=self.lengths.device) * self.width + self.lengths - 1

    def prefill(self, hook: Hook) -> Tensor:
        """Runs the prompts; hidden states `[rows, width]` of their last positions."""
        batch = self.batch
        self.document[:, : self.width], self.group[:, : self.width] = batch.document, batch.group
        hidden = self._run(self.model.embed(batch), batch.document, batch.group, batch.position, hook)
        for cache in self.caches:
            cache.cut(self.lengths, self.width)
        return hidden.flatten(0, 1)[self.last]

    def advance(self, x: Tensor, hook: Hook) -> Tensor:
        """Appends the next `n` positions with inputs `x` `[rows, n, width]`; hidden states `[rows, n, width]`. Rows never see
        each other, so one that has ended goes along until all have."""
        n = x.shape[1]
        span = slice(self.cursor, self.cursor + n)
        at = self.lengths[:, None] + torch.arange(self.cursor, self.cursor + n, device=x.device)
        self.cursor, self.end = self.cursor + n, self.end + n
        group = self.tail_group[:, span]
        document = torch.zeros_like(group)
        self.document.scatter_(1, at, document)
        self.group.scatter_(1, at, group)
        return self._run(x, document, group, self.tail_position[:, span], hook)

    def _run(self, x: Tensor, document: Tensor, group: Tensor, position: Tensor, hook: Hook) -> Tensor:
        mask = allowed(document, group, self.document[:, : self.end], self.group[:, : self.end])
        with autocast(x.device, self.bf16):
            hidden, _ = self.model.trunk(x, position, mask, Routing(self.submodels), hook, self.caches)
        return hidden.float()
