"""Crops as the published networks saw them: area and aspect drawn evenly, and every draw fits."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ernest.lcnet.image_io.augment import crop_boxes, erase, rand_augment

PAPER = (0.08, 1.0), (3 / 4, 4 / 3)


@given(height=st.integers(1, 600), width=st.integers(1, 600), seed=st.integers(0, 2**32 - 1), squash=st.booleans())
def test_every_box_lies_inside_its_picture(height: int, width: int, seed: int, squash: bool) -> None:
    boxes = crop_boxes(np.tile((height, width), (64, 1)), *PAPER, np.random.default_rng(seed), squash)
    top, left, tall, wide = boxes.T
    assert (boxes >= 0).all()
    assert (tall >= 1).all()
    assert (wide >= 1).all()
    assert (top + tall <= height).all()
    assert (left + wide <= width).all()


def test_aspect_and_area_are_even_where_all_of_them_fit() -> None:
    """A picture so large that pixels do not matter, areas so small that every aspect fits."""
    rng = np.random.default_rng(0)
    boxes = crop_boxes(np.tile((4000, 4000), (20000, 1)), (0.08, 0.7), (3 / 4, 4 / 3), rng)
    tall, wide = boxes[:, 2], boxes[:, 3]
    ratio, share = wide / tall, wide * tall / 4000**2
    for values, low, high in ((ratio, 3 / 4, 4 / 3), (share, 0.08, 0.7)):
        place = (values - low) / (high - low)
        assert place.min() > -0.01
        assert place.max() < 1.01
        # Even numbers differ from their quantiles by 1.63 / sqrt(20000) one time in a hundred (Kolmogorov and Smirnov).
        assert np.abs(np.sort(place) - np.arange(20000) / 20000).max() < 1.63 / np.sqrt(20000)
    # Drawn evenly in its logarithm, the mean of the aspect would be 1.014 instead of 1.042.
    assert ratio.mean() == pytest.approx((3 / 4 + 4 / 3) / 2, abs=0.004)
    assert abs(np.corrcoef(ratio, share)[0, 1]) < 0.03


def test_the_area_ends_where_a_box_no_longer_fits() -> None:
    """In a picture four times as wide as high, an aspect of 1 fits a quarter of it at most; no draw is given up."""
    rng = np.random.default_rng(1)
    boxes = crop_boxes(np.tile((100, 400), (4000, 1)), (0.08, 1.0), (1.0, 1.0), rng)
    share = boxes[:, 2] * boxes[:, 3] / 40000
    assert (boxes[:, 2] == boxes[:, 3]).all()
    assert share.max() <= 0.25
    assert share.mean() == pytest.approx((0.08 + 0.25) / 2, abs=0.005)
    places = boxes[:, 1] / (400 - boxes[:, 3])
    assert places.mean() == pytest.approx(0.5, abs=0.02)


def test_whole_pictures_stay_whole() -> None:
    sides = np.array([(28, 28), (33, 47), (1, 9)])
    boxes = crop_boxes(sides[:1], (1.0, 1.0), (1.0, 1.0), np.random.default_rng(0))
    assert boxes.tolist() == [[0, 0, 28, 28]]
    again = [crop_boxes(sides, *PAPER, np.random.default_rng(3)).tolist() for _ in range(2)]
    assert again[0] == again[1]


def test_erasing_sets_one_rectangle_to_zero_in_the_stated_share() -> None:
    images = torch.ones(2000, 1, 24, 24)
    erase(images, 0.4, np.random.default_rng(0))
    hit = (images == 0).any(3).any(2).any(1)
    assert float(hit.float().mean()) == pytest.approx(0.4, abs=0.04)
    for image in images[hit][:200, 0]:
        rows, columns = (image == 0).any(1), (image == 0).any(0)
        assert int((image == 0).sum()) == int(rows.sum()) * int(columns.sum()) <= 24 * 24 / 3


@pytest.mark.parametrize("channels", [1, 3])
def test_rand_augment_changes_pictures_more_as_it_is_told(channels: int) -> None:
    rng = np.random.default_rng(0)
    ramp = np.linspace(40, 200, 32 * 32).reshape(32, 32, 1).repeat(channels, 2).astype(np.uint8)
    assert np.array_equal(rand_augment(ramp, 0, 9.0, rng), ramp)

    def change(magnitude: float) -> float:
        drawn = [rand_augment(ramp, 2, magnitude, np.random.default_rng(seed)) for seed in range(200)]
        assert all(one.shape == ramp.shape and one.dtype == np.uint8 for one in drawn)
        return float(np.mean([np.abs(one.astype(float) - ramp).mean() for one in drawn]))

    assert change(1.0) < 0.8 * change(9.0)


def test_squashed_crops_of_a_long_picture_reach_its_ends() -> None:
    sides = np.tile((64, 256), (500, 1))
    kept = {}
    for squash in (False, True):
        boxes = crop_boxes(sides, (0.8, 1.0), (3 / 4, 4 / 3), np.random.default_rng(0), squash)
        kept[squash] = (boxes[:, 2] * boxes[:, 3]).mean() / (64 * 256)
    assert kept[False] < 0.34
    assert kept[True] > 0.8
