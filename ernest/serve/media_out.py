"""Pictures, films and sounds as the files that clients ask for."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from ernest.config.media import USUAL, MediaSpec
from ernest.data import media
from ernest.data.mediafile import library, media_file
from ernest.data.sounds import resampled
from ernest.serve import errors

SOUND_RATE = 24_000
"""Samples a second of every sound that is sent: what OpenAI's API sends, and its clients take raw samples for."""
PICTURES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
FILMS = {"mp4": "video/mp4", "gif": "image/gif", "webp": "image/webp"}
SOUNDS = {"mp3": "audio/mpeg", "opus": "audio/ogg", "flac": "audio/flac", "wav": "audio/wav", "pcm": "audio/pcm"}
LARGEST = 1024
"""Pixels on a side to which a picture is enlarged."""


def enlargement(size: str | None, spec: MediaSpec) -> int:
    """How many times larger than the model makes them pictures of `size` are. Raises ApiError for one that cannot be had."""
    if size in (None, "auto"):
        return 1
    most = LARGEST // max(spec.size)
    if size in (sizes := {shown_size(factor, spec): factor for factor in range(1, most + 1)}):
        return sizes[size]
    larger = shown_size(max(1, 256 // max(spec.size)), spec)
    right = f"pictures are {shown_size(1, spec)}, or enlarged to a multiple up to {shown_size(most, spec)}, such as {larger}"
    raise errors.unsupported("size", size, right)


def shown_size(factor: int, spec: MediaSpec) -> str:
    """Width and height of a picture that is enlarged, as OpenAI's API writes them."""
    return f"{spec.width * factor}x{spec.height * factor}"


def picture(pixels: np.ndarray, form: str = "png", factor: int = 1, quality: int | None = None) -> bytes:
    """uint8 `[height, width, 3]` as a file of a form of `PICTURES`, each pixel `factor` times as wide and high."""
    file = io.BytesIO()
    options: dict[str, Any] = {} if form == "png" else {"quality": 100 if quality is None else quality}
    if form == "webp" and quality in (None, 100):
        options["lossless"] = True
    Image.fromarray(media.enlarged(pixels, factor)).save(file, form, **options)
    return file.getvalue()


def film(frames: np.ndarray, form: str = "mp4", factor: int = 1, rate: float | None = None) -> bytes:
    """uint8 `[frames, height, width, 3]` as a file of a form of `FILMS`."""
    return media.encode_video(f"film.{form}", frames, rate, factor)


def sound(wave: np.ndarray, form: str = "wav", rate: int = USUAL.sample_rate) -> bytes:
    """float32 `[samples]` of `rate` a second as a file of a form of `SOUNDS`."""
    samples = np.rint(np.clip(resampled(wave, rate, SOUND_RATE), -1, 1) * 32767).astype("<i2")
    if form == "pcm":
        return samples.tobytes()
    soundfile = library("soundfile", media_file(f"sound.{form}"))
    file = io.BytesIO()
    container, subtype = {"opus": ("OGG", "OPUS"), "mp3": ("MP3", None)}.get(form, (form.upper(), "PCM_16"))
    soundfile.write(file, samples, SOUND_RATE, format=container, subtype=subtype)
    return file.getvalue()


def to_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def pieces(content: bytes, size: int = 12_288) -> Iterator[str]:
    """Base64 of parts of a file. Each part is a multiple of 3 bytes, so that the pieces can be joined before they are decoded."""
    assert size % 3 == 0
    for start in range(0, len(content), size):
        yield to_base64(content[start : start + size])
