"""Reads and writes files of pictures, videos and sounds; any size, mode and rate is brought to those of `MediaSpec`.

A picture is fitted into the square whole, and the bars are filled with white; what is transparent becomes white too.
A video is sampled evenly in time. A sound is mixed to one channel, resampled and never cut.
Everything that cannot be read raises one ValueError that names the file.
"""

import importlib
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ernest.config.media import MediaSpec
from ernest.sequence.record import Kind

_FRAME_MILLISECONDS = 120
"""Whole hundredths of a second, the unit of gif."""

_STILL = ("png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff", "ppm", "pgm")
_CONTAINERS = ("mp4", "mov", "m4v", "mkv", "webm", "avi")
_SOUND = ("wav", "flac", "ogg", "oga", "mp3", "opus", "aif", "aiff", "m4a", "aac", "wma")
_COMPRESSED = ("m4a", "aac", "wma")
SUFFIXES: Mapping[Kind, tuple[str, ...]] = {
    "image": (*_STILL, "gif"),
    "video": (*_CONTAINERS, "gif", "apng", *_STILL),
    "audio": _SOUND,
}
"""Endings of the files that can be read as each kind, in lower case."""
WRITTEN: Mapping[Kind, tuple[str, ...]] = {
    "image": _STILL,
    "video": ("gif", "webp", "png", "apng", "mp4"),
    "audio": ("wav", "flac", "ogg"),
}
"""Endings of the files that each kind can be written to."""

Frame = tuple[Image.Image, float]


def suffix(path: Path | str) -> str:
    """The ending of a file's name, in lower case and without its dot."""
    return Path(path).suffix.lower().removeprefix(".")


def kind_of(path: Path | str) -> Kind | None:
    """What a file most likely holds, by its name and, where the name leaves it open, its content; None if not ours."""
    ending = suffix(path)
    if ending in _SOUND:
        return "audio"
    if ending in _CONTAINERS or ending == "apng":
        return "video"
    if ending in ("gif", "webp", "png"):
        return "video" if _frame_count(Path(path)) > 1 else "image"
    return "image" if ending in _STILL else None


def read(path: Path | str, kind: Kind) -> np.ndarray:
    """The file as the data of a segment of `kind`. Raises ValueError, naming the file, if it cannot be."""
    match kind:
        case "image":
            return read_image(path)
        case "video":
            return read_video(path)
        case "audio":
            return read_audio(path)
    raise ValueError(f"{path}: a segment of kind {kind!r} is not read from a media file")


# ------------------------------------------------------------------ pictures and videos


def read_image(path: Path | str, size: int = MediaSpec.size) -> np.ndarray:
    """The picture (of an animation, the first frame) as uint8 `[size, size, 3]`."""
    path = _checked(path, "image")
    with _naming(path, "picture"), Image.open(path) as image:
        return fitted(image, size)


def read_video(path: Path | str, frames: int = MediaSpec.frames, size: int = MediaSpec.size) -> np.ndarray:
    """The video as uint8 `[frames, size, size, 3]`: its time is cut into equal parts, and each gives its first frame.

    A video shorter than `frames` shows frames twice; a still picture is a video in which nothing moves.
    """
    path = _checked(path, "video")
    with _naming(path, "video"):
        pages = _container(path) if suffix(path) in _CONTAINERS else _pages(path)
        timed = [(fitted(image, size), lasts) for image, lasts in pages]
    if not timed:
        raise ValueError(f"{path}: the video has no frames")
    ends = np.cumsum([lasts for _, lasts in timed])
    # A little after the moment of change, lest rounding shows the frame before.
    moments = (np.arange(frames) / frames + 1e-6) * ends[-1]
    return np.stack([timed[min(frame, len(timed) - 1)][0] for frame in np.searchsorted(ends, moments, side="right")])


def write_image(path: Path | str, image: np.ndarray) -> None:
    """Write uint8 `[height, width, 3]` in the format that the ending names; png and webp keep every pixel."""
    ending = _checked_ending(path, "image", "picture")
    Image.fromarray(image).save(path, **_lossless(ending))


def write_video(path: Path | str, video: np.ndarray) -> None:
    """Write uint8 `[frames, height, width, 3]`, about 8 frames a second; webp and png keep every pixel, gif and mp4 do not."""
    ending = _checked_ending(path, "video", "video")
    if ending == "mp4":
        return _write_mp4(path, video)
    first, *rest = [Image.fromarray(frame) for frame in video]
    form = {"apng": "png"}.get(ending, ending)
    first.save(path, form, save_all=True, append_images=rest, duration=_FRAME_MILLISECONDS, loop=0, **_lossless(form))


