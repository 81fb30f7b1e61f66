from dataclasses import replace

import numpy as np
import pytest

from ernest.world import video
from ernest.world.split import HELD_OUT
from ernest.world.video import (
    DIRECTIONS,
    FAMILIES,
    areas,
    colours,
    energies,
    fields,
    moving_caption,
    moving_digit,
    obeys_area_law,
    obeys_energy_law,
    read_direction,
    simulate,
)

EACH_FAMILY = pytest.mark.parametrize("family", range(len(FAMILIES)), ids=FAMILIES)


@pytest.fixture(scope="module")
def videos() -> list[np.ndarray]:
    """A hundred videos of each family, half of them held out."""
    indices = [*range(50), *range(HELD_OUT, HELD_OUT + 50)]
    return [simulate(family, 0, indices) for family in range(len(FAMILIES))]


def disc(radius: float) -> np.ndarray:
    """A frame with a disk in the middle."""
    line = np.arange(32) - 15.5
    return colours(np.tanh((radius - np.hypot(line[:, None], line)) / 1.84))


@EACH_FAMILY
def test_every_true_video_obeys_the_energy_law_without_any_tolerance(videos, family):
    assert videos[family].shape == (100, 9, 32, 32, 3)
    assert videos[family].dtype == np.uint8
    assert obeys_energy_law(videos[family], tolerance=0).all()


@EACH_FAMILY
def test_every_true_video_obeys_the_area_law_of_its_family(videos, family):
    assert obeys_area_law(family, videos[family]).all()
    if family:
        assert not obeys_area_law(0, videos[family]).any()
    else:
        assert not any(obeys_area_law(other, videos[0]).any() for other in range(1, len(FAMILIES)))


@EACH_FAMILY
def test_a_video_depends_on_its_seed_and_index_alone(family):
    indices = [5, HELD_OUT + 3, 0, *range(10, 50), 2]
    together = simulate(family, 7, indices)
    for place in (0, 1, 2, 30, 43):
        np.testing.assert_array_equal(together[place], simulate(family, 7, [indices[place]])[0])
    assert (together[0] != simulate(family, 8, [5])[0]).any()
    assert len({video.tobytes() for video in together}) == len(indices)


@EACH_FAMILY
def test_frames_are_those_of_the_exact_solution(videos, family, monkeypatch):
    finer = tuple(replace(each, steps=4 * each.steps) for each in video._FAMILIES)
    monkeypatch.setattr(video, "_FAMILIES", finer)
    error = np.abs(simulate(family, 0, range(10)).astype(int) - videos[family][:10])
    assert (error > 1).mean() < 2e-4
    assert error.max() <= 6


def test_time_backwards_noise_and_standstill_are_unlawful(videos):
    rng = np.random.default_rng(0)
    for some in (family[:20] for family in videos):
        assert not obeys_energy_law(some[:, ::-1]).any()
        noisy = some.astype(int)
        noisy[:, 4] += rng.integers(-40, 41, noisy[:, 4].shape)
        assert not obeys_energy_law(noisy.clip(0, 255).astype(np.uint8)).any()
        assert not obeys_energy_law(np.repeat(some[:, :1], 9, axis=1)).any()


@pytest.mark.parametrize("colour", [(15, 26, 92), (255, 194, 56), (0, 0, 0), (128, 128, 128)])
def test_a_film_of_one_colour_obeys_no_law_that_something_falls(colour):
    """Not even that of a phase alone, whose energy is 0 from first to last, or of less than the dark phase."""
    film = np.full((9, 32, 32, 3), colour, np.uint8)
    assert not obeys_energy_law(film)
    assert not obeys_area_law(0, film)


def test_films_of_other_numbers_are_refused(videos):
    for wrong in (videos[0][:1] / 255, videos[0][:1].astype(int), videos[0][:1, ..., :1], videos[0][0].tolist()):
        with pytest.raises(ValueError, match=r"^frames: expected a numpy array uint8 \[\.\.\., 3\] of levels"):
            obeys_energy_law(wrong)


def test_tolerance_and_drop_are_shares_of_the_first_energy():
    radii = np.array([12.0, 11, 10, 9, 9.1, 8, 7, 6, 5])
    video = np.stack([disc(radius) for radius in radii])
    energy = energies(video)
    rise, fall = (energy[4] - energy[3]) / energy[0], 1 - energy[-1] / energy[0]
    assert rise > 0
    assert obeys_energy_law(video, tolerance=rise * 1.01)
    assert not obeys_energy_law(video, tolerance=rise * 0.99)
    assert obeys_energy_law(video, drop=fall * 0.99)
    assert not obeys_energy_law(video, drop=fall * 1.01)


def test_energy_is_the_length_of_the_interface_times_its_tension():
    # The tension of the profile tanh(x / sqrt(2 kappa)) is (2 sqrt(2) / 3) sqrt(kappa).
    tension = 2 * np.sqrt(2) / 3 * 1.3
    assert energies(disc(9)) == pytest.approx(2 * np.pi * 9 * tension, rel=0.05)
    assert areas(disc(9)) == pytest.approx(np.pi * 9**2 / 32**2, abs=0.01)


