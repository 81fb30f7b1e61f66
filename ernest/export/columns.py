"""The columns of transformers' cache: what each holds, and how attention writes and reads them."""

# pyright: reportMissingImports=false

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.cache_utils import Cache

NO_COLUMN = -2
"""The document of columns that hold nothing yet."""


@dataclass(frozen=True)
class CachedLayer:
    """One layer of the library's cache, as `Attention` writes and reads it."""

    cache: Cache
    number: int

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return self.cache.update(keys, values, self.number)


def columns_so_far(
    attention_mask: Tensor | None, group_ids: Tensor | None, rows: int, end: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Document (-1 is padding) and group of every column so far, `[rows, end]` each."""
    if attention_mask is None:
        document = torch.zeros(rows, end, dtype=torch.long, device=device)
    elif attention_mask.shape != (rows, end):
        raise ValueError(f"attention_mask: expected [{rows}, {end}], all columns so far, got {list(attention_mask.shape)}")
    else:
        document = attention_mask.long() - 1
    if group_ids is None:
        return document, torch.arange(end, device=device).expand(rows, -1)
    group = group_ids[:, :end]
    behind = torch.arange(1, end - group.shape[1] + 1, device=device)
    return document, torch.cat([group, group[:, -1:] + behind], dim=1)


def three_coordinates(position_ids: Tensor, rows: int) -> Tensor:
    """(t, h, w) `[rows, positions, 3]`; text stands at t = h = w."""
    if position_ids.dim() == 3:
        return position_ids.movedim(0, -1)
    return position_ids[..., None].expand(rows, -1, 3)
