"""Each line of the table in docs/data.md of how files are read, on files that the test makes."""

import io
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ernest.data import media
from ernest.data.mediafile import MediaFile
from tests.data.media_files import write_coded_sound, write_film

RATE = 16000
SINE = 0.8 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
HEARD = 0.8 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
LEFT_BAR = np.zeros((32, 64, 3), np.uint8)
LEFT_BAR[:, :16] = 255
HALF_CLEAR = np.zeros((32, 32, 4), np.uint8)
HALF_CLEAR[..., 0] = 200
HALF_CLEAR[:16, :, 3] = 255


def greys(count: int, step: int = 25, size: int = 32) -> list[np.ndarray]:
    return [np.full((size, size, 3), step * number, np.uint8) for number in range(count)]


def assert_heard(path: Path, wave: np.ndarray = HEARD, tolerance: float = 0.05, samples: int = 40) -> None:
    """The sound is told by its content, begins and ends where `wave` does, and is as loud."""
    bare = path.with_name("without ending")
    bare.write_bytes(path.read_bytes())
    kind, read = media.read_any(bare)
    assert kind == "audio" == media.kind_of(path)
    assert np.array_equal(read, media.read_audio(path))
    assert len(read) == pytest.approx(len(wave), abs=samples)
    assert np.abs(read[400:7600] - wave[400:7600]).max() < tolerance


# ------------------------------------------------------------------ pictures


def test_an_apng_is_read_without_its_still_for_others(tmp_path):
    still, *film = [Image.fromarray(grey) for grey in greys(10)]
    still.save(tmp_path / "a.png", save_all=True, append_images=film, default_image=True, duration=100)
    assert media.kind_of(tmp_path / "a.png") == "video"
    assert [frame[0, 0, 0] for frame in media.read_video(tmp_path / "a.png")] == [25 * number for number in range(1, 10)]
    assert media.read_image(tmp_path / "a.png")[0, 0, 0] == 25
    still.save(tmp_path / "one.png", save_all=True, append_images=film[:1], default_image=True)
    assert media.kind_of(tmp_path / "one.png") == "image"
    assert media.read_image(tmp_path / "one.png")[0, 0, 0] == 25


