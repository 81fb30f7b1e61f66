import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ernest.config.media import MediaSpec
from ernest.data import media
from ernest.data.mediafile import MediaFile
from ernest.data.sounds import resampled

RNG = np.random.default_rng(0)
SQUARE = RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)


def sine(rate: int, seconds: float = 1.0, pitch: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(round(rate * seconds)) / rate)


# ------------------------------------------------------------------ pictures


@pytest.mark.parametrize("ending", ["png", "webp", "PNG"])
def test_pictures_of_the_worlds_size_come_back_exactly(tmp_path, ending):
    media.write_image(tmp_path / f"a.{ending}", SQUARE)
    assert np.array_equal(media.read_image(tmp_path / f"a.{ending}"), SQUARE)


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "1", "LA", "CMYK", "I;16", "YCbCr"])
def test_pictures_of_every_mode_keep_their_brightness(tmp_path, mode):
    """A bright half above a dark half, in every mode that files have."""
    grey = np.repeat([230, 20], 20)[:, None] * np.ones((1, 40))
    if mode == "I;16":
        image = Image.fromarray((grey * 257).astype(np.uint16))
    else:
        image = Image.fromarray(grey.astype(np.uint8)).convert(mode)
    path = tmp_path / ("a.tif" if mode in ("CMYK", "YCbCr") else "a.png")
    image.save(path)
    pixels = media.read_image(path)
    assert pixels.shape == (32, 32, 3)
    assert pixels.dtype == np.uint8
    assert pixels[:14].mean() > 200
    assert pixels[18:].mean() < 60


def test_cmyk_jpeg_and_progressive_jpeg(tmp_path):
    for name, options in (("a.jpg", {}), ("b.JPEG", {"progressive": True})):
        Image.new("CMYK", (50, 50), (0, 255, 255, 0)).save(tmp_path / name, "JPEG", **options)
        assert np.abs(media.read_image(tmp_path / name)[16, 16].astype(int) - (255, 0, 0)).max() < 12


def test_a_wide_picture_is_kept_whole_on_white(tmp_path):
    Image.new("RGB", (100, 50), "red").save(tmp_path / "a.png")
    pixels = media.read_image(tmp_path / "a.png")
    assert (pixels[8:24] == (255, 0, 0)).all()
    assert (pixels[:8] == 255).all()
    assert (pixels[24:] == 255).all()


def test_a_line_of_one_pixel_does_not_vanish(tmp_path):
    Image.new("RGB", (500, 1), "black").save(tmp_path / "a.png")
    assert (media.read_image(tmp_path / "a.png") == 0).all(axis=-1).sum() == 32


def test_transparency_becomes_white(tmp_path):
    Image.new("RGBA", (32, 32), (0, 0, 0, 0)).save(tmp_path / "a.png")
    palette = Image.new("P", (32, 32), 0)
    palette.save(tmp_path / "b.png", transparency=0)
    for name in ("a.png", "b.png"):
        assert (media.read_image(tmp_path / name) == 255).all()


def test_cameras_note_of_rotation_is_followed(tmp_path):
    image = Image.new("RGB", (32, 32), "black")
    image.paste("white", (0, 0, 32, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # Turn the stored picture clockwise to see it upright: its top becomes the right side.
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    pixels = media.read_image(tmp_path / "a.jpg")
    assert pixels[:, 26:].mean() > 240
    assert pixels[:, :20].mean() < 15


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_a_broken_picture_is_named(tmp_path, content):
    path = tmp_path / "broken.png"
    if content is None:
        media.write_image(path, SQUARE)
        content = path.read_bytes()[:200]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.png: not a picture that can be read"):
        media.read_image(path)
    assert media.kind_of(path) == "image"


def test_a_picture_too_large_to_be_honest_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    media.write_image(tmp_path / "bomb.png", SQUARE[:12, :12])
    with pytest.raises(ValueError, match=r"bomb\.png"):
        media.read_image(tmp_path / "bomb.png")


# ------------------------------------------------------------------ videos


@settings(max_examples=30, deadline=None)
@given(shown=st.lists(st.integers(0, 3), min_size=9, max_size=9), ending=st.sampled_from(["webp", "png", "apng", "gif"]))
def test_videos_come_back_frame_by_frame_even_where_nothing_moves(tmp_path_factory, shown, ending):
    """Formats join equal frames into one that is shown longer; reading goes by time and finds all nine again."""
    video = np.stack([np.full((32, 32, 3), 60 * frame, np.uint8) for frame in shown])
    path = tmp_path_factory.mktemp("video") / f"a.{ending}"
    media.write_video(path, video)
    assert np.array_equal(media.read_video(path), video)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99), colours=st.sampled_from([1, 2, 256, 2000]), factor=st.sampled_from([1, 3]))
