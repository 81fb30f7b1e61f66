"""What a detector is to minimise: scores, boxes, and where in its bins each distance lies."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.lcnet.heads.assignment import Assignment, best_aligned, nearest
from ernest.lcnet.heads.boxes import Objects, generalised_overlap
from ernest.lcnet.heads.detection import Predictions

VARIFOCAL, DISTRIBUTION, BOX = 1.0, 0.5, 2.5
"""Weights of the three parts (PaddleDetection, `picodet_*_lcnet`)."""


def detection_loss(said: Predictions, objects: Sequence[Objects], by_geometry: bool) -> Tensor:
    """The weighted sum of the three losses over all pictures, for one unit of score that was wished for.

    `by_geometry`: points are assigned by ATSS, as early in training, and else by task alignment.
    """
    boxes = said.boxes()
    with torch.no_grad():
        assigned = [
            _assign(one, said.points, said.strides, said.scores[place], boxes[place], by_geometry)
            for place, one in enumerate(objects)
        ]
    wished = torch.zeros_like(said.scores)
    parts = []
    for place, (one, assignment) in enumerate(zip(objects, assigned, strict=True)):
        points = (assignment.object >= 0).nonzero()[:, 0]
        own, weight = assignment.object[points], assignment.score[points]
        wished[place, points, one.labels[own]] = weight
        true = one.boxes[own]
        sides = torch.cat((said.points[points] - true[:, :2], true[:, 2:] - said.points[points]), 1)
        box = 1 - generalised_overlap(boxes[place, points], true)
        spread = distribution_focal(said.distances[place, points], sides / said.strides[points, None])
        parts.append((weight * (BOX * box + DISTRIBUTION * spread)).sum())
    total = VARIFOCAL * varifocal(said.scores, wished) + torch.stack(parts).sum()
    return total / wished.sum().clamp(min=1)


def varifocal(scores: Tensor, wished: Tensor, alpha: float = 0.75, gamma: float = 2.0) -> Tensor:
    """arXiv 2008.13367, eq. 2, summed: -q (q log p + (1 - q) log(1 - p)) where q > 0, and -α p^γ log(1 - p) where q = 0."""
    weight = torch.where(wished > 0, wished, alpha * scores**gamma)
    return (weight * F.binary_cross_entropy(scores, wished, reduction="none")).sum()


def distribution_focal(logits: Tensor, distance: Tensor) -> Tensor:
    """arXiv 2006.04388, eq. 6: the two whole numbers beside a distance share its probability; `[n, 4, bins]`, `[n, 4]` to `[n]`.

    The mean of the four sides. Distances are in strides; what is out of reach counts as the last bin.
    """
    bins = logits.shape[-1]
    distance = distance.clamp(0, bins - 1)
    below = distance.floor().clamp(max=bins - 2).long()
    share = distance - below
    log_probability = logits.log_softmax(-1)
    lower, upper = (log_probability.gather(-1, place[..., None])[..., 0] for place in (below, below + 1))
    return -((1 - share) * lower + share * upper).mean(-1)


def _assign(objects: Objects, points: Tensor, strides: Tensor, scores: Tensor, boxes: Tensor, by_geometry: bool) -> Assignment:
    if by_geometry:
        return nearest(objects, points, strides, boxes)
    return best_aligned(objects, points, scores, boxes)