@pytest.mark.parametrize(("short", "shown"), [(0, 100), (10, 100), (20, 20), (50, 50)])
def test_delays_of_10_ms_or_less_last_100_ms(tmp_path, short, shown):
    frames = [Image.fromarray(grey) for grey in greys(2, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[short, 100], disposal=1)
    read = media.read_video(tmp_path / "a.gif", frames=60)[:, 0, 0, 0]
    assert (read < 100).mean() == pytest.approx(shown / (shown + 100), abs=0.02)


@pytest.mark.parametrize(("form", "ending"), [("AVIF", "avif"), ("JPEG", "jfif"), ("JPEG", "JPE"), ("PNG", "jpg"), ("WEBP", "")])
def test_pictures_are_told_by_their_content(tmp_path, form, ending):
    path = tmp_path / f"a.{ending}".rstrip(".")
    Image.fromarray(LEFT_BAR).save(path, form, quality=95)
    kind, picture = media.read_any(path)
    assert kind == "image"
    assert picture[16, [2, 30]].mean(-1) == pytest.approx([255, 0], abs=8)
    assert (picture[:6] == 255).all()


def test_a_bigtiff_is_a_picture(tmp_path):
    Image.fromarray(LEFT_BAR).save(tmp_path / "a.dat", "TIFF", big_tiff=True)
    assert (tmp_path / "a.dat").read_bytes()[:4] == b"II+\0"
    kind, picture = media.read_any(tmp_path / "a.dat")
    assert kind == "image"
    assert picture[16, [2, 30]].mean(-1) == pytest.approx([255, 0], abs=1)


def test_a_large_photo_is_decoded_small_and_looks_the_same(tmp_path):
    rows, columns = np.mgrid[:600, :800] / 800
    pixels = np.stack([255 * columns, 255 * rows, 127 + 127 * np.sin(9 * rows * columns)], -1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(pixels).save(tmp_path / "a.bmp")
    one, other = (media.read_image(tmp_path / name).astype(int) for name in ("a.jpg", "a.bmp"))
    assert np.abs(one - other).max() <= 4


# ------------------------------------------------------------------ films

# What a telephone writes into the head of its film's track: x' = a x + c y, y' = b x + d y, and where the left bar is then.
MATRICES = {
    (1, 0, 0, 1): "left",
    (0, 1, -1, 0): "top",
    (0, -1, 1, 0): "bottom",
    (-1, 0, 0, -1): "right",
    (-1, 0, 0, 1): "right",
    (0, 1, 1, 0): "top",
}


@pytest.mark.parametrize("matrix", MATRICES)
def test_films_stand_upright(tmp_path, matrix):
    write_film(tmp_path / "a.mp4", [LEFT_BAR] * 3)
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    head = content.index(b"tkhd") + 4 + 40
    a, b, c, d = (number * 65536 for number in matrix)
    content[head : head + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    (tmp_path / "a.mp4").write_bytes(content)
    frame = media.read_video(tmp_path / "a.mp4")[4].astype(int)
    side = {"left": frame[12:20, 1], "right": frame[12:20, 30], "top": frame[1, 12:20], "bottom": frame[30, 12:20]}
    bars = frame[:6] if matrix[0] else frame[:, :6]
    assert bars.mean() > 250, "a film of 64 x 32 lies, one turned by a quarter stands"
    assert side[MATRICES[matrix]].mean() > 240
    opposite = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}[MATRICES[matrix]]
    assert side[opposite].mean() < 15
    assert frame[16, 16].mean() < 15


@pytest.mark.parametrize(("ending", "codec"), [("mp4", "libx264"), ("webm", "libvpx"), ("mkv", "libx264"), ("mov", "mpeg4")])
def test_films_of_variable_frame_rate_are_sampled_by_time(tmp_path, ending, codec):
    write_film(tmp_path / f"a.{ending}", greys(10), codec, times=[0, 2, 4, 6, 8, 40, 42, 44, 46, 90])
    shown = media.read_video(tmp_path / f"a.{ending}")[:, 5, 5, 0]
    # Frame 4 lasts from .08 s to .4 s, frame 8 from .46 s to .9 s: moments are 0, .1, .2 ... of about 1 s.
    assert np.abs(shown[[1, 2, 3]].astype(int) - 100).max() < 8
    assert np.abs(shown[[5, 6, 7]].astype(int) - 200).max() < 8


def test_a_film_whose_frames_lie_in_another_order_ends_when_its_last_frame_does(tmp_path):
    """Of a frame that others lean on, mp4 tells how long it is until the next packet is decoded, here .2 s instead of .01."""
    times = [51, 61, 96, 100, 104, 163, 182, 212, 222, 281, 300, 339, 346]
    write_film(tmp_path / "a.mp4", [np.full((32, 32, 3), 18 * number, np.uint8) for number in range(13)], times=times)
    moments = times[0] + (times[-1] + 1 - times[0]) * (np.arange(60) / 60 + 1e-6)
    expected = 18 * (np.searchsorted(times, moments, side="right") - 1)
    shown = media.read_video(tmp_path / "a.mp4", frames=60)[:, 5, 5, 0].astype(int)
    assert np.abs(shown - expected).max() < 9


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mov", "qtrle", "argb"),
        ("a.mov", "prores_ks", "yuva444p10le"),
        ("a.webm", "libvpx-vp9", "yuva420p"),
        ("a.webm", "libvpx", "yuva420p"),
    ],
)
def test_transparent_films_lie_on_white(tmp_path, name, codec, pix_fmt):
    options = {"auto-alt-ref": "0"} if "vpx" in codec else {}
    write_film(tmp_path / name, [HALF_CLEAR] * 3, codec, pix_fmt, options=options)
    film = media.read_video(tmp_path / name).astype(int)
    assert np.abs(film[:, :12] - (200, 0, 0)).max() < 8
    assert film[:, 20:].min() > 247


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_pixels_that_are_no_squares(tmp_path, ending):
    write_film(tmp_path / f"a.{ending}", [LEFT_BAR[:, :32]] * 3, aspect=Fraction(2, 1))
    frame = media.read_video(tmp_path / f"a.{ending}")[0].astype(int)
    assert (frame[:6] == 255).all()
    assert frame[16, [2, 12, 20, 30]].mean(-1) == pytest.approx([255, 255, 0, 0], abs=12)


