"""Log-probabilities of what a batch holds, group by group, under teacher forcing.

A group is what the network predicts in one step: a text token, the bits of a scale of a frame, the codes of a codec frame.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.model.network import Predictions
from ernest.sequence.batch import Batch


@dataclass(frozen=True)
class TargetLogProbs:
    """One log-probability per target, in the order of the batch: `text` `[tokens]`, `bits` `[cells, bits]`, `codes`
    `[frames, levels]`, the end of audio being a frame."""

    text: Tensor
    bits: Tensor
    codes: Tensor


@dataclass(frozen=True)
class GroupLogProbs:
    """`[rows, length]` each: what a group predicts stands at its first position, 0 elsewhere. The last position of a frame
    predicts a token and a scale of the next one, so the three add up."""

    text: Tensor
    bits: Tensor
    codes: Tensor


def target_log_probs(predictions: Predictions, batch: Batch) -> TargetLogProbs:
    """At temperature 1, unguided."""
    ids = batch.token_target.flatten()[batch.token_index]
    bits = -F.binary_cross_entropy_with_logits(predictions.bits.float(), batch.cell_targets.bits, reduction="none")
    levels = zip(predictions.codes, batch.code_targets.value.T, strict=True)
    codes = torch.stack([_of_classes(logits, codes) for logits, codes in levels], dim=1)
    return TargetLogProbs(_of_classes(predictions.text, ids), bits, codes)


def group_log_probs(predictions: Predictions, batch: Batch) -> GroupLogProbs:
    """The targets' log-probabilities summed over each group; differentiable."""
    each, start = target_log_probs(predictions, batch), first_positions(batch).flatten()

    def total(index: Tensor, log_prob: Tensor) -> Tensor:
        table = log_prob.new_zeros(batch.token_id.numel())
        return table.index_add(0, start[index], log_prob).view_as(batch.token_id)

    return GroupLogProbs(
        total(batch.token_index, each.text),
        total(batch.cell_targets.index, each.bits.sum(dim=1)),
        total(batch.code_targets.index, each.codes.sum(dim=1)),
    )


def first_positions(batch: Batch) -> Tensor:
    """For every position the flat position of the first one of its group, `[rows, length]`."""
    begins = torch.ones_like(batch.valid)
    begins[:, 1:] = (batch.group[:, 1:] != batch.group[:, :-1]) | (batch.document[:, 1:] != batch.document[:, :-1])
    position = torch.arange(begins.numel(), device=begins.device).view_as(begins)
    return torch.where(begins, position, 0).cummax(dim=1).values


def _of_classes(logits: Tensor, classes: Tensor) -> Tensor:
    return F.log_softmax(logits.float(), dim=-1).gather(1, classes[:, None])[:, 0]
