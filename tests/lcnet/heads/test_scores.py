"""Average precision and intersection over union: cases worked out by hand, and what must hold for all."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ernest.lcnet.heads import Detections, Objects, average_precision, intersection_over_union


def predicted(*boxes: tuple[list[float], float, int]) -> Detections:
    return Detections(
        torch.tensor([box for box, _, _ in boxes]).reshape(-1, 4),
        torch.tensor([score for _, score, _ in boxes]),
        torch.tensor([label for _, _, label in boxes], dtype=torch.int64),
    )


def target(*boxes: tuple[list[float], int]) -> Objects:
    labels = torch.tensor([label for _, label in boxes], dtype=torch.int64)
    return Objects(torch.tensor([box for box, _ in boxes]).reshape(-1, 4), labels)


LEFT, RIGHT, FAR = [0.0, 0, 10, 10], [20.0, 0, 30, 10], [50.0, 50, 60, 60]


def test_a_mistake_between_two_hits() -> None:
    """Precision 1 up to a recall of one half, which 51 of the 101 recalls reach, and then 2/3."""
    score = average_precision([predicted((LEFT, 0.9, 0), (FAR, 0.8, 0), (RIGHT, 0.7, 0))], [target((LEFT, 0), (RIGHT, 0))], 1)
    assert [score.mean, score.at_half] == pytest.approx([(51 + 50 * 2 / 3) / 101] * 2)


def test_a_better_precision_later_counts_for_earlier_recalls() -> None:
    """Wrong, right, right: 0, 1/2, 2/3. The last precision is reached at all recalls."""
    score = average_precision([predicted((FAR, 0.9, 0), (LEFT, 0.8, 0), (RIGHT, 0.7, 0))], [target((LEFT, 0), (RIGHT, 0))], 1)
    assert score.mean == pytest.approx(2 / 3)


def test_finding_the_same_object_twice_is_a_mistake() -> None:
    score = average_precision([predicted((LEFT, 0.9, 0), (LEFT, 0.8, 0), (RIGHT, 0.7, 0))], [target((LEFT, 0), (RIGHT, 0))], 1)
    assert score.mean == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_missed_object_ends_the_curve() -> None:
    score = average_precision([predicted((LEFT, 0.9, 0))], [target((LEFT, 0), (RIGHT, 0), (FAR, 0))], 1)
    assert score.mean == pytest.approx(34 / 101)


def test_a_box_counts_up_to_the_overlap_that_it_has() -> None:
    """An overlap of 0.82 passes .5, .55, ... .8: seven of ten."""
    score = average_precision([predicted(([0.0, 0, 10, 8.2], 0.9, 0))], [target((LEFT, 0))], 1)
    assert score.table[:, 0].tolist() == [1.0] * 7 + [0.0] * 3
    assert score.mean == pytest.approx(0.7)
    assert score.at_half == 1


def test_the_surest_takes_the_object_that_it_covers_best() -> None:
    """The first box covers both by more than half, the second only what the first leaves."""
    a, b = [0.0, 0, 10, 10], [2.0, 0, 12, 10]
    objects = target((a, 0), (b, 0))
    score = average_precision([predicted(([1.8, 0, 11.8, 10], 0.9, 0), ([0.0, 0, 9, 10], 0.8, 0))], [objects], 1)
    assert score.at_half == 1
    # A box that is surer takes the object even from one that fits it better.
    score = average_precision([predicted(([0.0, 0, 10, 9], 0.9, 0), (a, 0.8, 0))], [target((a, 0))], 1)
    assert score.at_half == 1
    assert score.table[9, 0] == pytest.approx(1 / 2)


def test_scores_compare_over_all_pictures_and_classes_do_not_meet() -> None:
    pictures = [predicted((LEFT, 0.5, 0), (LEFT, 0.9, 1)), predicted((FAR, 0.9, 0))]
    score = average_precision(pictures, [target((LEFT, 0)), target((RIGHT, 0))], 3)
    # Class 0: wrong at .9, right at .5, of two objects. Class 1 and 2 have no object, so no precision.
    assert score.table[0, 0] == pytest.approx(51 * 0.5 / 101)
    assert np.isnan(score.table[:, 1:]).all()
    assert [score.mean, score.at_half] == pytest.approx([51 * 0.5 / 101] * 2)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[list[Detections], list[Objects]]:
    """Up to three pictures; objects are apart, and detections shifted against them, with scores of their own."""
    places = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=4, unique_by=lambda place: place[0])
    number, said, there = 0, [], []
    for _ in range(draw(st.integers(1, 3))):
        there.append(target(*[([20.0 * x, 0, 20.0 * x + 10, 10], label) for x, label in draw(places)]))
        boxes = []
        for x, label in draw(places):
            number += 1
            shift, score = draw(st.integers(0, 8)), draw(st.integers(1, 90)) / 100 + number / 10_000
            boxes.append(([20.0 * x + shift, 0, 20.0 * x + 10 + shift, 10], score, label))
        said.append(predicted(*boxes))
    return said, there


@given(pictures(), st.randoms(use_true_random=False))
def test_the_order_of_pictures_and_boxes_does_not_matter(data: tuple, random) -> None:
    said, there = data
    expected = average_precision(said, there, 3).table
    order = random.sample(range(len(said)), len(said))

    def shuffled(one: Detections) -> Detections:
        places = torch.tensor(random.sample(range(len(one)), len(one)), dtype=torch.int64)
        return Detections(one.boxes[places], one.scores[places], one.labels[places])

    mixed = average_precision([shuffled(said[i]) for i in order], [there[i] for i in order], 3).table
    np.testing.assert_array_equal(mixed, expected)
    assert ((expected >= 0) & (expected <= 1) | np.isnan(expected)).all()
    assert (np.diff(np.nan_to_num(expected), axis=0) <= 1e-12).all(), "asking for more overlap never helps here"


@given(pictures())
def test_perfect_is_one_and_nothing_is_nought(data: tuple) -> None:
    _, there = data
    perfect = [Detections(one.boxes, torch.rand(len(one.boxes)), one.labels) for one in there]
    some = any(len(one.boxes) for one in there)
    nothing = [predicted() for _ in there]
    for expected, said in ((1.0, perfect), (0.0, nothing)):
        score = average_precision(said, there, 3).mean
        assert score == expected if some else math.isnan(score)


def test_wrong_counts_and_labels_are_told() -> None:
    with pytest.raises(ValueError, match="found: expected one for each of the 1 pictures, got 0"):
        average_precision([], [target((LEFT, 0))], 1)
    with pytest.raises(ValueError, match="true: expected labels from 0 to 1, got 2 to 2"):
        average_precision([predicted()], [target((LEFT, 2))], 2)


def test_intersection_over_union_by_hand() -> None:
    there = torch.tensor([[0, 0, 1, 1], [0, 0, 2, 255]])
    said = torch.tensor([[0, 1, 1, 1], [0, 0, 0, 2]])
    score = intersection_over_union([said], [there], 4)
    assert score.by_class[:3].tolist() == pytest.approx([3 / 5, 2 / 3, 0])
    assert np.isnan(score.by_class[3]), "a class that is neither there nor found has no score"
    assert score.mean == pytest.approx((3 / 5 + 2 / 3) / 3)


def test_pixels_count_over_all_masks_together() -> None:
    there, said = [torch.zeros(2, 2), torch.ones(4, 4)], [torch.zeros(2, 2), torch.zeros(4, 4)]
    assert intersection_over_union(said, there, 2).by_class.tolist() == [4 / 20, 0]
    assert intersection_over_union(said[::-1], there[::-1], 2).by_class.tolist() == [4 / 20, 0]
    assert intersection_over_union(there, there, 2).mean == 1


def test_ignored_pixels_never_count() -> None:
    there = torch.full((3, 3), 255)
    assert math.isnan(intersection_over_union([torch.zeros(3, 3)], [there], 2).mean)
    there[0, 0] = 1
    assert intersection_over_union([torch.ones(3, 3)], [there], 2).mean == 1
    assert intersection_over_union([torch.ones(3, 3)], [there.clamp(max=7)], 2, ignore=7).mean == 1


def test_wrong_masks_are_told() -> None:
    with pytest.raises(ValueError, match=r"found: expected a mask of \[3, 3\], as the true one, got \[2, 3\]"):
        intersection_over_union([torch.zeros(2, 3)], [torch.zeros(3, 3)], 2)
    with pytest.raises(ValueError, match="found: expected labels from 0 to 1, got 0 to 5"):
        intersection_over_union([torch.tensor([0, 5])], [torch.tensor([0, 1])], 2)
    with pytest.raises(ValueError, match="true: expected labels from 0 to 1, or 255 to ignore, got 0 to 5"):
        intersection_over_union([torch.tensor([0, 1])], [torch.tensor([0, 5])], 2)
