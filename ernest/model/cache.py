"""Keys and values of the positions that generation has passed, in slots that rows take, share and leave.

Shapes: B rows, S positions, C columns of a slot, K key heads, d head width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ernest.config.recipe import ModelConfig


@dataclass(frozen=True)
class LayerCache:
    """One layer's `[slots, K, C, d]`, written in place. Row b stands in `slots[b]`, or in slot b where that is None; its new
    positions go to the flat places `index` `[B, K, S]`, and it sees columns below `end`."""

    keys: Tensor
    values: Tensor
    slots: Tensor | None
    index: Tensor
    end: int

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Writes `[B, K, S, d]`; returns the keys and values of the rows, `[B, K, end, d]`."""
        return self._extend(self.keys, keys), self._extend(self.values, values)

    def of_rows(self, rows: Tensor) -> "LayerCache":
        """The cache of some rows of the batch."""
        return replace(self, slots=rows if self.slots is None else self.slots[rows], index=self.index[rows])

    def _extend(self, kept: Tensor, new: Tensor) -> Tensor:
        kept.flatten(0, 2).index_copy_(0, self.index.flatten(), new.flatten(0, 2).to(kept.dtype))
        if self.slots is None:
            return kept[: len(new), :, : self.end]
        return kept[:, :, : self.end].index_select(0, self.slots)


class Cache:
    """All layers, and for every column its document (-1 is none) and its group, which the mask reads. It grows at need."""

    def __init__(self, config: ModelConfig, device: torch.device, dtype: torch.dtype, slots: int = 1, columns: int = 64) -> None:
        shape = config.layers, slots, config.kv_heads, columns, config.head_dim
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros_like(self.keys)
        self.document = torch.full((slots, columns), -1, device=device)
        self.group = torch.zeros_like(self.document)

    @property
    def size(self) -> tuple[int, int]:
        """Slots, and columns of each."""
        slots, columns = self.document.shape
        return slots, columns

    def reserve(self, slots: int, columns: int) -> None:
        """Makes room; what is there stays. Doubles, so that growing costs little in all."""
        old = self.size
        if slots <= old[0] and columns <= old[1]:
            return
        new = tuple(have if want <= have else max(want, 2 * have) for want, have in zip((slots, columns), old, strict=True))
        for name, fill in (("keys", 0), ("values", 0), ("document", -1), ("group", 0)):
            part = getattr(self, name)
            slots_at, columns_at = (0, 1) if name in ("document", "group") else (1, 3)
            shape = list(part.shape)
            shape[slots_at], shape[columns_at] = new
            larger = part.new_full(shape, fill)
            larger.narrow(slots_at, 0, old[0]).narrow(columns_at, 0, old[1]).copy_(part)
            setattr(self, name, larger)

    def copy(self, sources: Sequence[int], targets: Sequence[int], columns: int) -> None:
        """The first `columns` columns of slots, to others."""
        source, target = (torch.tensor(slots, device=self.group.device) for slots in (sources, targets))
        for part in (self.keys, self.values):
            part[:, target, :, :columns] = part[:, source, :, :columns]
        for part in (self.document, self.group):
            part[target, :columns] = part[source, :columns]

    def clear(self, slot: int) -> None:
        """Forgets a slot."""
        self.document[slot] = -1

    def write(self, slots: Sequence[int], starts: Sequence[int], document: Tensor, group: Tensor) -> list[LayerCache]:
        """Notes what new positions `[B, S]` of slots are, each row from its own start on; the caches for the layers."""
        rows, count = document.shape
        end = max(starts) + count
        self.reserve(max(slots) + 1, end)
        device = document.device
        slot, start = torch.tensor(slots, device=device), torch.tensor(starts, device=device)
        column = start[:, None] + torch.arange(count, device=device)
        flat = (slot[:, None] * self.size[1] + column).flatten()
        self.document.flatten().index_copy_(0, flat, document.flatten())
        self.group.flatten().index_copy_(0, flat, group.flatten())
        heads = slot[:, None] * self.keys.shape[2] + torch.arange(self.keys.shape[2], device=device)
        index = heads[:, :, None] * self.size[1] + column[:, None]
        picked = None if list(slots) == list(range(rows)) else slot
        return [LayerCache(k, v, picked, index, end) for k, v in zip(self.keys, self.values, strict=True)]

    def seen(self, caches: Sequence[LayerCache], rows: int) -> tuple[Tensor, Tensor]:
        """Document and group `[B, end]` of the columns that the rows see."""
        slots, end = caches[0].slots, caches[0].end
        document, group = self.document[:, :end], self.group[:, :end]
        return (document[:rows], group[:rows]) if slots is None else (document[slots], group[slots])
