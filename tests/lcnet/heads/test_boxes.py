"""Overlaps and suppression against references that say the same thing slowly."""

import numpy as np
import pytest
import torch

from ernest.lcnet.heads import Objects
from ernest.lcnet.heads.boxes import area, box_iou, giou, nms


def some_boxes(n: int, seed: int) -> torch.Tensor:
    """Boxes of 1 to 40 pixels within 60 x 60: many meet, many do not."""
    rng = np.random.default_rng(seed)
    corner, side = rng.uniform(0, 40, (n, 2)), rng.uniform(1, 40, (n, 2))
    return torch.tensor(np.concatenate((corner, corner + side), 1))


def share(a: list[float], b: list[float]) -> tuple[float, float, float]:
    """Intersection over union, union and area of the hull of two boxes, by school arithmetic."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return width * height / union, union, hull


def test_overlaps_are_those_of_school_arithmetic() -> None:
    first, second = some_boxes(30, 0), some_boxes(20, 1)
    expected = [[share(a, b)[0] for b in second.tolist()] for a in first.tolist()]
    torch.testing.assert_close(box_iou(first, second), torch.tensor(expected, dtype=torch.float64))
    assert (box_iou(first, second) == 0).any()


def test_generalised_overlap_counts_the_empty_part_of_the_hull() -> None:
    first, second = some_boxes(200, 2), some_boxes(200, 3)
    expected = []
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        both, union, hull = share(a, b)
        expected.append(both - (hull - union) / hull)
    torch.testing.assert_close(giou(first, second), torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(giou(first, first), torch.ones(200, dtype=torch.float64))
    far = giou(torch.tensor([0.0, 0, 1, 1]), torch.tensor([1000.0, 0, 1001, 1]))
    assert far.item() == pytest.approx(-1, abs=2.1e-3)


def test_boxes_apart_are_drawn_together() -> None:
    """Plain overlap is 0 wherever boxes do not meet and teaches nothing there."""
    box = torch.tensor([0.0, 0, 10, 10], requires_grad=True)
    giou(box, torch.tensor([20.0, 0, 30, 10])).backward()
    assert box.grad[2] > 0


def test_a_box_turned_inside_out_has_no_area() -> None:
    inside_out = torch.tensor([[5.0, 5, 1, 9]])
    assert area(inside_out).item() == 0
    assert box_iou(inside_out, inside_out).item() == 0


def kept_slowly(boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor, overlap: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: -scores[i].item()):
        rivals = [j for j in kept if labels[j] == labels[i]]
        if all(share(boxes[i].tolist(), boxes[j].tolist())[0] <= overlap for j in rivals):
            kept.append(i)
    return kept


@pytest.mark.parametrize("overlap", [0.1, 0.3, 0.6])
def test_suppression_keeps_what_the_rule_keeps(overlap: float) -> None:
    for seed in range(5):
        boxes, rng = some_boxes(80, seed), np.random.default_rng(seed)
        scores, labels = torch.tensor(rng.random(80)), torch.tensor(rng.integers(3, size=80))
        kept = nms(boxes, scores, labels, overlap).tolist()
        assert kept == kept_slowly(boxes, scores, labels, overlap)
        assert len(nms(boxes, scores, torch.zeros(80), overlap)) < len(kept) < 80


def test_a_suppressed_box_suppresses_nothing() -> None:
    chain = torch.tensor([[0.0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]])
    assert nms(chain, torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3), 0.4).tolist() == [0, 2]
    assert nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0), 0.5).tolist() == []


def test_wrong_objects_are_told() -> None:
    with pytest.raises(ValueError, match=r"expected \[n, 4\] and \[n\], got \[2, 4\] and \[3\]"):
        Objects(torch.rand(2, 4), torch.zeros(3))
    with pytest.raises(ValueError, match=r"expected \[n, 4\] and \[n\], got \[0, 5\] and \[0\]"):
        Objects(torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"labels: expected whole numbers, got torch.float32"):
        Objects(torch.zeros(0, 4), torch.zeros(0))
    with pytest.raises(ValueError, match=r"x0 < x1 and y0 < y1, got \[3.0, 0.0, 3.0, 5.0\]"):
        Objects(torch.tensor([[0.0, 0, 1, 1], [3, 0, 3, 5]]), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="boxes: expected finite pixels"):
        Objects(torch.tensor([[0.0, float("nan"), 1, 1]]), torch.tensor([0]))
    Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


def test_objects_may_be_told_in_numbers_of_any_kind() -> None:
    """A byte as an index would be a mask."""
    told = Objects([[1, 2, 3, 4], [0, 0, 9, 9]], np.array([2, 0], np.uint8))
    assert told.boxes.tolist() == [[1, 2, 3, 4], [0, 0, 9, 9]]
    assert told.labels.dtype == torch.int64
    assert Objects([], []).boxes.shape == (0, 4)
    for boxes, labels, said in (
        ("none", [0], "boxes: expected a tensor, an array or a list of numbers, got 'none'"),
        ([[0, 0, np.inf, 1]], [0], "boxes: expected finite pixels"),
        ([[0, 0, 1, 1]], [True], "labels: expected whole numbers, got torch.bool"),
    ):
        with pytest.raises(ValueError, match=said):
            Objects(boxes, labels)