def test_colours_and_fields_are_inverse():
    u = np.linspace(-1, 1, 1001)
    assert np.abs(fields(colours(u)) - u).max() < 0.006


def test_a_disk_shrinks_at_the_speed_of_its_curvature(videos):
    # d(area)/dt = -2 pi kappa while the disk is large, so that its area falls evenly from frame to frame.
    fall = -np.diff(areas(videos[0]), axis=1)[:, :6]
    assert np.abs(fall / fall.mean(1, keepdims=True) - 1).max() < 0.1


def test_two_drops_stay_apart_and_only_the_small_one_goes(videos):
    for first, last in fields(videos[3][:, [0, -1]]):
        # All mass ends where the large drop was and is round: had the drops merged, it would lie between them.
        assert np.hypot(*(_centre_of_the_large_drop(last) - _centre_of_the_large_drop(first))) <= 1
        diameter = 2 * np.sqrt((last > 0).sum() / np.pi)
        assert max(_extents(last)) <= diameter + 1
        assert min(_extents(first)) >= 20


def _centre_of_the_large_drop(u: np.ndarray) -> np.ndarray:
    """The middle of the boxes of 13 x 13 pixels that hold most."""
    boxes = np.lib.stride_tricks.sliding_window_view(u, (13, 13)).sum((-1, -2))
    return np.argwhere(boxes >= boxes.max() - 1).mean(0)


def _extents(u: np.ndarray) -> list[int]:
    """Height and width of the bright phase."""
    return [int(np.ptp(np.flatnonzero((u > 0).any(axis)))) + 1 for axis in (1, 0)]


def test_an_unknown_family_or_index_is_refused():
    with pytest.raises(ValueError, match="family"):
        simulate(5, 0, [0])
    with pytest.raises(ValueError, match="record index"):
        simulate(0, 0, [-1])


def test_moving_digits_move_where_they_say_and_stay_on_the_canvas():
    movies = [moving_digit(3, index) for index in [*range(100), *range(HELD_OUT, HELD_OUT + 50)]]
    assert {movie.direction for movie in movies} == set(DIRECTIONS)
    assert {movie.digit for movie in movies} == set(range(10))
    rng = np.random.default_rng(0)
    for movie in movies:
        assert movie.frames.shape == (9, 32, 32, 3)
        assert movie.frames.dtype == np.uint8
        noisy = (movie.frames + rng.normal(0, 13, movie.frames.shape)).clip(0, 255).astype(np.uint8)
        assert read_direction(movie.frames) == read_direction(noisy) == movie.direction
        ink = np.abs(movie.frames.astype(int) - np.median(movie.frames, (1, 2), keepdims=True)).sum((1, 2, 3))
        assert ink.min() > 0.75 * ink.max()


def test_a_moving_digit_depends_on_its_seed_and_index_alone():
    first, again, other = moving_digit(1, 4), moving_digit(1, 4), moving_digit(2, 4)
    np.testing.assert_array_equal(first.frames, again.frames)
    assert (first.frames != other.frames).any()


def test_direction_on_a_canvas_that_is_no_square():
    """A quarter of its height is asked for of what goes up or down, whatever its width."""
    film = np.zeros((9, 32, 96, 3), np.uint8)
    for frame, top in zip(film, range(2, 29, 3), strict=True):
        frame[top : top + 3, 20:30] = 255
    assert read_direction(film) == read_direction(film[:, :, :32]) == "down"


def test_direction_of_stillness_and_of_nothing_is_none():
    frames = moving_digit(0, 0).frames
    assert read_direction(np.repeat(frames[:1], 9, axis=0)) is None
    assert read_direction(np.zeros((9, 32, 32, 3), np.uint8)) is None


def test_caption_of_a_moving_digit():
    assert moving_caption(7, "left") == "a seven moving left"
    with pytest.raises(ValueError, match="sideways"):
        moving_caption(7, "sideways")


@EACH_FAMILY
def test_other_sizes_show_the_same_physics(family, videos):
    fine = simulate(family, 0, range(4), size=64, frames=17)
    assert fine.shape == (4, 17, 64, 64, 3)
    assert obeys_energy_law(fine).all()
    assert obeys_area_law(family, fine).all()
    if family != FAMILIES.index("a mixture separating"):  # its first field is noise, of which a finer canvas draws more
        coarse = fine[:, ::2].reshape(4, 9, 32, 2, 32, 2, 3).mean((3, 5))
        assert np.abs(coarse - videos[family][:4]).mean() < 1
        np.testing.assert_allclose(energies(fine[:, ::2]), energies(videos[family][:4]), rtol=0.1)


def test_a_moving_digit_of_another_size():
    small, large = moving_digit(3, 5), moving_digit(3, 5, size=64, frames=17)
    assert large.frames.shape == (17, 64, 64, 3)
    assert read_direction(large.frames) == large.direction == small.direction
    coarse = large.frames[::2].reshape(9, 32, 2, 32, 2, 3).mean((2, 4))
    assert np.abs(coarse - small.frames).mean() < 2
    with pytest.raises(ValueError, match="frames: expected 2 or more, got 1"):
        simulate(0, 0, [0], frames=1)