def test_a_gif_keeps_up_to_256_colours_and_is_enlarged_pixel_by_pixel(seed, colours, factor):
    """Of more it has 256 that are near."""
    rng = np.random.default_rng(seed)
    film = rng.integers(0, 256, (colours, 3), np.uint8)[rng.integers(0, colours, (4, 16, 17))]
    with Image.open(io.BytesIO(media.encode_video("film.gif", film, factor=factor))) as file:
        frames = np.stack([file.seek(number) or np.array(file.convert("RGB")) for number in range(file.n_frames)])
    off = np.abs(frames[:, ::factor, ::factor].astype(int) - film)
    assert off.max() == 0 if colours <= 256 else 0 < off.mean() < 16
    assert np.array_equal(frames, media.enlarged(frames[:, ::factor, ::factor], factor))


def test_a_film_of_another_length_is_sampled_evenly(tmp_path):
    grey = np.stack([np.full((32, 32, 3), 5 * frame, np.uint8) for frame in range(45)])
    for ending, tolerance in (("webp", 0), ("mp4", 4)):
        media.write_video(tmp_path / f"a.{ending}", grey)
        frames = media.read_video(tmp_path / f"a.{ending}").astype(int)
        assert np.abs(frames - grey[::5]).max() <= tolerance
        assert np.abs(media.read_video(tmp_path / f"a.{ending}", frames=1).astype(int) - grey[:1]).max() <= tolerance
    assert media.read_video(tmp_path / "a.webp", frames=90).shape == (90, 32, 32, 3)


def test_mp4_keeps_colours_and_shapes(tmp_path):
    row = np.linspace(0, 255, 32)
    video = np.stack([np.dstack([np.tile(row, (32, 1)), np.full((32, 32), 20 * t), np.full((32, 32), 90)]) for t in range(9)])
    media.write_video(tmp_path / "a.mp4", video.astype(np.uint8))
    assert np.abs(media.read_video(tmp_path / "a.mp4").astype(int) - video).mean() < 6


def test_broken_and_soundless_films_are_named(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no film")
    with pytest.raises(ValueError, match=r"a\.mp4: not a video"):
        media.read_video(tmp_path / "a.mp4")


def test_kind_of(tmp_path):
    media.write_video(tmp_path / "a.gif", np.stack([SQUARE, 255 - SQUARE]))
    media.write_image(tmp_path / "b.png", SQUARE)
    Image.fromarray(SQUARE).save(tmp_path / "c.gif")
    names = ["a.gif", "b.png", "c.gif", "d.WAV", "e.mp4", "f.heic", "g.JPG", "noending"]
    assert [media.kind_of(tmp_path / name) for name in names] == [
        "video",
        "image",
        "image",
        "audio",
        "video",
        None,
        "image",
        None,
    ]


# ------------------------------------------------------------------ sounds


def test_sounds_at_the_worlds_rate_come_back_exactly(tmp_path):
    wave = RNG.uniform(-1, 1, 4000).astype(np.float32)
    media.write_audio(tmp_path / "a.wav", wave)
    assert np.array_equal(media.read_audio(tmp_path / "a.wav"), wave)


@pytest.mark.parametrize("rate", [44100, 48000, 22050, 16000, 11025, 4000])
@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_stereo_at_any_rate_becomes_mono_at_8_khz(tmp_path, rate, ending):
    import soundfile

    soundfile.write(tmp_path / f"a.{ending}", np.stack([2 * sine(rate), 0 * sine(rate)], axis=1) * 0.99, rate)
    wave = media.read_audio(tmp_path / f"a.{ending}")
    assert wave.dtype == np.float32
    assert len(wave) == 8000
    assert np.abs(wave - 0.99 * sine(8000))[200:-200].max() < 2e-3


@pytest.mark.parametrize(("ending", "rate"), [("mp3", 44100), ("ogg", 44100), ("m4a", 44100), ("opus", 48000)])
def test_compressed_sounds(tmp_path, ending, rate):
    path = tmp_path / f"A.{ending.upper()}"
    if ending == "m4a":
        write_m4a(path, sine(rate), rate)
    else:
        import soundfile

        form = {"mp3": ("MP3", "MPEG_LAYER_III"), "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS")}[ending]
        soundfile.write(path, sine(rate), rate, format=form[0], subtype=form[1])
    wave = media.read_audio(path)
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    assert spectrum.argmax() * 8000 / len(wave) == pytest.approx(440, abs=3)
    assert len(wave) == pytest.approx(8000, abs=900)
    assert np.abs(wave[500:7500]).max() == pytest.approx(0.5, abs=0.1)


