"""Label assignment of a detector's training: which point of the maps has to predict which object, with which score.

Points are pixels `[P, 2]` with a stride each, `[P]`; objects are G boxes. Two rules, one after the other in training: the
first looks at geometry alone and works from the first step; the second asks which predictions are good already.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ernest.lcnet.heads.boxes import Objects, box_iou

NEAREST = 9
ANCHOR = 5
"""Strides in a side of the square that stands for a point in the first rule (PaddleDetection's `grid_cell_scale`)."""

BEST = 13
SCORE_POWER, OVERLAP_POWER = 1.0, 6.0


@dataclass(frozen=True)
class Assignment:
    """For every point the index of its object, -1 for none, and its target score, 0 for none: both `[P]`."""

    object: Tensor
    score: Tensor


def assign_atss(objects: Objects, points: Tensor, strides: Tensor, boxes: Tensor) -> Assignment:
    """ATSS (arXiv 1912.02424, algorithm 1): of the 9 nearest points of each map, those that fit better than usual.

    A point fits by the overlap of the square around it with the object; better than usual is more than mean plus standard
    deviation over all candidates of the object. It must lie inside. Its score is the overlap of its predicted box `[P, 4]`.
    """
    half = ANCHOR * strides[:, None] / 2
    fit = box_iou(objects.boxes, torch.cat((points - half, points + half), 1))
    centres = (objects.boxes[:, :2] + objects.boxes[:, 2:]) / 2
    far = torch.cdist(centres, points)
    candidate = torch.zeros_like(fit, dtype=torch.bool)
    for stride in strides.unique():
        places = (strides == stride).nonzero()[:, 0]
        near = far[:, places].topk(min(NEAREST, len(places)), largest=False).indices
        candidate.scatter_(1, places[near], True)
    count = candidate.sum(1, keepdim=True)
    mean = (fit * candidate).sum(1, keepdim=True) / count
    deviation = (((fit - mean) ** 2 * candidate).sum(1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    chosen = _one_object_each(candidate & (fit >= mean + deviation) & _inside(objects.boxes, points), fit)
    return Assignment(chosen, _of_chosen(box_iou(objects.boxes, boxes), chosen))


def assign_task_aligned(objects: Objects, points: Tensor, scores: Tensor, boxes: Tensor) -> Assignment:
    """Task alignment (arXiv 2108.07755, section 3.2): the 13 points inside an object that find it best already.

    How well is t = score · overlap⁶, from the predicted scores `[P, classes]` and boxes `[P, 4]`. The score wished for is
    t, scaled for each object such that its best point is to be as sure as its best overlap.
    """
    share = box_iou(objects.boxes, boxes)
    inside = _inside(objects.boxes, points)
    aligned = scores[:, objects.labels].T ** SCORE_POWER * share**OVERLAP_POWER * inside
    candidate = torch.zeros_like(inside).scatter_(1, aligned.topk(min(BEST, len(points))).indices, True)
    chosen = _one_object_each(candidate & inside, share)
    mine = chosen == torch.arange(len(objects.boxes), device=points.device)[:, None]
    top_aligned, top_share = ((values * mine).amax(1, keepdim=True) for values in (aligned, share))
    return Assignment(chosen, _of_chosen(aligned / top_aligned.clamp(min=1e-12) * top_share, chosen))


def _inside(boxes: Tensor, points: Tensor) -> Tensor:
    """Which points lie inside which boxes: bool `[G, P]`."""
    return ((points > boxes[:, None, :2]) & (points < boxes[:, None, 2:])).all(-1)


def _one_object_each(possible: Tensor, quality: Tensor) -> Tensor:
    """For every point the possible object of the highest quality (not negative, `[G, P]`), or -1: `[P]`."""
    if not len(possible):
        return torch.full((possible.shape[1],), -1, device=possible.device)
    best = quality.masked_fill(~possible, -1).max(0)
    return torch.where(best.values >= 0, best.indices, -1)


def _of_chosen(values: Tensor, chosen: Tensor) -> Tensor:
    """The value `[G, P]` of every point's own object, 0 where it has none: `[P]`."""
    if not len(values):
        return values.new_zeros(len(chosen))
    return values.gather(0, chosen.clamp(min=0)[None])[0] * (chosen >= 0)