def fitted(image: Image.Image, size: int = MediaSpec.size) -> np.ndarray:
    """The picture upright (as its camera noted), in RGB on white, whole, in the middle of a square: uint8 `[size, size, 3]`."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        # Pillow itself would clip 16 bits to 8 instead of scaling them.
        image = Image.fromarray((np.asarray(image) / 257).clip(0, 255).round().astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range: save it with 8 or 16 bits a channel")
    if image.mode in ("LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode == "RGBA":
        page = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(page, image)
    image = image.convert("RGB")
    if image.size != (size, size):
        scale = size / max(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        page = Image.new("RGB", (size, size), "white")
        page.paste(image.resize((width, height), Image.Resampling.LANCZOS), ((size - width) // 2, (size - height) // 2))
        image = page
    return np.asarray(image).copy()


def _pages(path: Path) -> Iterator[Frame]:
    """Frames of a gif, webp or png and the milliseconds that each is shown; browsers show 0 as 100."""
    with Image.open(path) as animation:
        for page in range(getattr(animation, "n_frames", 1)):
            animation.seek(page)
            animation.load()
            yield animation, float(animation.info.get("duration") or 100)


def _container(path: Path) -> Iterator[Frame]:
    """Frames of a film, taken as equally long."""
    av = _library("av", path)
    with av.open(str(path)) as film:
        if not film.streams.video:
            raise ValueError("it has no moving pictures")
        for frame in film.decode(video=0):
            yield frame.to_image(), 1.0


def _write_mp4(path: Path | str, video: np.ndarray) -> None:
    av = _library("av", Path(path))
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=1000 // _FRAME_MILLISECONDS, options={"crf": "12"})
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in video:
            film.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        film.mux(stream.encode())


def _frame_count(path: Path) -> int:
    """Number of frames; 1 for a file that cannot be read, so that reading it says why."""
    try:
        with _strictly(), Image.open(path) as image:
            return getattr(image, "n_frames", 1)
    except (OSError, SyntaxError, ValueError, *_TOO_LARGE):
        return 1


def _lossless(ending: str) -> dict[str, Any]:
    return {"lossless": True, "quality": 100, "exact": True} if ending == "webp" else {}


# ------------------------------------------------------------------ sounds


def read_audio(path: Path | str, longest: float = MediaSpec.longest_sound) -> np.ndarray:
    """The sound as float32 `[samples]` at `MediaSpec.sample_rate`, one channel, in [-1, 1].

    Raises ValueError for a sound longer than `longest` seconds.
    """
    path = _checked(path, "audio")
    with _naming(path, "sound"):
        wave, rate = _decoded(path) if suffix(path) in _COMPRESSED else _sampled(path)
    if not wave.size or not np.isfinite(wave).all():
        raise ValueError(f"{path}: the sound " + ("is empty" if not wave.size else "holds samples that are no numbers"))
    if len(wave) / rate > longest:
        raise ValueError(f"{path}: the sound lasts {len(wave) / rate:.1f} s, the longest allowed is {longest:g} s: cut it")
    return resampled(wave.mean(axis=1), rate).clip(-1, 1).astype(np.float32)


def write_audio(path: Path | str, wave: np.ndarray) -> None:
    """Write float32 `[samples]` at `MediaSpec.sample_rate`; a wav keeps every sample."""
    ending = _checked_ending(path, "audio", "sound")
    soundfile = _library("soundfile", Path(path))
    soundfile.write(str(path), wave, MediaSpec.sample_rate, subtype="FLOAT" if ending == "wav" else None)


def resampled(wave: np.ndarray, rate: int) -> np.ndarray:
    """`wave` `[samples]` from `rate` to `MediaSpec.sample_rate`: the spectrum is cut, or filled with zeros, at the lower Nyquist
    frequency.

    Both ends are continued by their mirror image for a tenth of a second, so that the circle has no jump.
    """
    if rate == MediaSpec.sample_rate:
        return wave
    # Blocks of this many samples become a whole number of new samples.
    block = rate // math.gcd(rate, MediaSpec.sample_rate)
    margin = block * math.ceil(rate / 10 / block)
    wide = np.pad(wave, (margin, margin + -len(wave) % block), mode="reflect")
    length = len(wide) * MediaSpec.sample_rate // rate
    spectrum = np.fft.rfft(wide)[: length // 2 + 1]
    wide = np.fft.irfft(spectrum, length) * (length / len(wide))
    start = margin * MediaSpec.sample_rate // rate
    return wide[start : start + max(1, round(len(wave) * MediaSpec.sample_rate / rate))]


def _sampled(path: Path) -> tuple[np.ndarray, int]:
    return _library("soundfile", path).read(str(path), dtype="float64", always_2d=True)


def _decoded(path: Path) -> tuple[np.ndarray, int]:
    """Sounds of telephones and films, which soundfile does not read."""
    av = _library("av", path)
    with av.open(str(path)) as film:
        if not film.streams.audio:
            raise ValueError("it has no sound")
        resampler = av.AudioResampler(format="flt", layout="mono")
        segments = [segment for frame in film.decode(audio=0) for segment in resampler.resample(frame)]
    return np.concatenate([segment.to_ndarray()[0] for segment in segments])[:, None], segments[0].sample_rate


# ------------------------------------------------------------------ faults


_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)
"""What Pillow says of pictures of more pixels than its limit."""


@contextmanager
def _strictly() -> Iterator[None]:
    """Libraries warn about odd metadata in good files, which is ignored; a picture too large to be honest is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@contextmanager
def _naming(path: Path, noun: str) -> Iterator[None]:
    """Turns whatever the libraries raise on a broken file into a ValueError that names it."""
    try:
        with _strictly():
            yield
    except ImportError:
        raise
    except _TOO_LARGE as error:
        raise ValueError(f"{path}: a {noun} too large to be read: {str(error).partition(', could')[0]}") from error
    except Exception as error:
        reason = "no format that can be read" if isinstance(error, UnidentifiedImageError) else str(error).strip()
        raise ValueError(f"{path}: not a {noun} that can be read: {reason}") from error


def _checked(path: Path | str, kind: Kind) -> Path:
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    if suffix(path) not in SUFFIXES[kind]:
        raise ValueError(f"{path}: a file of kind {kind} ends in one of {', '.join(SUFFIXES[kind])}")
    return path


def _checked_ending(path: Path | str, kind: Kind, noun: str) -> str:
    if suffix(path) not in WRITTEN[kind]:
        raise ValueError(f"{path}: a {noun} is written to a file that ends in one of {', '.join(WRITTEN[kind])}")
    return suffix(path)


def _library(name: str, path: Path) -> ModuleType:
    """The optional library `name`, or an error that says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{path}: this format needs the package {name}: pip install 'ernest-ai[media]'") from error
