"""Keys and values of the positions that generation has passed, in slots that rows take, share and leave.

Shapes: B rows, S positions, P positions of all rows together, C columns of a slot, K key heads, d head width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ernest.config.tables import ModelConfig
from ernest.device import ask_large_pages

COLUMNS = 32
"""A slot has a multiple of so many columns. For kernels, keys of so many lie turned, `[d, COLUMNS]`, block after block."""


@dataclass(frozen=True)
class Places:
    """Where new positions of rows go: row b stands in `slots[b]`, and its `counts[b]` positions take the columns from `starts[b]`
    on. Each sees the columns before its own of `ends` `[P]`, row after row: what came before it, and its group; but none from
    its own of `lost[0]` to before `lost[1]`, `[2, P]`, where some are lost from view."""

    slots: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    ends: np.ndarray
    lost: np.ndarray | None = None

    @property
    def last(self) -> np.ndarray:
        """Of all positions, the last of each row."""
        return self.counts.cumsum() - 1

    def table(self) -> np.ndarray:
        """Slot, column, end and row of every position, and what is lost from its view, `[6, P]`."""
        row = np.arange(len(self.slots)).repeat(self.counts)
        first = self.counts.cumsum() - self.counts
        column = np.arange(len(row)) + (self.starts - first)[row]
        lost = np.zeros((2, len(row)), np.int64) if self.lost is None else self.lost
        return np.stack([self.slots[row], column, self.ends, row, *lost])


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
    """All layers `[layers, slots, K, C, d]`. It grows at need. Where it `turns` keys, kernels keep them in blocks."""

    def __init__(
        self,
        config: ModelConfig,
        device: torch.device,
        dtype: torch.dtype,
        turns: bool = False,
        slots: int = 1,
        columns: int = 64,
    ) -> None:
        shape = config.layers, slots, config.kv_heads, -(-columns // COLUMNS) * COLUMNS, config.head_dim
        self.grain = COLUMNS if turns else 1
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros_like(self.keys)

    @property
    def size(self) -> tuple[int, int]:
        """Slots, and columns of each."""
        return self.keys.shape[1], self.keys.shape[3]

    def reserve(self, slots: int, columns: int) -> None:
        """Makes room; what is there stays. Doubles, so that growing costs little in all."""
        old = self.size
        if slots <= old[0] and columns <= old[1]:
            return
        many, wide = (have if want <= have else max(want, 2 * have) for want, have in zip((slots, columns), old, strict=True))
        for name in ("keys", "values"):
            part = getattr(self, name)
            larger = part.new_zeros(part.shape[0], many, part.shape[2], -(-wide // COLUMNS) * COLUMNS, part.shape[4])
            ask_large_pages([larger])
            larger[:, : old[0], :, : old[1]] = part
            setattr(self, name, larger)

    def copy(self, sources: Sequence[int], targets: Sequence[int], columns: int) -> None:
        """The first `columns` columns of slots, to others; whole blocks where there are any."""
        columns = -(-columns // self.grain) * self.grain
        for part in (self.keys, self.values):
            for source, target in zip(sources, targets, strict=True):
                part[:, target, :, :columns] = part[:, source, :, :columns]

    def layers(self, places: Places) -> tuple[list[LayerCache], Tensor]:
        """The caches for the layers of a rectangle of positions `[B, S]`, as many as the longest row has, and the mask
        `[B, S, columns]`: what a row lacks to the rectangle is written behind its end, and overwritten later."""
        count, device = int(places.counts.max()), self.keys.device
        end = int(places.starts.max()) + count
        self.reserve(int(places.slots.max()) + 1, end)
        rows, kv_heads, columns = len(places.slots), self.keys.shape[2], self.size[1]
        slot, start = torch.from_numpy(places.slots).to(device), torch.from_numpy(places.starts).to(device)
        column = start[:, None] + torch.arange(count, device=device)
        head = slot[:, None] * kv_heads + torch.arange(kv_heads, device=device)
        index = head[:, :, None] * columns + column[:, None]
        picked = None if np.array_equal(places.slots, np.arange(rows)) else slot
        seen = np.ones((rows, count), np.int64)
        seen[np.arange(count) < places.counts[:, None]] = places.ends
        mask = torch.arange(end, device=device) < torch.from_numpy(seen).to(device)[..., None]
        if places.lost is not None:
            lost = np.zeros((2, rows, count), np.int64)
            lost[:, np.arange(count) < places.counts[:, None]] = places.lost
            begin, stop = torch.from_numpy(lost).to(device)[..., None]
            column = torch.arange(end, device=device)
            mask &= (column < begin) | (column >= stop)
        return [LayerCache(k, v, picked, index, end) for k, v in zip(self.keys, self.values, strict=True)], mask
