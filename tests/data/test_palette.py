"""Colours by number: as one box after the other would be cut, and nothing lost where there are few."""

import io

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ernest.data import media
from ernest.data.palette import indexed


def boxes(colours: list[tuple[int, ...]], rounds: int) -> list[list[tuple[int, ...]]]:
    """Cut one by one."""
    if not rounds or len(colours) == 1:
        return [colours]
    sides = np.ptp(np.array(colours), axis=0)
    ordered = sorted(colours, key=lambda colour: (colour[sides.argmax()], colour))
    middle = (len(ordered) + 1) // 2
    return boxes(ordered[:middle], rounds - 1) + boxes(ordered[middle:], rounds - 1)


def slow(frame: np.ndarray) -> np.ndarray:
    """A frame in the mean colours of its boxes."""
    pixels = frame.reshape(-1, 3)
    shown = pixels.astype(float)
    for box in boxes(sorted(set(map(tuple, pixels.tolist()))), 8):
        inside = (pixels[:, None] == np.array(box)).all(-1).any(1)
        shown[inside] = pixels[inside].mean(0)
    return np.rint(shown).astype(np.uint8).reshape(frame.shape)


def shown(frames: np.ndarray) -> np.ndarray:
    numbers, palettes = indexed(frames)
    return np.stack([palette[number] for number, palette in zip(numbers, palettes, strict=True)])


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 99), levels=st.integers(1, 256), bright=st.integers(0, 2))
def test_boxes_of_all_frames_at_once_are_those_of_each_alone(seed, levels, bright):
    frames = np.random.default_rng(seed).integers(0, levels, (3, 13, 24, 3)).astype(np.uint8)
    frames[bright, :, :, 0] = 255
    frames[1, :9] = frames[1, 0, 0]
    assert np.array_equal(shown(frames), np.stack([slow(frame) for frame in frames]))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), count=st.integers(1, 256))
def test_few_colours_stay_as_they_are(seed, count):
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (4, count, 3))[np.arange(4)[:, None, None], rng.integers(0, count, (4, 16, 17))]
    assert np.array_equal(shown(frames.astype(np.uint8)), frames)


def test_an_enlarged_film_has_the_pixels_of_the_small_one():
    """And both those of the palettes, though a file holds of later frames only what changed."""
    ramp = np.linspace(0, 255, 20).astype(int)
    film = np.stack([np.dstack([*np.meshgrid(ramp, ramp), np.full((20, 20), 10 * time)]) for time in range(5)]).astype(np.uint8)
    film[:, 10:] = film[0, 10:]
    for factor in (1, 3):
        with Image.open(io.BytesIO(media.encode_video("film.gif", film, factor=factor))) as file:
            frames = [file.seek(number) or np.array(file.convert("RGB")) for number in range(file.n_frames)]
        assert np.array_equal(np.stack(frames), media.enlarged(shown(film), factor))
