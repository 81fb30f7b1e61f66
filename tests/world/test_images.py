import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernest.world.handwriting import Pose, draw, writings
from ernest.world.images import (
    COLOURS,
    DIGITS,
    PLACES,
    Picture,
    caption,
    parse,
    picture,
    pictures,
    read_colour,
    read_place,
)
from ernest.world.split import HELD_OUT


@pytest.fixture(scope="module")
def many() -> list[Picture]:
    """Three thousand pictures, a third of them held out."""
    return pictures(0, [*range(2000), *range(HELD_OUT, HELD_OUT + 1000)])


def test_every_combination_occurs(many):
    assert len({(p.digit, p.colour, p.place) for p in many}) == len(DIGITS) * len(COLOURS) * len(PLACES) == 300


def test_both_readers_are_right_on_every_picture(many):
    papers = {np.median(p.pixels, axis=(0, 1)).tobytes() for p in many}
    assert len(papers) == 2, "both papers occur"
    assert all(read_colour(p.pixels) == p.colour for p in many)
    assert all(read_place(p.pixels) == p.place for p in many)


@pytest.mark.parametrize(("blur", "psnr"), [(0, 26), (1, 26), (1.5, 24)])
def test_readers_bear_blur_and_noise(many, blur, psnr):
    rng = np.random.default_rng(1)
    right = 0
    for p in many[-1000:]:
        spoilt = _blur(p.pixels / 255, blur) + rng.normal(0, 10 ** (-psnr / 20), p.pixels.shape)
        pixels = np.rint(spoilt.clip(0, 1) * 255).astype(np.uint8)
        right += read_colour(pixels) == p.colour and read_place(pixels) == p.place
    assert right >= 990


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of both sides of an image by multiplication of its modes."""
    k = 2 * np.pi * np.fft.fftfreq(32)
    damping = np.exp(-(sigma**2) * (k[:, None] ** 2 + k**2) / 2)
    return np.fft.ifft2(np.fft.fft2(image, axes=(0, 1)) * damping[..., None], axes=(0, 1)).real


def test_readers_find_nothing_on_an_empty_canvas():
    empty = np.full((32, 32, 3), 10, np.uint8)
    assert read_colour(empty) is None
    assert read_place(empty) is None


def test_a_picture_depends_on_its_seed_and_index_alone():
    indices = [9, HELD_OUT + 1, 3, *range(20, 60)]
    for index, together in zip(indices, pictures(5, indices), strict=True):
        alone = picture(5, index)
        np.testing.assert_array_equal(alone.pixels, together.pixels)
        assert (alone.digit, alone.colour, alone.place) == (together.digit, together.colour, together.place)
    assert (picture(6, 9).pixels != picture(5, 9).pixels).any()
    assert pictures(5, []) == []


def test_training_and_held_out_handwriting_never_meet():
    training = np.concatenate([writings(digit, held_out=False) for digit in range(10)])
    held_out = np.concatenate([writings(digit, held_out=True) for digit in range(10)])
    assert sorted(training) == list(range(1437))
    assert sorted(held_out) == list(range(1437, 1797))


@pytest.mark.parametrize(("first", "held_out"), [(0, False), (HELD_OUT - 50, False), (HELD_OUT, True)])
def test_pictures_use_the_handwriting_of_their_side(monkeypatch, first, held_out):
    # The handwriting of the other side is hidden: a picture that asked for it would fail.
    def only(digit: int, wanted: bool) -> np.ndarray:
        assert wanted == held_out
        return writings(digit, wanted)

    monkeypatch.setattr("ernest.world.images.writings", only)
    pictures(0, range(first, first + 50))


def test_a_negative_index_is_refused():
    with pytest.raises(ValueError, match="record index"):
        picture(0, -1)


def test_drawing_puts_the_sample_where_the_pose_says():
    upright = draw([0], [Pose(16, 0, 0, 1, 0, 0)], 32)[0]
    moved = draw([0], [Pose(16, 0, 0, 1, 5, -3)], 32)[0]
    np.testing.assert_allclose(np.roll(upright, (-3, 5), (0, 1)), moved, atol=1e-5)
    small = draw([0], [Pose(8, 0, 0, 1, 0, 0)], 32)[0]
    assert small.sum() == pytest.approx(upright.sum() / 4, rel=0.1)
    turned = draw([0], [Pose(16, np.pi / 2, 0, 1, 0, 0)], 32)[0]
    np.testing.assert_allclose(np.rot90(upright, -1), turned, atol=1e-4)


@given(st.integers(0, 9), st.sampled_from(COLOURS), st.sampled_from(PLACES))
def test_captions_are_read_back(digit, colour, place):
    assert parse(caption(digit, colour, place)) == (digit, colour, place)


def test_the_grammar_is_exact():
    assert caption(7, "red", "top left") == "a red seven at the top left"
    assert caption(0, "white", "centre") == "a white zero in the centre"
    for wrong in (
        "",
        "a red seven",
        "a red seven at the centre",
        "a red seven in the top left",
        "a red seven at the top left ",
        "A red seven at the top left",
        "a seven red at the top left",
        "a brown seven at the top left",
        "a red seven at the top left\n",
    ):
        assert parse(wrong) is None, wrong
    with pytest.raises(ValueError, match="brown"):
        caption(1, "brown", "centre")


def test_pictures_of_another_size_show_the_same(many):
    for index, large in enumerate(pictures(0, range(50), size=64)):
        assert large.pixels.shape == (64, 64, 3)
        assert (read_colour(large.pixels), read_place(large.pixels)) == (large.colour, large.place)
        coarse = large.pixels.reshape(32, 2, 32, 2, 3).mean((1, 3))
        assert np.abs(coarse - many[index].pixels).mean() < 2
