"""Films as they are seen: turned as the camera noted, with the shape of their pixels, on white where nothing is, by time."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from ernest.data.mediafile import MediaFile, library
from ernest.data.pictures import Shown, Size, fitted, sampled

# Playlists and the like, which would open other files, are none of these.
_CONTAINERS = (
    "mov,matroska,avi,ogg,mp3,aac,asf,flv,mpegts,mpeg,mpegvideo,ivf,nut,rm,mxf,dv,flac,wav,w64,aiff,au,"
    "caf,amr,ac3,eac3,dts,ape,wv,tta,tak,m4v,gxf"
)
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that read the transparency of these, which those that ffmpeg takes by itself pass over."""


def open_film(file: MediaFile, content: Any) -> Any:
    """PyAV's container of a film or sound; `content` is the file, opened."""
    content.seek(0)
    return library("av", file).open(content, options={"format_whitelist": _CONTAINERS}, metadata_errors="replace")


def moving_pictures(film: Any) -> Any | None:
    """Its first stream of pictures that is no cover, which belongs to a sound; None where there is none."""
    return next((stream for stream in film.streams.video if not int(stream.disposition) & _ATTACHED_PICTURE), None)


_ATTACHED_PICTURE = 0x400


def read_film(file: MediaFile, frames: int, size: Size, rate: float | None = None) -> np.ndarray:
    """The film as uint8 `[frames, *size, 3]`, spread over all of it, or with a `rate` so many a second from its beginning.

    Packets are gone through once for the time, and then decoded one by one.
    """
    with file.open() as content:
        with open_film(file, content) as film:
            stream = _pictures(film)
            times = _times(film, stream)
        if not len(times):
            raise ValueError("it has no frames")
        with open_film(file, content) as film:
            stream = _pictures(film)
            end = times[-1] if rate is None else times[0] + frames / rate / float(stream.time_base)
            return sampled(_shown(film, stream, times, size), frames, times[0], end)


def _pictures(film: Any) -> Any:
    stream = moving_pictures(film)
    if stream is None:
        raise ValueError("it has no moving pictures")
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > (Image.MAX_IMAGE_PIXELS or width * height):
        raise Image.DecompressionBombError(f"Frames of {width} x {height} pixels exceed limit of {Image.MAX_IMAGE_PIXELS} pixels")
    stream.codec_context.thread_count = 1  # each thread holds frames of its own, whatever their size
    return stream


def _times(film: Any, stream: Any) -> np.ndarray:
    """When each frame is first shown, in the stream's unit, in order, and at last when the film ends."""
    shown = []
    for number, packet in enumerate(film.demux(stream)):
        if packet.size and not packet.is_discard:
            start = packet.pts if packet.pts is not None else packet.dts
            shown.append((number if start is None else start, packet.duration or 0))
    if not shown:
        return np.zeros(0)
    order = np.sort(np.array([start for start, _ in shown], np.int64))
    usual = (order[-1] - order[0]) / (len(order) - 1) if len(order) > 1 else 1.0
    # Of frames in between, mp4 tells when the next packet is decoded, which may be long after the last one is shown.
    _, lasts = max(shown)
    return np.append(order, order[-1] + (lasts or usual))


def _shown(film: Any, stream: Any, times: np.ndarray, size: Size) -> Iterator[Shown]:
    """Each frame, and when the next one takes its place."""
    aspect = float(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1)
    before = None
    for number, frame in enumerate(_frames(film, stream)):
        if before is not None:
            start = times[min(number, len(times) - 2)] if frame.pts is None else frame.pts
            yield partial(_upright, before, aspect, size), start
        before = frame
    if before is not None:
        yield partial(_upright, before, aspect, size), times[-1]


def _frames(film: Any, stream: Any) -> Iterator[Any]:
    """Frames in the order in which they are shown."""
    from av import CodecContext

    decoder: Any = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1" and decoder.name in _WITH_ALPHA:
        decoder = CodecContext.create(_WITH_ALPHA[decoder.name], "r")
    for packet in film.demux(stream):
        yield from decoder.decode(packet if packet.size else None)


def _upright(frame: Any, aspect: float, size: Size) -> np.ndarray:
    """The frame with pixels `aspect` times as wide as high, as uint8 `[*size, 3]`."""
    transparent = any(component.is_alpha for component in frame.format.components)
    image = Image.fromarray(frame.to_ndarray(format="rgba" if transparent else "rgb24"))
    # The container's matrix takes a pixel (x, y) to (a x + c y, b x + d y).
    matrix = next((bytes(data) for data in frame.side_data if data.type.name == "DISPLAYMATRIX"), None)
    a, b, _, c, d = np.sign(np.frombuffer(matrix, "<i4")[:5].astype(float)) if matrix else (1, 0, 0, 0, 1)
    lies = abs(b) > 0.5 and abs(c) > 0.5
    shown = fitted(image, (size[1], size[0]) if lies else size, aspect)
    if lies:
        shown, a, d = shown.swapaxes(0, 1), c, b
    return np.ascontiguousarray(shown[:: int(d) or 1, :: int(a) or 1])
