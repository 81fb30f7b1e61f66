"""Pictures are prepared as the libraries did with which the networks were trained."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ernest.lcnet import HUGGING_FACE, PADDLECLAS, TEXT_LINE, TIMM, Preprocessing, prepare
from ernest.lcnet.image_io.preprocess import normalise, normalise_each, normalise_pictures


def picture(height: int, width: int) -> np.ndarray:
    """Colours that change fast and wrap around: the worst that can be resized."""
    y, x = np.mgrid[:height, :width]
    channels = [(x * 37 + y * 11) % 256, (x * x * 3 + 5 * y) % 256, (x * 5 + y * y * 7) % 256]
    return np.stack(channels, -1).astype(np.uint8)


STORED = {
    # cv2.resize(picture(7, 12), (9, 5), interpolation=cv2.INTER_LINEAR)[1:3, 1:7], opencv-python 5.0
    "PaddleClas": [
        [[73, 15, 27], [122, 32, 34], [172, 60, 40], [221, 99, 47], [57, 148, 54], [64, 208, 60]],
        [[89, 23, 71], [138, 40, 77], [187, 67, 84], [237, 107, 91], [72, 156, 97], [79, 173, 104]],
    ],
    # Image.fromarray(picture(7, 12)).resize((8, 5), BICUBIC), [2:4, 1:7], Pillow 13
    "timm": [
        [[96, 24, 72], [154, 47, 79], [216, 82, 87], [158, 135, 94], [52, 185, 102], [121, 53, 109]],
        [[112, 31, 157], [172, 54, 164], [211, 89, 172], [33, 142, 179], [77, 189, 187], [137, 34, 194]],
    ],
    # Image.fromarray(picture(7, 12)).resize((9, 5), BILINEAR), [1:3, 1:7, ::-1], Pillow 13; and as transformers 5.24 has it,
    # PPLCNetImageProcessor(resize_short=5, crop_size={"height": 2, "width": 6}, do_normalize=False)
    "Hugging Face": [
        [[27, 16, 73], [33, 33, 121], [40, 61, 172], [47, 100, 221], [53, 148, 83], [60, 210, 64]],
        [[74, 23, 89], [80, 40, 137], [87, 68, 188], [94, 107, 214], [100, 155, 86], [107, 160, 80]],
    ],
}


@pytest.mark.parametrize(("name", "preprocessing"), [("PaddleClas", PADDLECLAS), ("timm", TIMM), ("Hugging Face", HUGGING_FACE)])
def test_resize_and_crop_are_those_of_the_library(name: str, preprocessing: Preprocessing) -> None:
    plain = replace(preprocessing, resize=5, crop=(2, 6), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    found = 255 * prepare(picture(7, 12), plain)[0].movedim(0, -1).numpy()
    assert np.abs(found - np.array(STORED[name])).max() <= 1 + 1e-4


@pytest.mark.parametrize("spare", range(9))
def test_the_corner_of_the_crop_is_that_of_the_library(spare: int) -> None:
    """Half of what is spared, of which torchvision rounds 1.5 to 2, and Hugging Face and PaddleClas cut off what is no pixel."""
    for preprocessing, corner in ((TIMM, round(spare / 2)), (HUGGING_FACE, int(spare / 2)), (PADDLECLAS, int(spare / 2))):
        rule = replace(preprocessing, resize=8 + spare, crop=(8, 9), mean=(0.0,) * 3, std=(1.0,) * 3)
        content = picture(8 + spare, 9 + spare)
        found = (255 * prepare(content, rule)[0].movedim(0, -1)).round().numpy()
        found = found[..., ::-1] if rule.bgr else found
        assert np.array_equal(found, content[corner : corner + 8, corner : corner + 9])


def test_a_tall_picture_shrinks_in_width_first() -> None:
    """As every Pillow did that the networks were trained with, those before 13; between the two, colours are cut to 0 to 255."""
    preprocessing = replace(TIMM, resize=10, crop=(2, 6), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    found = 255 * prepare(picture(34, 11), preprocessing)[0].movedim(0, -1).numpy()
    stored = [  # Image.fromarray(picture(34, 11)).resize((10, 30), BICUBIC)[14:16, 2:8], Pillow 12.3
        [[193, 95, 18], [28, 114, 25], [84, 139, 26], [124, 172, 27], [165, 229, 32], [207, 66, 40]],
        [[7, 100, 236], [55, 119, 248], [97, 144, 146], [137, 177, 25], [178, 234, 37], [230, 71, 21]],
    ]
    assert np.abs(found - np.array(stored)).max() <= 1 + 1e-4


def test_published_sizes_means_and_orders() -> None:
    flat = np.broadcast_to(np.array([255, 0, 0], np.uint8), (300, 500, 3))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    for preprocessing in (PADDLECLAS, TIMM):
        found = prepare(flat, preprocessing)
        assert found.shape == (1, 3, 224, 224)
        assert torch.allclose(found[0, :, 5, 7], (torch.tensor([1.0, 0.0, 0.0]) - mean) / std, atol=1e-6)
    blue_first = (torch.tensor([0.0, 0.0, 1.0]) - mean) / std
    assert torch.allclose(prepare(flat, HUGGING_FACE)[0, :, 5, 7], blue_first, atol=1e-6)
    assert prepare(flat, TEXT_LINE).shape == (1, 3, 80, 160)


def test_a_picture_of_the_right_size_passes_unchanged() -> None:
    content = picture(256, 256)
    plain = Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    for preprocessing in (plain, replace(plain, antialias=True, cubic=True)):
        assert np.array_equal(
            (255 * prepare(content, preprocessing)[0]).round().numpy(), content[16:240, 16:240].transpose(2, 0, 1)
        )


@pytest.mark.parametrize("bgr", [False, True])
def test_pictures_are_normalised_wherever_they_lie(bgr: bool) -> None:
    """Turned, mirrored, of one colour: what a reader leaves need not lie in order."""
    one, rule = picture(7, 7), Preprocessing(bgr=bgr)
    some = [one, one[::-1, ::-1], one.swapaxes(0, 1), np.broadcast_to(one[..., :1], (7, 7, 3))]
    planes = torch.from_numpy(np.stack(some)).movedim(-1, 1)
    expected = normalise(planes.flip(1) if bgr else planes, rule)
    assert torch.equal(normalise_each(some, rule), expected)
    assert torch.equal(normalise_pictures(np.stack(some), rule), expected)
    with pytest.raises(ValueError, match="pictures: expected 3 channels, got 1"):
        normalise_each([one[..., :1]], rule)


def test_grey_pictures_and_grey_networks() -> None:
    grey = picture(30, 40)[..., 0]
    repeated = np.repeat(grey[..., None], 3, -1)
    assert torch.equal(prepare(grey), prepare(repeated))
    preprocessing = Preprocessing(resize=28, crop=None, mean=(0.5,), std=(0.5,))
    assert prepare(grey, preprocessing).shape == (1, 1, 28, 37)
    with pytest.raises(ValueError, match=r"picture: expected uint8 \[H, W\], got uint8 \[30, 40, 3\]"):
        prepare(repeated, preprocessing)


def test_wrong_pictures_and_rules_are_told() -> None:
    for wrong in (picture(8, 8).astype(np.float32), np.zeros((8, 8, 4), np.uint8), np.zeros((0, 8, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"picture: expected uint8 \[H, W, 3\] or \[H, W\], got"):
            prepare(wrong)
    with pytest.raises(ValueError, match=r"crop: \(224, 224\) does not fit into the resized picture of \(100, 150\)"):
        prepare(picture(10, 15), Preprocessing(resize=100))
    with pytest.raises(ValueError, match="mean and std: expected one or three values each"):
        Preprocessing(mean=(0.5, 0.5), std=(0.5, 0.5))
    with pytest.raises(ValueError, match="std: expected positive values"):
        Preprocessing(std=(0.2, 0.0, 0.2))
    with pytest.raises(ValueError, match="resize: expected positive sides, got 0"):
        Preprocessing(resize=0)
    with pytest.raises(ValueError, match="letterbox: expected a resize of "):
        Preprocessing(resize=64, crop=None, letterbox=True)


@pytest.mark.parametrize("shape", [(64, 256), (256, 64), (1, 500), (30, 30), (7, 9)])
def test_in_a_letterbox_a_picture_keeps_its_form_on_the_mean(shape: tuple[int, int]) -> None:
    box, content = (32, 48), picture(*shape)
    rule = Preprocessing(resize=box, crop=None, letterbox=True, antialias=True)
    factor = min(box[0] / shape[0], box[1] / shape[1])
    tall, wide = (max(1, round(side * factor)) for side in shape)
    top, left = (box[0] - tall) // 2, (box[1] - wide) // 2
    found = prepare(content, rule)[0]
    assert found.shape == (3, *box)
    inner = prepare(content, replace(rule, resize=(tall, wide), letterbox=False))[0]
    assert torch.equal(found[:, top : top + tall, left : left + wide], inner)
    outside = torch.ones(box, dtype=torch.bool)
    outside[top : top + tall, left : left + wide] = False
    assert found[:, outside].abs().max() < 0.5 / 255 / 0.22 + 1e-6 if outside.any() else True  # the mean, to the nearest level


def test_what_is_no_array_is_refused_by_its_name() -> None:
    with pytest.raises(TypeError, match="picture: expected a numpy array, got Image; `read_picture` makes one of a file"):
        prepare(Image.new("RGB", (300, 300)))