def write_m4a(path, wave, rate):
    import av

    with av.open(str(path), "w", format="mp4") as film:
        stream = film.add_stream("aac", rate=rate, layout="mono")
        for start in range(0, len(wave), 1024):
            frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1024].astype(np.float32), format="fltp", layout="mono")
            frame.sample_rate = rate
            film.mux(stream.encode(frame))
        film.mux(stream.encode())


@pytest.mark.parametrize("form", ["WAV", "AIFF", "AU", "CAF", "W64", "RF64", "SVX"])
def test_half_of_a_file_of_samples_is_refused(form):
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, sine(8000), 8000, format=form, subtype="PCM_16")
    whole = file.getvalue()
    assert len(media.read_audio(MediaFile("a", "", content=whole))) == 8000
    for cut in (whole[: len(whole) // 2], whole[:-2]):
        with pytest.raises(ValueError, match=f"a: .*it is cut: {len(cut)} of {len(whole)} bytes are there"):
            media.read_audio(MediaFile("a", "", content=cut))


@pytest.mark.parametrize(("form", "coder"), [("WAV", "GSM610"), ("AIFF", "GSM610"), ("WAV", "G721_32"), ("AU", "G723_24")])
def test_sounds_of_telephones_are_read(form, coder):
    """Their coders go forwards only."""
    import soundfile

    file, wave = io.BytesIO(), sine(8000)
    soundfile.write(file, wave, 8000, format=form, subtype=coder)
    heard = media.read_audio(MediaFile("a", "", content=file.getvalue()))[:8000]
    assert np.corrcoef(heard, wave)[0, 1] > 0.9


def test_resampling_leaves_out_what_8_khz_cannot_hold():
    assert np.abs(resampled(sine(44100, pitch=5000.0), 44100)[200:-200]).max() < 2e-2
    assert resampled(np.ones(1), 16000) == pytest.approx(np.ones(1))


def test_refused_sounds_are_named(tmp_path):
    import soundfile

    soundfile.write(tmp_path / "long.wav", sine(8000, 10.0), 8000)
    with pytest.raises(ValueError, match=r"long\.wav: the sound lasts 10\.0 s, the longest allowed is 8 s: cut it"):
        media.read_audio(tmp_path / "long.wav")
    assert len(media.read_audio(tmp_path / "long.wav", MediaSpec(longest_sound=10.0))) == 80_000
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 8000)
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan), 8000, subtype="FLOAT")
    (tmp_path / "broken.wav").write_bytes(b"RIFF?")
    (tmp_path / "broken.m4a").write_bytes(b"????")
    for name, reason in (("empty", "is empty"), ("nan", "no numbers"), ("broken", "not a sound")):
        with pytest.raises(ValueError, match=rf"{name}\.wav.*{reason}"):
            media.read_audio(tmp_path / f"{name}.wav")
    with pytest.raises(ValueError, match=r"broken\.m4a: not a sound"):
        media.read_audio(tmp_path / "broken.m4a")


