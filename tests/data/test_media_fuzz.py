"""Torn, damaged and odd files: one line that names the file, or data of the right shape; and no more memory than is asked for."""

import numpy as np
import pytest
from PIL import Image

from ernest.data import films, media
from ernest.data.mediafile import MediaFile
from tests.data.media_files import write_coded_sound, write_film

RATE = 16000
SINE = 0.8 * np.sin(2 * np.pi * 440 * np.arange(RATE // 2) / RATE)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A small file of each kind."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (37, 53, 4), dtype=np.uint8))
    for name in ("a.png", "a.webp", "a.tif", "a.avif"):
        picture.save(folder / name)
    for name in ("a.jpg", "a.bmp", "a.ppm"):
        picture.convert("RGB").save(folder / name)
    pages = [Image.fromarray(rng.integers(0, 256, (19, 31, 3), dtype=np.uint8)) for _ in range(3)]
    for name, form in (("b.gif", "GIF"), ("b.png", "PNG"), ("b.webp", "WEBP")):
        pages[0].save(folder / name, form, save_all=True, append_images=pages[1:], duration=40)
    frames = [rng.integers(0, 256, (34, 46, 3), dtype=np.uint8) for _ in range(4)]
    for name, codec in (("c.mp4", "libx264"), ("c.webm", "libvpx"), ("c.avi", "mpeg4"), ("c.ts", "mpeg2video")):
        write_film(folder / name, frames, codec, rate=25)
    sounds = (("d.m4a", "aac"), ("d.aac", "aac"), ("d.ogg", "libopus"), ("d.mp3", "libmp3lame"), ("d.webm", "libopus"))
    for name, codec in (*sounds, ("d.wav", "pcm_s24le"), ("d.flac", "flac"), ("d.aiff", "pcm_s16be"), ("d.caf", "pcm_s16le")):
        write_coded_sound(folder / name, SINE[None], RATE, codec, "mono")
    return sorted(folder.iterdir())


def complaint(name: str, line: str) -> str:
    """The line, which is one and names the file."""
    assert line.startswith(f"{name}: ")
    assert "\n" not in line
    assert len(line) < 300
    return line


def outcome(name: str, content: bytes) -> str:
    """An empty text for data of the right shape, else the line that says why there is none."""
    try:
        kind, data = media.read_any(MediaFile(name, "", content=content))
    except ValueError as error:
        line = str(error)
        assert line.startswith(f"{name}: ")
        assert "\n" not in line
        assert len(line) < 300
        return line
    if kind == "audio":
        assert data.dtype == np.float32
        assert data.ndim == 1
        assert 0 < len(data) <= 64_000
        assert np.abs(data).max() <= 1
    else:
        assert data.dtype == np.uint8
        assert data.shape == ((9, 32, 32, 3) if kind == "video" else (32, 32, 3))
    return ""


def damaged(content: bytes, rng: np.random.Generator) -> list[bytes]:
    cut = [content[: int(len(content) * share)] for share in (*rng.random(4), 0.02)]
    changed = []
    for _ in range(6):
        values = np.frombuffer(content, np.uint8).copy()
        places = rng.integers(0, len(values), 1 + len(values) // 200)
        values[places] = rng.integers(0, 256, len(places))
        changed.append(values.tobytes())
    return [*cut, *changed, b"", bytes(600), content[:40] + bytes(200)]


def test_torn_and_damaged_files_are_named_in_one_line(files):
    rng = np.random.default_rng(1)
    assert [outcome(file.name, file.read_bytes()) for file in files] == [""] * len(files)
    outcomes = [outcome(file.name, content) for file in files for content in damaged(file.read_bytes(), rng)]
    assert sum(bool(line) for line in outcomes) > len(outcomes) // 3


def test_a_torn_sound_of_samples_is_not_taken_for_whole(files):
    """What says how long it is, and is shorter, is refused: its caption speaks of all of it."""
    for file in files:
        if file.suffix in (".wav", ".flac"):
            assert outcome(file.name, file.read_bytes()[: file.stat().st_size * 2 // 3])


def test_a_recorder_that_was_not_ended_leaves_a_sound(tmp_path):
    write_coded_sound(tmp_path / "a.wav", SINE[None], RATE, "pcm_s16le", "mono")
    content = (tmp_path / "a.wav").read_bytes()
    for size in (b"\xff\xff\xff\xff", b"\0\0\0\0"):
        at = content.index(b"data")
        assert outcome("a.wav", content[:4] + size + content[8 : at + 4] + b"\xff\xff\xff\xff" + content[at + 8 :]) == ""


@pytest.mark.parametrize("sides", [(1, 1), (1, 3000), (2999, 1), (3, 2)])
def test_odd_sides(tmp_path, sides):
    for mode in ("RGB", "RGBA", "1", "P", "LA"):
        Image.new(mode, sides).save(tmp_path / "a.png")
        assert media.read_any(tmp_path / "a.png")[1].shape == (32, 32, 3)
    if min(sides) > 1:
        write_film(tmp_path / "a.mkv", [np.zeros((sides[1], sides[0], 3), np.uint8)] * 2, "ffv1", "bgr0")
        assert media.read_any(tmp_path / "a.mkv")[1].shape == (9, 32, 32, 3)


def test_a_long_film_makes_only_the_frames_that_are_asked_for(tmp_path, monkeypatch):
    write_film(tmp_path / "a.mp4", [np.full((16, 16, 3), number % 200, np.uint8) for number in range(200)], rate=25)
    made, upright = [], films._upright
    monkeypatch.setattr(films, "_upright", lambda *arguments: made.append(1) or upright(*arguments))
    assert len(media.read_video(tmp_path / "a.mp4")) == len(made) == 9


def test_a_long_animation_is_sampled_as_a_short_one(tmp_path):
    pages = [Image.fromarray(np.full((4, 4, 3), number * 255 // 299, np.uint8)) for number in range(300)]
    for name, form in (("a.gif", "GIF"), ("a.webp", "WEBP"), ("a.png", "PNG")):
        extra = {"lossless": True} if form == "WEBP" else {}
        pages[0].save(tmp_path / name, form, save_all=True, append_images=pages[1:], duration=20, **extra)
        shown = media.read_video(tmp_path / name)[:, 16, 16, 0].astype(int)
        assert np.abs(shown - np.arange(9) * 255 / 9).max() < 2


def test_no_more_of_a_sound_is_read_than_it_may_last(tmp_path):
    """An hour of silence takes no time, whatever it is packed in."""
    import soundfile

    with soundfile.SoundFile(tmp_path / "a.wav", "w", 8000, 1, "PCM_16"):
        pass
    content = bytearray((tmp_path / "a.wav").read_bytes())
    size = 3600 * 8000 * 2
    content[4:8], content[-4:] = (size + 36).to_bytes(4, "little"), size.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(content)
    with (tmp_path / "a.wav").open("r+b") as file:
        file.truncate(44 + size)
    with pytest.raises(ValueError, match=r"a\.wav: the sound lasts 3600\.0 s, the longest allowed is 8 s: cut it"):
        media.read_audio(tmp_path / "a.wav")
    for name, codec in (("a.mp3", "libmp3lame"), ("a.m4a", "aac")):
        write_coded_sound(tmp_path / name, np.zeros((1, 10 * RATE)), RATE, codec, "mono")
        with pytest.raises(ValueError, match=rf"{name}: the sound lasts (10\.0|more than 8) s, the longest allowed is 8 s"):
            media.read_audio(tmp_path / name)


def test_more_channels_than_two(tmp_path):
    import soundfile

    for channels in (3, 5, 7, 24):
        soundfile.write(tmp_path / "a.wav", np.repeat(SINE[:, None], channels, axis=1), RATE, "PCM_24")
        assert np.abs(media.read_audio(tmp_path / "a.wav")).max() == pytest.approx(0.8, abs=0.02)
