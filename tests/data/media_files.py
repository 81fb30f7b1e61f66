"""Writes small films and sounds of kinds that cameras, browsers and telephones make, for the tests that read them."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_film(
    path: Path,
    frames: Sequence[np.ndarray],
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: Sequence[int] | None = None,
    rate: int = 10,
    rotation: int = 0,
    aspect: Fraction | None = None,
    container: str | None = None,
    options: dict[str, str] | None = None,
) -> None:
    """Frames are uint8 `[height, width, 3 or 4]`; `times` counts in hundredths of a second, else frames come at `rate`."""
    with av.open(str(path), "w", format=container) as film:
        stream = film.add_stream(codec, rate=100 if times else rate, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if times:
            stream.codec_context.time_base = Fraction(1, 100)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgba" if pixels.shape[2] == 4 else "rgb24")
            frame.pts = times[number] if times else number
            frame.time_base = Fraction(1, 100 if times else rate)
            film.mux(stream.encode(frame))
        film.mux(stream.encode())


def write_coded_sound(
    path: Path, waves: np.ndarray, rate: int, codec: str, layout: str, container: str | None = None, begin: float = 0.0
) -> None:
    """`waves` is float `[channels, samples]`. One that begins later than 0 s is written as it comes, without a duration."""
    with av.open(str(path), "w", format=container, options={"live": "1"} if begin else {}) as film:
        stream = film.add_stream(codec, rate=rate, layout=layout)
        stream.bit_rate = 256_000
        stream.codec_context.open()
        size = stream.codec_context.frame_size or 1024
        form = stream.codec_context.format.name
        resampler = av.AudioResampler(format=form, layout=layout, rate=rate)
        for start in range(0, waves.shape[1], size):
            block = np.ascontiguousarray(waves[:, start : start + size], np.float32)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start + round(begin * rate), Fraction(1, rate)
            for ready in resampler.resample(frame):
                film.mux(stream.encode(ready))
        film.mux(stream.encode())