@pytest.mark.parametrize(
    ("ending", "codec"), [("avi", "mpeg4"), ("ts", "libx264"), ("flv", "libx264"), ("wmv", "wmv2"), ("mpg", "mpeg2video")]
)
def test_films_in_any_container_told_by_their_content(tmp_path, ending, codec):
    write_film(tmp_path / f"a.{ending}", [grey for grey in greys(9) for _ in range(3)], codec, rate=25)
    (tmp_path / "film").write_bytes((tmp_path / f"a.{ending}").read_bytes())
    kind, film = media.read_any(tmp_path / "film")
    assert kind == "video"
    assert np.abs(film[:, 5, 5, 0].astype(int) - 25 * np.arange(9)).max() < 12


def test_a_film_that_begins_late_and_tells_no_duration(tmp_path):
    shown = [*greys(9), greys(9)[-1]]  # the last one tells only when the one before it ends
    write_film(tmp_path / "a.webm", shown, "libvpx", times=[3700 + 10 * number for number in range(9)] + [3789])
    assert np.abs(media.read_video(tmp_path / "a.webm")[:, 5, 5, 0].astype(int) - 25 * np.arange(9)).max() < 8


# ------------------------------------------------------------------ sounds


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        *(("a.m4a", "aac"), ("a.aac", "aac"), ("a.mp4", "aac"), ("a.3gp", "aac"), ("a.mkv", "flac")),
        *(("a.webm", "libopus"), ("a.ogg", "libopus"), ("a.mp3", "libmp3lame"), ("a.caf", "pcm_s16le"), ("a.caf", "pcm_s24be")),
        *(("a.aiff", "pcm_s24be"), ("a.au", "pcm_s16be"), ("a.w64", "pcm_f32le"), ("a.flac", "flac"), ("a.wav", "adpcm_ms")),
    ],
)
def test_stereo_in_any_container_is_as_loud_and_as_long_as_it_was(tmp_path, name, codec):
    """Two equal channels of a sine of .8 are a sine of .8; what coders put before and behind is gone, up to 5 ms."""
    write_coded_sound(tmp_path / name, np.stack([SINE, SINE]), RATE, codec, "stereo")
    slack = {"a.aac": 600, "a.wav": 100}.get(name, 40)  # neither .aac nor ADPCM says where it ends within a block
    assert_heard(tmp_path / name, tolerance=0.1 if codec == "adpcm_ms" else 0.05, samples=slack)


def test_stereo_wma_is_as_loud_as_it_was(tmp_path):
    """ffmpeg leaves out the first 32 ms of what its own coder writes, which begins later than that of others."""
    write_coded_sound(tmp_path / "a.wma", np.stack([SINE, SINE]), RATE, "wmav2", "stereo")
    wave = media.read_audio(tmp_path / "a.wma")
    assert len(wave) == pytest.approx(8000, abs=300)
    assert np.abs(wave[400:7000]).max() == pytest.approx(0.8, abs=0.03)


def test_a_sphere_file_of_speech_corpora_is_a_sound(tmp_path):
    import soundfile

    soundfile.write(tmp_path / "a.wav", SINE, RATE, format="NIST", subtype="PCM_16")
    assert_heard(tmp_path / "a.wav", tolerance=1e-3)


def test_surround_sound_is_the_mean_of_its_channels(tmp_path):
    waves = np.stack([SINE, SINE, 0 * SINE, 0 * SINE, SINE, SINE])
    write_coded_sound(tmp_path / "a.m4a", waves, RATE, "aac", "5.1")
    assert_heard(tmp_path / "a.m4a", 4 / 6 * HEARD)
    write_coded_sound(tmp_path / "a.wav", waves, RATE, "pcm_s24le", "5.1")
    assert_heard(tmp_path / "a.wav", 4 / 6 * HEARD, 1e-3)
    write_coded_sound(tmp_path / "b.wav", waves[:5], RATE, "pcm_s16le", "5.0")
    assert_heard(tmp_path / "b.wav", 3 / 5 * HEARD, 1e-3)


