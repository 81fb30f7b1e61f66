"""The batch that the network reads: packed rows as tensors."""

from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from ernest.device import HOST


@dataclass(frozen=True)
class Cells:
    """Inputs of generated vision: N cells, and the M of them (`SΣ`) that carry a whole frame.

    `index` `[N]` flat positions (row * length + column), `value` `[N, 2 bits]` the sum of the frame's earlier scales and, beside
    it, the previous frame, both at the size of the cell's scale; `scale` `[N]` its number, from 0.
    `frame_index` `[M]` flat positions, `frame` `[M, bits * height * width]` the finished frame. All lie in the order of their
    positions, so that a frame has N / M cells in a row. `hidden` bool `[M]` are frames that later ones of their film do not see;
    `[0]` where there are none.
    """

    index: Tensor
    value: Tensor
    scale: Tensor
    frame_index: Tensor
    frame: Tensor
    hidden: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool, device=HOST))


@dataclass(frozen=True)
class CellTargets:
    """`index` `[N]` flat positions that predict `bits` float `[N, bits]` of a cell of `scale` `[N]`, with `weight` `[N]`."""

    index: Tensor
    bits: Tensor
    scale: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Patches:
    """Clips to be understood, all of one or all of four frames: flat positions `index` `[clips * merged patches]`, `pixels`
    `[clips, frames, 3, height, width]` in [0, 1] and the tokenizer's `features` `[clips, frames, channels, rows, columns]`."""

    index: Tensor
    pixels: Tensor
    features: Tensor


@dataclass(frozen=True)
class Codes:
    """Codec frames: flat positions `index` `[N]` and `value` `[N, levels]`; the end of audio is one past the last code."""

    index: Tensor
    value: Tensor


@dataclass(frozen=True)
class Voices:
    """Voices in the context: flat positions `index` `[N]` and their embeddings `value` `[N, numbers]`."""

    index: Tensor
    value: Tensor


@dataclass(frozen=True)
class MTPTargets:
    """Text positions of each row, gathered for multi-token prediction: `index` columns `[rows, M]` (-1 is padding),
    `token_id` the next token and `target` the one after it (-1 is none); `target_index` the flat places of `target` that hold
    one."""

    index: Tensor
    token_id: Tensor
    target: Tensor
    target_index: Tensor


@dataclass(frozen=True)
class Batch:
    """Packed rows `[rows, length]`: token ids (0 where something else stands), document (-1 is padding), group, position
    (t, h, w), token targets (-1 is none) and the flat positions `token_index` that have one; and what the other modalities
    carry and predict."""

    token_id: Tensor
    document: Tensor
    group: Tensor
    position: Tensor
    token_target: Tensor
    token_index: Tensor
    cells: Cells
    cell_targets: CellTargets
    stills: Patches
    clips: Patches
    codes: Codes
    code_targets: Codes
    voices: Voices
    mtp: MTPTargets

    @property
    def valid(self) -> Tensor:
        """Bool `[rows, length]`: positions that hold something, as padding does not."""
        return self.document >= 0

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Batch":
        """The batch with all its tensors on `device`, those that are no whole numbers in `dtype` where one is told."""
        if dtype is None and self.token_id.device == torch.device(device):
            return self
        return _move(self, device, dtype)


def _move(value: Any, device: torch.device | str, dtype: torch.dtype | None) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, dtype if value.is_floating_point() else None)
    return replace(value, **{field.name: _move(getattr(value, field.name), device, dtype) for field in fields(value)})
