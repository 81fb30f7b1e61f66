"""Both rules of assignment against loops over every point and object."""

import math

import numpy as np
import pytest
import torch

from ernest.lcnet.heads import Objects
from ernest.lcnet.heads.assignment import Assignment, assign_atss, assign_task_aligned
from ernest.lcnet.heads.boxes import box_iou

SIZE, CLASSES = 128, 5


def grid() -> tuple[torch.Tensor, torch.Tensor]:
    """The points of a detector for a picture of 128 x 128, and their strides."""
    points = [
        ((x + 0.5) * stride, (y + 0.5) * stride, stride)
        for stride in (8, 16, 32, 64)
        for y in range(SIZE // stride)
        for x in range(SIZE // stride)
    ]
    table = torch.tensor(points, dtype=torch.float64)
    return table[:, :2], table[:, 2]


def scene(seed: int, n: int = 4) -> tuple[Objects, torch.Tensor, torch.Tensor]:
    """Objects that overlap here and there; for every point scores, and a box that is roughly around it."""
    rng = np.random.default_rng(seed)
    corner, side = rng.uniform(0, 80, (n, 2)), rng.uniform(14, 48, (n, 2))
    objects = Objects(torch.tensor(np.concatenate((corner, corner + side), 1)), torch.tensor(rng.integers(CLASSES, size=n)))
    points, strides = grid()
    sides = torch.tensor(rng.uniform(0.5, 3, (len(points), 4))) * strides[:, None]
    boxes = torch.cat((points - sides[:, :2], points + sides[:, 2:]), 1)
    return objects, torch.tensor(rng.uniform(0.01, 0.99, (len(points), CLASSES))), boxes


def iou(a: torch.Tensor, b: torch.Tensor) -> float:
    return box_iou(a[None], b[None]).item()


def inside(point: torch.Tensor, box: torch.Tensor) -> bool:
    x, y = point.tolist()
    return box[0].item() < x < box[2].item() and box[1].item() < y < box[3].item()


def nearest_slowly(objects: Objects, boxes: torch.Tensor) -> tuple[list[int], list[float]]:
    points, strides = grid()
    claims: list[dict[int, float]] = [{} for _ in points]
    for number, box in enumerate(objects.boxes):
        middle = (box[:2] + box[2:]) / 2
        candidates: list[int] = []
        for stride in (8, 16, 32, 64):
            level = [p for p in range(len(points)) if strides[p] == stride]
            candidates += sorted(level, key=lambda p: math.dist(points[p].tolist(), middle.tolist()))[:9]
        fit = {}
        for p in candidates:
            half = 2.5 * strides[p]
            fit[p] = iou(torch.cat((points[p] - half, points[p] + half)), box)
        usual = np.mean(list(fit.values())) + np.std(list(fit.values()), ddof=1)
        for p, value in fit.items():
            if value >= usual and inside(points[p], box):
                claims[p][number] = value
    chosen = [max(claim, key=claim.__getitem__) if claim else -1 for claim in claims]
    return chosen, [iou(objects.boxes[o], boxes[p]) if o >= 0 else 0.0 for p, o in enumerate(chosen)]


def best_aligned_slowly(objects: Objects, scores: torch.Tensor, boxes: torch.Tensor) -> tuple[list[int], list[float]]:
    points, _ = grid()
    claims: list[dict[int, float]] = [{} for _ in points]
    aligned: dict[tuple[int, int], float] = {}
    for number, box in enumerate(objects.boxes):
        label = int(objects.labels[number])
        within = [p for p in range(len(points)) if inside(points[p], box)]
        for p in within:
            aligned[number, p] = scores[p, label].item() * iou(boxes[p], box) ** 6
        for p in sorted(within, key=lambda p: -aligned[number, p])[:13]:
            claims[p][number] = iou(boxes[p], box)
    chosen = [max(claim, key=claim.__getitem__) if claim else -1 for claim in claims]
    wished = [0.0] * len(points)
    for number, box in enumerate(objects.boxes):
        mine = [p for p, o in enumerate(chosen) if o == number]
        for p in mine:
            top = max(aligned[number, q] for q in mine)
            wished[p] = aligned[number, p] / top * max(iou(boxes[q], box) for q in mine)
    return chosen, wished


def agree(found: Assignment, chosen: list[int], wished: list[float]) -> None:
    assert found.object.tolist() == chosen
    np.testing.assert_allclose(found.score.numpy(), wished, atol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_nearest_is_the_published_algorithm(seed: int) -> None:
    objects, _, boxes = scene(seed)
    found = assign_atss(objects, *grid(), boxes)
    agree(found, *nearest_slowly(objects, boxes))
    assert set(found.object.tolist()) == {-1, 0, 1, 2, 3}, "every object is looked for somewhere"


@pytest.mark.parametrize("seed", range(6))
def test_best_aligned_is_the_published_rule(seed: int) -> None:
    objects, scores, boxes = scene(seed, n=6)
    found = assign_task_aligned(objects, grid()[0], scores, boxes)
    agree(found, *best_aligned_slowly(objects, scores, boxes))
    counts = [int((found.object == number).sum()) for number in range(6)]
    assert max(counts) <= 13


def test_the_best_point_is_to_be_as_sure_as_its_box_is_good() -> None:
    objects, scores, boxes = scene(1, n=1)
    found = assign_task_aligned(objects, grid()[0], scores, boxes)
    mine = found.object == 0
    assert found.score.max().item() == pytest.approx(box_iou(objects.boxes, boxes[mine]).max().item())
    assert (found.score[~mine] == 0).all()


def test_a_picture_without_objects_wishes_for_nothing() -> None:
    _, scores, boxes = scene(0)
    nothing = Objects(torch.zeros(0, 4, dtype=torch.float64), torch.zeros(0, dtype=torch.int64))
    for found in (assign_atss(nothing, *grid(), boxes), assign_task_aligned(nothing, grid()[0], scores, boxes)):
        assert (found.object == -1).all()
        assert (found.score == 0).all()
