"""Reads and writes files of pictures, videos and sounds; any size, mode and rate is brought to those of `MediaSpec`.

What a file is, its content says and not its name. A picture is fitted into the frame whole, and the bars are filled with
white; what is transparent becomes white too. A video is sampled evenly in time, or at a rate. A sound is mixed to one channel,
resampled and never cut. Everything that cannot be read raises one ValueError that names the file.
"""

import io
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from PIL import Image

from ernest.config.media import USUAL, MediaSpec
from ernest.data.films import moving_pictures, open_film, read_film
from ernest.data.mediafile import TOO_LARGE, MediaFile, Source, library, media_file, naming, strictly
from ernest.data.pictures import animation, frame_count, open_picture, still
from ernest.data.sounds import read_sound
from ernest.sequence.record import Kind

_FRAME_MILLISECONDS = 120
"""Of a video without a rate: whole hundredths of a second, the unit of gif."""

SUFFIXES: Mapping[Kind, tuple[str, ...]] = {
    "image": ("png", "jpg", "jpeg", "jfif", "webp", "bmp", "tif", "tiff", "ppm", "pgm", "avif", "gif"),
    "video": ("mp4", "mov", "m4v", "mkv", "webm", "avi", "3gp", "ogv", "wmv", "mpg", "apng"),
    "audio": ("wav", "flac", "ogg", "oga", "mp3", "opus", "aif", "aiff", "caf", "m4a", "aac", "wma"),
}
"""Usual endings of the files that can be read. They only say what a file was meant to be whose content says nothing."""
WRITTEN: Mapping[Kind, tuple[str, ...]] = {
    "image": ("png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff", "ppm", "pgm"),
    "video": ("gif", "webp", "png", "apng", "mp4"),
    "audio": ("wav", "flac", "ogg"),
}
"""Endings of the files that each kind can be written to."""


def suffix(path: Path | str) -> str:
    """The ending of a file's name, in lower case and without its dot."""
    return Path(path).suffix.lower().removeprefix(".")


def kind_of(source: Source) -> Kind | None:
    """The kind of a file by its content or, where that says nothing, by its name; None for a file that cannot be read here."""
    file = media_file(source)
    try:
        with file.open() as content:
            return _told(file, content)
    except (OSError, ValueError):
        return _named(file)


def read(source: Source, kind: Kind, spec: MediaSpec = USUAL) -> np.ndarray:
    """The file as the data of a segment of `kind`. Raises ValueError, naming the file, if it cannot be."""
    match kind:
        case "image":
            return read_image(source, spec)
        case "video":
            return read_video(source, spec.frames, spec)
        case "audio":
            return read_audio(source, spec)
    raise ValueError(f"{media_file(source).name}: a segment of kind {kind!r} is not read from a media file")


def read_any(source: Source, spec: MediaSpec = USUAL) -> tuple[Kind, np.ndarray]:
    """What the file holds, and its data: pictures are opened once. Raises ValueError, naming the file, if it cannot be read."""
    file = media_file(source)
    with file.open() as content:
        if _form(_head(content)) == "picture":
            with naming(file, "picture"), open_picture(content) as image:
                if frame_count(image) == 1:
                    return "image", still(image, spec.size)
                return "video", animation(image, spec.frames, spec.size, spec.frame_rate)
        kind = _told(file, content)
        if _head(content).startswith(_POINTER):
            raise ValueError(f"{file.name}: a pointer of Git LFS, and not the file: git lfs pull brings it")
    if kind is None:
        known = ", ".join(sorted(ending for endings in SUFFIXES.values() for ending in endings))
        raise ValueError(f"{file.name}: not a format that can be read ({known})")
    return kind, read(file, kind, spec)


# ------------------------------------------------------------------ what a file is


