"""Training loss of a detector: varifocal for scores, GIoU for boxes, distribution focal for the distances to their sides."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.lcnet.heads.assignment import Assignment, assign_atss, assign_task_aligned
from ernest.lcnet.heads.boxes import Objects, giou
from ernest.lcnet.heads.detection import Predictions

VARIFOCAL, DISTRIBUTION, BOX = 1.0, 0.5, 2.5
"""Weights of the three parts (PaddleDetection, `picodet_*_lcnet`)."""


def detection_loss(predictions: Predictions, objects: Sequence[Objects], by_geometry: bool) -> Tensor:
    """The weighted sum of the three losses over all pictures, divided by the sum of target scores.

    `by_geometry`: points are assigned by ATSS, as early in training, and else by task alignment.
    """
    boxes = predictions.boxes()
    with torch.no_grad():
        assigned = [
            _assign(one, predictions.points, predictions.strides, predictions.scores[index], boxes[index], by_geometry)
            for index, one in enumerate(objects)
        ]
    target_scores = torch.zeros_like(predictions.scores)
    parts = []
    for index, (one, assignment) in enumerate(zip(objects, assigned, strict=True)):
        points = (assignment.object >= 0).nonzero()[:, 0]
        own, weight = assignment.object[points], assignment.score[points]
        target_scores[index, points, one.labels[own]] = weight
        true = one.boxes[own]
        sides = torch.cat((predictions.points[points] - true[:, :2], true[:, 2:] - predictions.points[points]), 1)
        box = 1 - giou(boxes[index, points], true)
        spread = distribution_focal(predictions.distances[index, points], sides / predictions.strides[points, None])
        parts.append((weight * (BOX * box + DISTRIBUTION * spread)).sum())
    total = VARIFOCAL * varifocal(predictions.scores, target_scores) + torch.stack(parts).sum()
    return total / target_scores.sum().clamp(min=1)


def varifocal(scores: Tensor, target_scores: Tensor, alpha: float = 0.75, gamma: float = 2.0) -> Tensor:
    """arXiv 2008.13367, eq. 2, summed: -q (q log p + (1 - q) log(1 - p)) where q > 0, and -α p^γ log(1 - p) where q = 0."""
    weight = torch.where(target_scores > 0, target_scores, alpha * scores**gamma)
    return (weight * F.binary_cross_entropy(scores, target_scores, reduction="none")).sum()


def distribution_focal(logits: Tensor, distance: Tensor) -> Tensor:
    """arXiv 2006.04388, eq. 6: the two whole numbers beside a distance share its probability; `[n, 4, bins]`, `[n, 4]` to `[n]`.

    The mean of the four sides. Distances are in strides; what is out of reach counts as the last bin.
    """
    bins = logits.shape[-1]
    distance = distance.clamp(0, bins - 1)
    below = distance.floor().clamp(max=bins - 2).long()
    share = distance - below
    log_probability = logits.log_softmax(-1)
    lower, upper = (log_probability.gather(-1, index[..., None])[..., 0] for index in (below, below + 1))
    return -((1 - share) * lower + share * upper).mean(-1)


def _assign(objects: Objects, points: Tensor, strides: Tensor, scores: Tensor, boxes: Tensor, by_geometry: bool) -> Assignment:
    if by_geometry:
        return assign_atss(objects, points, strides, boxes)
    return assign_task_aligned(objects, points, scores, boxes)