def test_wrong_kinds_and_missing_files(tmp_path):
    with pytest.raises(ValueError, match=r"a\.png: there is no such file"):
        media.read_image(tmp_path / "a.png")
    (tmp_path / "a.png").touch()
    with pytest.raises(ValueError, match=r"a\.png: not a picture that can be read: no format"):
        media.read(tmp_path / "a.png", "image")
    media.write_image(tmp_path / "a.png", SQUARE)
    with pytest.raises(ValueError, match=r"a\.png: not a sound that can be read: it holds a picture"):
        media.read(tmp_path / "a.png", "audio")
    for write in (media.write_image, media.write_video, media.write_audio):
        with pytest.raises(ValueError, match=r"a\.xyz"):
            write(tmp_path / "a.xyz", SQUARE)


@pytest.mark.parametrize("limit", [400, 600])
@pytest.mark.parametrize("kind", ["image", "video"])
def test_a_picture_above_the_limit_of_pixels_is_named_in_one_line(tmp_path, monkeypatch, limit, kind):
    """Up to twice its limit Pillow only warns; both are refused, and asking for the kind of the file does not raise."""
    media.write_image(tmp_path / "wide.png", np.zeros((32, 32, 3), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert media.kind_of(tmp_path / "wide.png") == "image"
    with pytest.raises(
        ValueError, match=r"wide\.png: a (picture|video) too large to be read: .*1024 pixels.* \d+ pixels"
    ) as caught:
        media.read(tmp_path / "wide.png", kind)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------ other sizes and rates


def test_a_picture_is_whole_in_a_frame_that_is_not_square(tmp_path):
    """Twice as wide as high, in a frame as wide as high, twice as high, and of its own shape."""
    Image.new("RGB", (40, 20), "red").save(tmp_path / "a.png")
    for size, red in [((32, 32), (8, 0, 24, 32)), ((64, 32), (24, 0, 40, 32)), ((32, 64), (0, 0, 32, 64))]:
        pixels = media.read_image(tmp_path / "a.png", MediaSpec(*size))
        assert pixels.shape == (*size, 3)
        top, left, bottom, right = red
        inside = np.zeros(size, bool)
        inside[top:bottom, left:right] = True
        assert (pixels[inside] == (255, 0, 0)).all()
        assert (pixels[~inside] == 255).all()


@pytest.mark.parametrize("ending", ["png", "mp4"])
def test_frames_at_a_rate_are_those_of_their_moments(ending, tmp_path):
    """A film of 12 grey frames, 0.125 s each: at 4 a second every other one, and the last one again when it is over."""
    video = np.repeat(20 * np.arange(12, dtype=np.uint8)[:, None, None, None], 32, 1).repeat(32, 2).repeat(3, 3)
    path = tmp_path / f"a.{ending}"
    media.write_video(path, video, 8.0)
    for rate, expected in [(4.0, [0, 2, 4, 6, 8, 10, 11, 11, 11]), (8.0, range(9)), (None, [int(n * 12 / 9) for n in range(9)])]:
        read = media.read_video(path, spec=MediaSpec(frame_rate=rate))
        shown = np.rint(read.mean((1, 2, 3)) / 20).astype(int)
        # Files of png count in hundredths of a second, so that frames of 0.125 s become ones of 0.12.
        assert np.abs(shown - np.array(list(expected))).max() <= (1 if ending == "png" else 0)


@pytest.mark.parametrize("rate", [8000, 16000, 24000])
def test_a_sound_keeps_its_pitch_at_every_rate(rate, tmp_path):
    time = np.arange(12_000) / 24_000
    media.write_audio(tmp_path / "a.wav", (0.5 * np.sin(2 * np.pi * 1000 * time)).astype(np.float32), 24_000)
    wave = media.read_audio(tmp_path / "a.wav", MediaSpec(sample_rate=rate))
    assert len(wave) == rate // 2
    assert np.abs(np.fft.rfft(wave)).argmax() == 500
    with pytest.raises(ValueError, match=r"lasts 0.5 s, the longest allowed is 0.4 s"):
        media.read_audio(tmp_path / "a.wav", MediaSpec(longest_sound=0.4))
