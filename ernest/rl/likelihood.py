"""The log-probability of every choice of a response under the weights that are trained, by the policy that it was sampled with.

Packed responses (`ernest.rl.response_batch`) pass through the network once. A response's log-probability is the sum over its
groups, and a group's that over its elements. Temperatures and the tokens that could be chosen are those of the sampler.

Shapes: E elements, ordered as tokens, bits, codes level by level.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.data.collate import scale_weights
from ernest.model.network import Predictions
from ernest.rl.response_batch import Elements, ResponseBatch


@dataclass(frozen=True, eq=False)
class Scored:
    """`log_prob` `[E]` of the elements under the policy of the weights at hand, differentiable, and the `entropy` `[E]` of the
    distribution that each was drawn from, which is not."""

    log_prob: Tensor
    entropy: Tensor


def score(predictions: Predictions, responses: ResponseBatch) -> Scored:
    """Of all elements, in float32: log softmax(l / T + bias) of tokens and codes, log sigmoid(+-l / T) of bits."""
    batch = responses.batch
    target = batch.token_target.flatten()[batch.token_index][responses.text_index]
    logits = predictions.text[responses.text_index].float() / responses.text_temperature[:, None] + responses.text_bias
    parts = [_of_classes(logits, target)]
    logits = predictions.bits[responses.bit_index].float() / responses.bit_temperature[:, None]
    parts.append(_of_bits(logits, batch.cell_targets.bits[responses.bit_index]))
    codes = batch.code_targets.value[responses.code_index]
    end = predictions.codes[0].shape[1] - 1
    for level, predicted in enumerate(predictions.codes):
        here = torch.arange(len(codes)) if not level else torch.nonzero(codes[:, 0] != end)[:, 0]
        logits = predicted[responses.code_index[here]].float() / responses.code_temperature[here, None]
        if level:
            logits = logits.index_fill(1, torch.tensor([end]), -torch.inf)
        parts.append(_of_classes(logits, codes[here, level]))
    log_prob, entropy = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return Scored(log_prob, entropy)


def _of_classes(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    log_p = F.log_softmax(logits, dim=-1)
    return log_p.gather(1, target[:, None])[:, 0], torch.special.entr(log_p.detach().exp()).sum(-1)


def _of_bits(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    log_p = -F.binary_cross_entropy_with_logits(logits, target, reduction="none").flatten()
    p = torch.sigmoid(logits.detach())
    return log_p, (torch.special.entr(p) + torch.special.entr(1 - p)).flatten()


def check_scales(of_scale: Sequence[float], sizes: tuple[tuple[int, int], ...]) -> None:
    """Raises ValueError for weights of scales of which there is not one for each."""
    if of_scale and len(of_scale) != len(sizes):
        raise ValueError(f"objective.scale_weights: expected {len(sizes)} numbers, one for each scale, got {len(of_scale)}")


def relative_weights(elements: Elements, of_scale: Sequence[float], sizes: tuple[tuple[int, int], ...]) -> Tensor:
    """Weights of elements within their group, segment or batch: 1 of tokens and codes, of bits that `of_scale`, by default the
    one of pre-training, which grows with the side of a scale."""
    if not of_scale:
        cells = [height * width for height, width in sizes]
        starts = [0, *accumulate(cells[:-1])]
        of_scale = (scale_weights(sizes)[starts] * sum(cells)).tolist()
    table = torch.tensor([*of_scale, 1.0])
    return table[elements.scale]
