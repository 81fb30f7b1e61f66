"""What is embedded in a page decodes to what went in."""

import base64
import io
import wave as riff

import numpy as np
from PIL import Image

from ernest.report import media

RNG = np.random.default_rng(0)


def content(uri: str, kind: str) -> io.BytesIO:
    head, _, body = uri.partition(",")
    assert head == f"data:{kind};base64"
    return io.BytesIO(base64.b64decode(body))


def test_a_picture_comes_back():
    pixels = RNG.integers(0, 256, (32, 32, 3)).astype(np.uint8)
    assert np.array_equal(np.asarray(Image.open(content(media.picture(pixels), "image/png"))), pixels)


def test_every_frame_of_a_video_comes_back_and_it_runs_without_end():
    frames = RNG.integers(0, 256, (9, 32, 32, 3)).astype(np.uint8)
    film = Image.open(content(media.video(frames), "image/png"))
    assert film.n_frames == 9
    assert film.info["loop"] == 0
    for number, frame in enumerate(frames):
        film.seek(number)
        assert np.array_equal(np.asarray(film.convert("RGB")), frame)


def test_a_video_that_stands_still_is_shown_too():
    frames = np.full((9, 32, 32, 3), 7, np.uint8)
    film = Image.open(content(media.video(frames), "image/png"))
    assert np.array_equal(np.asarray(film.convert("RGB")), frames[0])


def test_frames_stand_in_rows_with_air_between_them():
    frames = RNG.integers(0, 256, (8, 4, 5, 3)).astype(np.uint8)
    shown = np.asarray(Image.open(content(media.sheet(frames, 3), "image/png")))
    assert shown.shape == (3 * 5 - 1, 3 * 6 - 1, 3)
    assert np.array_equal(shown[5:9, 6:11], frames[4])
    assert (shown[4] == 255).all()


def test_a_sound_comes_back_to_16_bits():
    wave = (RNG.random(801).astype(np.float32) * 2 - 1) * 0.99
    with riff.open(content(media.sound(wave), "audio/wav")) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (1, 8000, 801)
        heard = np.frombuffer(file.readframes(801), "<i2") / 32767
    assert np.abs(heard - wave).max() <= 0.5 / 32767 + 1e-7


def test_a_sound_that_is_too_loud_is_clipped_and_does_not_wrap():
    with riff.open(content(media.sound(np.array([1.5, -1.5], np.float32)), "audio/wav")) as file:
        assert np.frombuffer(file.readframes(2), "<i2").tolist() == [32767, -32767]


def test_a_spectrogram_is_bright_where_the_sound_is():
    """A high note in the second half lights the upper right and nothing else."""
    time = np.arange(8000) / 8000
    wave = np.where(time < 0.5, 0.0, 0.5 * np.sin(2 * np.pi * 2500 * time)).astype(np.float32)
    shown = np.asarray(Image.open(content(media.spectrogram(wave), "image/png"))).astype(int).sum(-1)
    assert shown.shape == (64, 50)
    row, column = np.unravel_index(shown.argmax(), shown.shape)
    assert row < 24
    assert column >= 25
    assert shown[:, :20].max() < shown.max() / 4
    assert shown[48:].max() < shown.max() / 2
