"""Pictures in, and pictures of what was found."""

import numpy as np
import pytest
import torch

from ernest.lcnet import HUGGING_FACE, PADDLECLAS, Preprocessing, prepare
from ernest.lcnet.heads import Detections, draw_boxes, draw_mask, normalise_pictures
from ernest.lcnet.heads.drawing import colour


@pytest.mark.parametrize("preprocessing", [PADDLECLAS, HUGGING_FACE])
def test_pictures_are_normalised_as_for_the_backbone_at_their_own_size(preprocessing: Preprocessing) -> None:
    pictures = np.random.default_rng(0).integers(256, size=(2, 20, 30, 3)).astype(np.uint8)
    same_size = Preprocessing(resize=(20, 30), crop=None, mean=preprocessing.mean, std=preprocessing.std, bgr=preprocessing.bgr)
    expected = torch.cat([prepare(picture, same_size) for picture in pictures])
    torch.testing.assert_close(normalise_pictures(pictures, preprocessing), expected)
    with pytest.raises(ValueError, match=r"pictures: expected uint8 \[N, H, W, 3\], got uint8 \[20, 30, 3\]"):
        normalise_pictures(pictures[0], preprocessing)
    with pytest.raises(ValueError, match="got float64"):
        normalise_pictures(pictures / 255, preprocessing)


def test_boxes_are_drawn_where_they_are() -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    found = Detections(torch.tensor([[10.0, 20, 30, 35]]), torch.tensor([0.93]), torch.tensor([1]))
    drawn = draw_boxes(picture, found, ["cat", "dog"], scale=4)
    assert drawn.shape == (160, 240, 3)
    line = (drawn == colour(1)).all(-1)
    assert line[80, 40:120].all()
    assert line[139, 40:120].all()
    assert line[80:140, 40].all()
    assert line[80:140, 119].all()
    assert not line[90:130, 50:110].any()
    assert not line[145:].any()
    assert not picture.any(), "the picture itself stays"


@pytest.mark.parametrize("box", [(5, 5, 5.2, 9), (5, 5, 9, 5.1), (0, 0, 0, 0), (59.9, 39.9, 60, 40)])
def test_boxes_thinner_than_a_pixel_are_drawn_too(box: tuple[float, ...]) -> None:
    """As a young detector finds them, and as boxes are that the border of the picture cuts off."""
    drawn = draw_boxes(
        np.zeros((40, 60, 3), np.uint8), Detections(torch.tensor([box]), torch.tensor([0.5]), torch.tensor([1])), ()
    )
    assert (drawn[int(3 * box[1]), int(3 * box[0])] == colour(1)).all()


def test_masks_tint_their_pixels_only() -> None:
    picture = np.full((8, 8, 3), 100, np.uint8)
    mask = np.zeros((8, 8), np.int64)
    mask[2:4, 5:7] = 2
    tinted = draw_mask(picture, mask, scale=2, strength=0.5)
    changed = (tinted != 100).any(-1)
    assert tinted.shape == (16, 16, 3)
    assert changed[4:8, 10:14].all()
    assert changed.sum() == 16
    np.testing.assert_array_equal(tinted[5, 11], np.rint(50 + np.array(colour(1)) / 2))
    assert not (draw_mask(picture, 0 * mask) != 100).any()


def test_classes_differ_in_colour() -> None:
    colours = np.array([colour(label) for label in range(20)])
    apart = np.abs(colours[:, None] - colours).sum(-1) + 1000 * np.eye(20)
    assert apart.min() > 20