@pytest.mark.parametrize(("codec", "ending"), [("libopus", "ogg"), ("flac", "ogg"), ("libmp3lame", "mp3")])
def test_recordings_joined_one_after_the_other_are_read_whole(tmp_path, codec, ending):
    low = np.sin(2 * np.pi * 220 * np.arange(RATE) / RATE)[None] * 0.5
    for name, wave in (("one", low), ("two", SINE[None])):
        write_coded_sound(tmp_path / f"{name}.{ending}", wave, RATE, codec, "mono")
    (tmp_path / f"a.{ending}").write_bytes(b"".join((tmp_path / f"{name}.{ending}").read_bytes() for name in ("one", "two")))
    wave = media.read_audio(tmp_path / f"a.{ending}")
    assert len(wave) == pytest.approx(16000, abs=1200)
    for part, pitch in ((wave[1000:7000], 220), (wave[-7000:-1000], 440)):
        assert np.abs(np.fft.rfft(part * np.hanning(6000))).argmax() * 8000 / 6000 == pytest.approx(pitch, abs=3)


def test_a_browsers_recording_has_no_duration_and_may_begin_late(tmp_path):
    write_coded_sound(tmp_path / "a.webm", np.stack([SINE, SINE]), RATE, "libopus", "stereo", begin=37.0)
    assert_heard(tmp_path / "a.webm", samples=200)


def test_a_cover_makes_no_film_of_a_sound(tmp_path):
    import av

    cover = io.BytesIO()
    Image.fromarray(LEFT_BAR).save(cover, "JPEG")
    write_coded_sound(tmp_path / "plain.m4a", SINE[None], RATE, "flac", "mono", container="mp4")
    with av.open(str(tmp_path / "plain.m4a")) as plain, av.open(str(tmp_path / "a.mp4"), "w") as film:
        sound = film.add_stream_from_template(plain.streams.audio[0])
        picture = film.add_stream("mjpeg", rate=1)
        picture.width, picture.height, picture.pix_fmt = 64, 32, "yuvj420p"
        picture.disposition = av.stream.Disposition.attached_pic
        packet = av.Packet(cover.getvalue())
        packet.stream, packet.pts, packet.dts, packet.time_base = picture, 0, 0, Fraction(1, 1)
        film.start_encoding()
        film.mux(packet)
        for packet in plain.demux(plain.streams.audio[0]):
            if packet.size:
                packet.stream = sound
                film.mux(packet)
    assert_heard(tmp_path / "a.mp4")


# ------------------------------------------------------------------ where they lie


def test_a_part_of_a_file_is_read_like_a_file(tmp_path):
    """As the members of archives are."""
    write_film(tmp_path / "a.mp4", greys(9))
    Image.fromarray(LEFT_BAR).save(tmp_path / "a.png")
    write_coded_sound(tmp_path / "a.ogg", SINE[None], RATE, "libopus", "mono")
    for name in ("a.mp4", "a.png", "a.ogg"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / "archive").write_bytes(b"x" * 777 + content + b"y" * 999)
        kind, data = media.read_any(tmp_path / name)
        for file in (
            MediaFile("m", str(tmp_path / "archive"), 777, len(content)),
            MediaFile("m", "", content=content),
        ):
            other_kind, other = media.read_any(file)
            assert kind == other_kind
            assert np.array_equal(data, other)


def test_no_file_opens_another(tmp_path):
    """A playlist that names a film beside it, or far away, is no film."""
    write_film(tmp_path / "a.ts", greys(9))
    (tmp_path / "list.mp4").write_bytes(b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n\1")
    with pytest.raises(ValueError, match=r"list\.mp4: not a"):
        media.read_any(tmp_path / "list.mp4")