_Form = Literal["picture", "samples", "coded", "text", "foreign"]
_HEAD = 512
_SIGNATURES: Mapping[_Form, tuple[bytes, ...]] = {
    "picture": (
        *(b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        *(b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"),
    ),
    "samples": (b"fLaC", b"RF64", b"riff", b".snd", b"caff", b"FORM", b"NIST_1A"),
}
_POINTER = b"version https://git-lfs."
_FOREIGN = (b"heic", b"heix", b"hevc", b"hevx", b"mif1", b"msf1")
"""Brands of ISO media that hold pictures of a kind that is not read: ffmpeg would show one tile of them."""
_IN_RIFF: Mapping[bytes, _Form] = {b"WEBP": "picture", b"WAVE": "samples"}


def _head(content: BinaryIO) -> bytes:
    content.seek(0)
    head = content.read(_HEAD)
    content.seek(0)
    return head


def _form(head: bytes) -> _Form:
    """Who reads a file that begins with `head`: Pillow, soundfile, ffmpeg or nobody."""
    if head[:4] in (b"RIFF", b"RIFX"):
        return _IN_RIFF.get(head[8:12], "coded")
    if head[4:8] == b"ftyp":
        brands = {head[8:12], *(head[start : start + 4] for start in range(16, min(int.from_bytes(head[:4]), _HEAD), 4))}
        if brands & {b"avif", b"avis"}:
            return "picture"
        return "foreign" if head[8:12] in _FOREIGN else "coded"
    for form, starts in _SIGNATURES.items():
        if head.startswith(starts) and not (head[:1] == b"P" and not head[2:3].isspace()):
            return form
    return "text" if not head or not any(byte < 9 or 13 < byte < 27 for byte in head) else "coded"


def _told(file: MediaFile, content: BinaryIO) -> Kind | None:
    form = _form(_head(content))
    if form == "picture":
        try:
            with strictly(), open_picture(content) as image:
                return "image" if frame_count(image) == 1 else "video"
        except (OSError, SyntaxError, ValueError, *TOO_LARGE):
            return "image"  # reading it says why
    if form == "samples":
        return "audio"
    if form == "coded":
        try:
            with open_film(file, content) as film:
                if moving_pictures(film) is not None:
                    return "video"
                if film.streams.audio:
                    return "audio"
        except ImportError:
            raise
        except Exception:  # whatever ffmpeg says of what it does not know
            return _named(file)
    return None if form == "foreign" else _named(file)


def _named(file: MediaFile) -> Kind | None:
    return next((kind for kind, endings in SUFFIXES.items() if suffix(file.name) in endings), None)


# ------------------------------------------------------------------ pictures and videos


def read_image(source: Source, spec: MediaSpec = USUAL) -> np.ndarray:
    """The picture (of an animation, the first frame) as uint8 `[height, width, 3]`."""
    file = media_file(source)
    with file.open() as content, naming(file, "picture"), open_picture(content) as image:
        return still(image, spec.size)


def read_video(source: Source, frames: int | None = None, spec: MediaSpec = USUAL) -> np.ndarray:
    """The video as uint8 `[frames, height, width, 3]`: its time is cut into equal parts, and each gives its first frame. With a
    rate of frames, the parts are so long, from the beginning of the video on.

    A video shorter than `frames` shows frames twice; a still picture is a video in which nothing moves. Raises ValueError for a
    file that cannot be read.
    """
    frames = spec.frames if frames is None else frames
    file = media_file(source)
    with file.open() as content, naming(file, "video"):
        form = _form(_head(content))
        if form == "picture":
            with open_picture(content) as image:
                return animation(image, frames, spec.size, spec.frame_rate)
        if form in ("text", "foreign"):
            raise ValueError("no format that can be read")
        return read_film(file, frames, spec.size, spec.frame_rate)


def write_image(path: Path | str, image: np.ndarray) -> None:
    """Write uint8 `[height, width, 3]` in the format that the ending names; png and webp keep every pixel."""
    ending = _checked_ending(path, "image", "picture")
    Image.fromarray(image).save(path, **_lossless(ending))


def write_video(path: Path | str, video: np.ndarray, rate: float | None = None) -> None:
    """Write uint8 `[frames, height, width, 3]`, about 8 frames a second or `rate`; webp and png keep every pixel, gif 256 colours
    of a film, mp4 less."""
    Path(path).write_bytes(encode_video(path, video, rate))


def encode_video(name: Path | str, video: np.ndarray, rate: float | None = None, factor: int = 1) -> bytes:
    """The content of a file of that name, each pixel `factor` times as wide and high."""
    ending, file = _checked_ending(name, "video", "video"), io.BytesIO()
    pause = _FRAME_MILLISECONDS if rate is None else max(10, round(100 / rate) * 10)
    if ending == "mp4":
        _write_mp4(name, file, enlarged(video, factor), Fraction(1000 // _FRAME_MILLISECONDS) if rate is None else Fraction(rate))
        return file.getvalue()
    first, *rest = _numbered(video, factor) if ending == "gif" else map(Image.fromarray, enlarged(video, factor))
    form = {"apng": "png"}.get(ending, ending)
    first.save(file, form, save_all=True, append_images=rest, duration=pause, loop=0, **_lossless(form))
    return file.getvalue()


def _numbered(video: np.ndarray, factor: int) -> Iterator[Image.Image]:
    """All frames with one palette: Pillow measures the distances of all its colours, which it would do for each frame anew."""
    height, width = video.shape[1:3]
    whole = Image.fromarray(video.reshape(-1, width, 3)).quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    for top in range(0, whole.height, height):
        frame = whole.crop((0, top, width, top + height))
        yield frame.resize((factor * width, factor * height), Image.Resampling.NEAREST)


def enlarged(pixels: np.ndarray, factor: int) -> np.ndarray:
    """`[..., height, width, channels]`, each pixel `factor` times as wide and high."""
    return pixels if factor == 1 else pixels.repeat(factor, axis=-3).repeat(factor, axis=-2)


def _write_mp4(name: Path | str, file: BinaryIO, video: np.ndarray, rate: Fraction) -> None:
    av = library("av", media_file(name))
    with av.open(file, "w", "mp4") as film:
        stream = film.add_stream("libx264", rate=rate.limit_denominator(1001), options={"crf": "12"})
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in video:
            film.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        film.mux(stream.encode())


def _lossless(ending: str) -> dict[str, Any]:
    """What Pillow is told so that nothing is lost; and of a gif, that its palette is right as it is, for every frame."""
    return {"webp": {"lossless": True, "quality": 100, "exact": True}, "gif": {"optimize": False}}.get(ending, {})


# ------------------------------------------------------------------ sounds


def read_audio(source: Source, spec: MediaSpec = USUAL) -> np.ndarray:
    """The sound as float32 `[samples]` at the spec's rate, one channel, in [-1, 1].

    Raises ValueError for a sound that is longer than the spec's longest.
    """
    file = media_file(source)
    with file.open() as content, naming(file, "sound"):
        form = _form(_head(content))
        if form in ("text", "foreign", "picture"):
            raise ValueError("it holds a picture" if form == "picture" else "no format that can be read")
        wave = read_sound(file, spec.longest_sound, form == "samples", spec.sample_rate)
        return wave.clip(-1, 1).astype(np.float32)


def write_audio(path: Path | str, wave: np.ndarray, rate: int = MediaSpec.sample_rate) -> None:
    """Write float32 `[samples]` of `rate` samples a second; a wav keeps every sample."""
    ending = _checked_ending(path, "audio", "sound")
    soundfile = library("soundfile", media_file(path))
    content = io.BytesIO()  # what cannot be written is said by the system then, and not in numbers of the library
    soundfile.write(content, wave, rate, format=ending.upper(), subtype="FLOAT" if ending == "wav" else None)
    Path(path).write_bytes(content.getvalue())


def _checked_ending(path: Path | str, kind: Kind, noun: str) -> str:
    if suffix(path) not in WRITTEN[kind]:
        raise ValueError(f"{path}: a {noun} is written to a file that ends in one of {', '.join(WRITTEN[kind])}")
    return suffix(path)
