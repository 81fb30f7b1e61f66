"""Scores of detection (COCO's average precision) and segmentation (mean intersection over union).

Average precision as COCO defines it, without its split by area; the mean intersection over union of PASCAL and
Cityscapes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ernest.lcnet.heads.boxes import Detections, Objects, box_iou

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Overlaps from which on a detection counts as right."""

RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class AveragePrecision:
    """`table` `[10, classes]`: one row for each of `THRESHOLDS`; not a number for a class of which there is no object."""

    table: np.ndarray

    @property
    def mean(self) -> float:
        """AP@[.5:.95], the figure of merit of COCO: over all overlaps and classes. Not a number without any object."""
        return _mean(self.table)

    @property
    def at_half(self) -> float:
        """AP@0.5: an overlap of one half is enough."""
        return _mean(self.table[0])


@dataclass(frozen=True)
class IntersectionOverUnion:
    """`by_class` `[classes]`; not a number for a class that is neither there nor found."""

    by_class: np.ndarray

    @property
    def mean(self) -> float:
        """mIoU. Not a number if there was no pixel to judge."""
        return _mean(self.by_class)


def average_precision(predicted: Sequence[Detections], target: Sequence[Objects], classes: int) -> AveragePrecision:
    """How well the detections of all pictures agree with the objects that are there.

    For each class and overlap, all detections in falling order of their scores take, each in its picture, the free object
    that they cover best, if they cover it well enough. Precision is made to fall with recall and read off at 101 recalls.
    Raises ValueError if there are not as many pictures found as true, or labels beyond the classes.
    """
    if len(predicted) != len(target):
        raise ValueError(f"found: expected one for each of the {len(target)} pictures, got {len(predicted)}")
    for name, labels in [("found", one.labels) for one in predicted] + [("true", one.labels) for one in target]:
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise ValueError(f"{name}: expected labels from 0 to {classes - 1}, got {int(labels.min())} to {int(labels.max())}")
    return AveragePrecision(np.stack([_of_class(predicted, target, label) for label in range(classes)], 1))


def _of_class(predicted: Sequence[Detections], target: Sequence[Objects], label: int) -> np.ndarray:
    """Average precision at each of the thresholds, `[10]`."""
    scores, hits, count = [np.zeros(0)], [np.zeros((len(THRESHOLDS), 0), bool)], 0
    for one, objects in zip(predicted, target, strict=True):
        mine = (one.labels == label).nonzero()[:, 0]
        mine = mine[one.scores[mine].argsort(descending=True, stable=True)]
        there = objects.boxes[objects.labels == label]
        count += len(there)
        scores.append(one.scores[mine].numpy())
        hits.append(_hits(box_iou(one.boxes[mine].double(), there.double()).numpy()))
    if not count:
        return np.full(len(THRESHOLDS), np.nan)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return np.array([_area_below(row[order], count) for row in np.concatenate(hits, 1)])


def _hits(overlap: np.ndarray) -> np.ndarray:
    """Which of D detections of one picture, surest first, find one of its G objects free: `[D, G]` to bool `[10, D]`."""
    hits = np.zeros((len(THRESHOLDS), len(overlap)), bool)
    if overlap.shape[1]:
        for row, threshold in zip(hits, THRESHOLDS, strict=True):
            free = overlap.copy()
            for index in np.flatnonzero(overlap.max(1) >= threshold):
                best = free[index].argmax()
                if free[index, best] >= threshold:
                    row[index] = True
                    free[:, best] = -1
    return hits


def _area_below(hits: np.ndarray, count: int) -> float:
    """Mean precision at 101 recalls, from the hits in falling order of score and the number of objects."""
    right = np.cumsum(hits)
    recall, precision = right / count, right / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(recall, RECALLS, side="left")
    return float(np.append(precision, 0.0)[reached].mean())


def intersection_over_union(
    predicted: Iterable[Tensor], target: Iterable[Tensor], classes: int, ignore: int = 255
) -> IntersectionOverUnion:
    """Per class the pixels that are both found and true over those that are either, over all masks `[...]` together.

    Pixels that are truly `ignore` do not count. Raises ValueError for masks of different shapes, and labels beyond the classes.
    """
    pairs = np.zeros((classes, classes), np.int64)
    for one, other in zip(predicted, target, strict=True):
        if one.shape != other.shape:
            raise ValueError(f"found: expected a mask of {list(other.shape)}, as the true one, got {list(one.shape)}")
        judged = other != ignore
        predictions, there = one[judged].long(), other[judged].long()
        for name, labels in (("found", predictions), ("true", there)):
            if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
                wanted = f"labels from 0 to {classes - 1}" + (f", or {ignore} to ignore" if name == "true" else "")
                raise ValueError(f"{name}: expected {wanted}, got {int(labels.min())} to {int(labels.max())}")
        pairs += np.bincount((there * classes + predictions).numpy(), minlength=classes**2).reshape(classes, classes)
    both = pairs.diagonal()
    either = pairs.sum(0) + pairs.sum(1) - both
    return IntersectionOverUnion(np.where(either > 0, both / np.maximum(either, 1), np.nan))


def _mean(values: np.ndarray) -> float:
    """Over what is a number."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
