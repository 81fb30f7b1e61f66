"""Boxes `[x0, y0, x1, y1]` in pixels from the upper left corner: intersection over union, non-maximum suppression."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

TINY = 1e-9


@dataclass(frozen=True)
class Objects:
    """What there is on one picture: boxes `[n, 4]` with x0 < x1 and y0 < y1, and what each holds, whole numbers `[n]`.

    Both may be lists or arrays; they become tensors, the labels int64. A picture without objects has no rows. Raises ValueError
    for other shapes, labels that are no whole numbers, and boxes without area or end.
    """

    boxes: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "boxes", _tensor("boxes", self.boxes, (0, 4)))
        object.__setattr__(self, "labels", _tensor("labels", self.labels, (0,)))
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4 or self.labels.shape != self.boxes.shape[:1]:
            shapes = f"{list(self.boxes.shape)} and {list(self.labels.shape)}"
            raise ValueError(f"boxes and labels: expected [n, 4] and [n], got {shapes}")
        if self.labels.is_floating_point() or self.labels.dtype == torch.bool:
            raise ValueError(f"labels: expected whole numbers, got {self.labels.dtype}")
        object.__setattr__(self, "labels", self.labels.long())  # bytes would choose by themselves, as masks do
        if not bool(torch.isfinite(self.boxes).all()):
            raise ValueError(f"boxes: expected finite pixels, got {self.boxes.tolist()}")
        if not bool((self.boxes[:, :2] < self.boxes[:, 2:]).all()):
            wrong = next(box for box in self.boxes.tolist() if not (box[0] < box[2] and box[1] < box[3]))
            raise ValueError(f"boxes: expected [x0, y0, x1, y1] with x0 < x1 and y0 < y1, got {wrong}")


def _tensor(name: str, given: object, of_none: tuple[int, ...]) -> Tensor:
    """What is given, as a tensor; an empty list, which tells neither its type nor its width, of the shape `of_none`."""
    if isinstance(given, Tensor):
        return given
    try:
        array = np.array(given)
        return torch.from_numpy(np.empty(of_none, np.int64) if array.shape == (0,) else array)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected a tensor, an array or a list of numbers, got {given!r}") from None


@dataclass(frozen=True)
class Detections:
    """What was found on one picture, surest first: boxes, float `[n, 4]`, scores from 0 to 1 and labels, both `[n]`."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, score: float) -> "Detections":
        """Only what is surer than `score`."""
        sure = self.scores > score
        return Detections(self.boxes[sure], self.scores[sure], self.labels[sure])


def area(boxes: Tensor) -> Tensor:
    """`[..., 4]` to `[...]`; a box turned inside out has none."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of each of `[n, 4]` with each of `[m, 4]`: `[n, m]`."""
    return _shared(first[:, None], second)[0]


def giou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union, less the share of the common hull that neither covers (arXiv 1902.09630): `[..., 4]` to `[...]`.

    From -1 to 1; falls with distance where boxes do not meet, so that it can be learnt from.
    """
    share, union = _shared(first, second)
    hull = torch.cat((torch.minimum(first[..., :2], second[..., :2]), torch.maximum(first[..., 2:], second[..., 2:])), -1)
    around = area(hull).clamp(min=TINY)
    return share - (around - union) / around


def _shared(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union, and union."""
    common = torch.cat((torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])), -1)
    intersection = area(common)
    union = area(first) + area(second) - intersection
    return intersection / union.clamp(min=TINY), union


def nms(boxes: Tensor, scores: Tensor, labels: Tensor, overlap: float) -> Tensor:
    """Non-maximum suppression: the indices of the boxes to keep, highest score first.

    A box goes if one of the same label that is kept is surer and shares more than `overlap` with it.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes, labels = boxes[order], labels[order]
    rivals = (box_iou(boxes, boxes) > overlap) & (labels[:, None] == labels)
    suppressed = torch.zeros(len(order), dtype=torch.bool)
    for index, rival in enumerate(rivals.triu(1)):
        if not suppressed[index]:
            suppressed |= rival
    return order[~suppressed]
