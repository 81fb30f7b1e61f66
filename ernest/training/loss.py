"""Losses of a batch and the weights that bring the modalities to one interval."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.device import at_least_float32
from ernest.model.network import Predictions
from ernest.sequence.batch import Batch

LOSSES = ("text", "mtp", "vision", "audio")
MODALITIES = ("text", "vision", "audio")
BOUND = 3.0
"""By how much a loss may count more or less than one of mean size. Without it text that is nearly learnt, and costs a tenth of
a nat, would have four times the weight of pictures that are not."""


def loss_sums(predictions: Predictions, batch: Batch) -> tuple[Tensor, Tensor]:
    """Sum and count of each of `LOSSES` `[4]`, so that processes can share one mean.

    Text and the token after next: cross entropy per token. Vision: binary cross entropy per bit, averaged over the bits of a
    cell, cells weighted so that every frame counts 1. Audio: cross entropy averaged over the levels of a codec frame.
    """
    targets = batch.token_target.flatten()[batch.token_index]
    ahead = batch.mtp.target.flatten()[batch.mtp.target_index]
    cells = batch.cell_targets
    text = F.cross_entropy(at_least_float32(predictions.text), targets, reduction="sum")
    mtp = text.new_zeros(())
    if predictions.mtp is not None:
        mtp = F.cross_entropy(at_least_float32(predictions.mtp), ahead, reduction="sum")
    bits = F.binary_cross_entropy_with_logits(at_least_float32(predictions.bits), cells.bits, reduction="none").mean(dim=1)
    levels = zip(predictions.codes, batch.code_targets.value.T, strict=True)
    audio = torch.stack([F.cross_entropy(at_least_float32(logits), codes, reduction="sum") for logits, codes in levels]).mean()
    count = torch.tensor([len(targets), len(ahead), 0, len(batch.code_targets.index)], dtype=text.dtype).to(text.device)
    count[2] = cells.weight.to(text.dtype).sum()
    return torch.stack([text, mtp, (bits * cells.weight).sum(), audio]), count


@dataclass(frozen=True)
class LossBalancer:
    """Running mean of each modality's loss, from which its weight follows (ERNIE 5.0 §3.2; the formula is ours).

    w_x = clip(c / m_x, 1/3, 3) with c the mean of the m_x, then scaled so that the weights average 1: losses that were seen to
    be large count less, and no modality dominates, neither one whose loss is large nor one that has nothing left to learn.
    """

    running: Mapping[str, float]
    decay: float = 0.98

    def weights(self) -> dict[str, float]:
        """The weight of each modality's loss."""
        if not self.running:
            return dict.fromkeys(MODALITIES, 1.0)
        centre = sum(self.running.values()) / len(self.running)
        raw = {name: min(max(centre / max(self.running.get(name, centre), 1e-6), 1 / BOUND), BOUND) for name in MODALITIES}
        mean = sum(raw.values()) / len(raw)
        return {name: weight / mean for name, weight in raw.items()}

    def observe(self, losses: Mapping[str, float]) -> "LossBalancer":
        """The state after a step; modalities that the step did not hold keep their mean."""
        updated = dict(self.running)
        for name in MODALITIES:
            if name in losses:
                updated[name] = self.decay * updated.get(name, losses[name]) + (1 - self.decay) * losses[name]
        return LossBalancer(updated, self.decay)


def combine(total: Tensor, count: Tensor, balancer: LossBalancer, mtp_weight: float) -> Tensor:
    """The objective: sum_x w_x L_x, the token after next counting `mtp_weight` of the text; `count` is global."""
    weights = balancer.weights()
    factor = [weights["text"], weights["text"] * mtp_weight, weights["vision"], weights["audio"]]
    return (total / count.clamp_min(1e-9) * torch.tensor(factor, dtype=total.dtype, device=total.device)).sum()


def mean_losses(total: Tensor, count: Tensor) -> dict[str, float]:
    """Mean losses by name, without those that the batch did not hold."""
    return {name: float(s / n) for name, s, n in zip(LOSSES, total, count, strict=True) if n > 0}
