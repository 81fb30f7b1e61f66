"""The losses of detection against their formulas, number by number."""

import math
from dataclasses import replace

import pytest
import torch

from ernest.lcnet.heads import Objects, Predictions
from ernest.lcnet.heads.assignment import assign_atss, assign_task_aligned
from ernest.lcnet.heads.boxes import giou
from ernest.lcnet.heads.detection_loss import detection_loss, distribution_focal, varifocal

BINS, CLASSES = 8, 3


def varifocal_slowly(score: float, wished: float) -> float:
    if wished > 0:
        return -wished * (wished * math.log(score) + (1 - wished) * math.log(1 - score))
    return -0.75 * score**2 * math.log(1 - score)


def distribution_focal_slowly(logits: list[list[float]], sides: list[float]) -> float:
    total = 0.0
    for line, side in zip(logits, sides, strict=True):
        side = min(max(side, 0.0), BINS - 1)
        below = min(int(side), BINS - 2)
        log_sum = math.log(sum(math.exp(one) for one in line))
        total -= (below + 1 - side) * (line[below] - log_sum) + (side - below) * (line[below + 1] - log_sum)
    return total / 4


def test_varifocal_is_its_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(40, 3, generator=generator, dtype=torch.float64)
    wished = (torch.rand(40, 3, generator=generator, dtype=torch.float64) - 0.5).clamp(min=0)
    pairs = zip(scores.flatten().tolist(), wished.flatten().tolist(), strict=True)
    assert varifocal(scores, wished).item() == pytest.approx(sum(varifocal_slowly(*pair) for pair in pairs))


def test_varifocal_is_least_at_the_score_that_is_wished() -> None:
    scores = torch.linspace(0.01, 0.99, 99)
    losses = torch.stack([varifocal(score, torch.tensor(0.7)) for score in scores])
    assert scores[losses.argmin()].item() == pytest.approx(0.7)


def test_distribution_focal_is_its_formula() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(50, 4, BINS, generator=generator, dtype=torch.float64)
    sides = torch.rand(50, 4, generator=generator, dtype=torch.float64) * 9 - 1
    sides[0] = torch.tensor([0.0, 7.0, 3.0, 6.999])
    expected = [distribution_focal_slowly(*one) for one in zip(logits.tolist(), sides.tolist(), strict=True)]
    torch.testing.assert_close(distribution_focal(logits, sides), torch.tensor(expected, dtype=torch.float64))


def predictions(n: int, seed: int) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    points = [((x + 0.5) * s, (y + 0.5) * s, s) for s in (8, 16, 32, 64) for y in range(64 // s) for x in range(64 // s)]
    table = torch.tensor(points)
    scores = torch.rand(n, len(table), CLASSES, generator=generator)
    return Predictions(scores, torch.randn(n, len(table), 4, BINS, generator=generator), table[:, :2], table[:, 2])


OBJECTS = (
    Objects(torch.tensor([[5.0, 5, 30, 30], [20, 20, 60, 50]]), torch.tensor([0, 2])),
    Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)),
    Objects(torch.tensor([[30.0, 2, 60, 60]]), torch.tensor([1])),
)


@pytest.mark.parametrize("by_geometry", [True, False])
def test_the_whole_is_the_weighted_sum_for_a_unit_of_wished_score(by_geometry: bool) -> None:
    said = predictions(3, 2)
    total, wishes = 0.0, 0.0
    for place, objects in enumerate(OBJECTS):
        boxes, scores = said.boxes()[place], said.scores[place]
        assigned = (
            assign_atss(objects, said.points, said.strides, boxes)
            if by_geometry
            else assign_task_aligned(objects, said.points, scores, boxes)
        )
        wished = [[0.0] * CLASSES for _ in said.points]
        for p, (number, score) in enumerate(zip(assigned.object.tolist(), assigned.score.tolist(), strict=True)):
            if number < 0:
                continue
            true, (x, y), stride = objects.boxes[number], said.points[p].tolist(), said.strides[p].item()
            wished[p][int(objects.labels[number])] = score
            wishes += score
            x0, y0, x1, y1 = true.tolist()
            sides = [(x - x0) / stride, (y - y0) / stride, (x1 - x) / stride, (y1 - y) / stride]
            focal = distribution_focal_slowly(said.distances[place, p].tolist(), sides)
            total += score * (2.5 * (1 - giou(boxes[p], true).item()) + 0.5 * focal)
        for line, wish in zip(scores.tolist(), wished, strict=True):
            total += sum(varifocal_slowly(*pair) for pair in zip(line, wish, strict=True))
    assert wishes > 1
    assert detection_loss(said, OBJECTS, by_geometry).item() == pytest.approx(total / wishes, rel=1e-4)


def test_pictures_without_objects_only_lower_scores() -> None:
    said = predictions(1, 3)
    loss = detection_loss(said, OBJECTS[1:2], by_geometry=False)
    assert loss.item() == pytest.approx(sum(varifocal_slowly(p, 0.0) for p in said.scores.flatten().tolist()), rel=1e-4)
    silent = replace(said, scores=torch.zeros_like(said.scores))
    assert detection_loss(silent, OBJECTS[1:2], by_geometry=True).item() == 0


def test_gradients_reach_scores_and_distances_and_stay_finite() -> None:
    said = predictions(3, 4)
    scores, distances = said.scores.clone().requires_grad_(), said.distances.clone().requires_grad_()
    detection_loss(replace(said, scores=scores, distances=distances), OBJECTS, by_geometry=False).backward()
    for gradient in (scores.grad, distances.grad):
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0
    assert (distances.grad[1] == 0).all(), "a picture without objects says nothing about distances"
