"""Log-likelihood of a document's made groups under one teacher-forced forward pass, row by row."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.model.network import Predictions
from ernest.sequence.batch import Batch
from tests.references.scales import scale_inputs


def with_bits(batch: Batch, bits: list[Tensor], quantiser) -> Batch:
    """The batch with made pictures `bits` `[frames, cells, bits]`, one for each row, in place of those it was collated from."""
    parts = [scale_inputs(quantiser, one) for one in bits]
    value, frame, target = (torch.cat([getattr(part, name) for part in parts]) for name in ("value", "frame", "bits"))
    cells = replace(batch.cells, value=value, frame=frame)
    return replace(batch, cells=cells, cell_targets=replace(batch.cell_targets, bits=target))


def symbols_of(predictions: Predictions, batch: Batch, rows: int, left_out: Tensor) -> Tensor:
    """`[rows]`: symbol targets, without those at positions that `left_out` bool `[rows, length]` marks."""
    kept = batch.token_target >= 0
    log_p = F.log_softmax(predictions.text, dim=-1).gather(1, batch.token_target[kept][:, None])[:, 0]
    table = torch.zeros(batch.token_id.shape).masked_scatter(kept, log_p)
    return table.masked_fill(left_out, 0.0).sum(dim=1)[:rows]


def bits_of(predictions: Predictions, batch: Batch, rows: int) -> Tensor:
    log_p = -F.binary_cross_entropy_with_logits(predictions.bits, batch.cell_targets.bits, reduction="none").sum(dim=1)
    row = batch.cell_targets.index // batch.token_id.shape[1]
    return torch.zeros(rows).index_add(0, row, log_p)


def codes_of(predictions: Predictions, batch: Batch, frames: list[int]) -> Tensor:
    """The first `frames[row]` codec frames of each row, the end of audio counting as one."""
    row = batch.code_targets.index // batch.token_id.shape[1]
    levels = zip(predictions.codes, batch.code_targets.value.T, strict=True)
    log_p = torch.stack([F.log_softmax(logits, -1).gather(1, codes[:, None])[:, 0] for logits, codes in levels]).sum(0)
    return torch.stack([log_p[row == r][:n].sum() for r, n in enumerate(frames)])
