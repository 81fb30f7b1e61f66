"""Reads the pictures, films and sounds that clients send, on one thread of its own; what would be too much is refused unread.

One thread, since the readers share Python's filters of warnings, which refuse what is too large; and since a client that sends
many large pictures then waits for itself.
"""

import asyncio
import base64
import binascii
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from urllib.parse import unquote, unquote_to_bytes

import numpy as np

from ernest.config.media import MediaSpec
from ernest.data import media
from ernest.data.films import moving_pictures, open_film
from ernest.data.mediafile import TOO_LARGE, MediaFile, strictly
from ernest.data.pictures import frame_count, open_picture
from ernest.sequence.record import Kind, Segment, given
from ernest.serve import errors
from ernest.serve.limits import Limits

T = TypeVar("T")
_DATA_URL = re.compile(r"data:(?:[\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+=[^;,]*)*(?P<base64>;base64)?,", re.IGNORECASE)


_OF_URLS = str.maketrans("-_", "+/")


class Reader:
    """Reads media of requests, within the limits of a server."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._thread = ThreadPoolExecutor(1, "media")

    async def read(self, name: str, content: bytes, spec: MediaSpec, *kinds: Kind) -> Segment:
        """A given segment of one of `kinds` at the sizes of `spec`, from the bytes of a file. Raises ApiError, with `name` as the
        field."""
        kind, data = await self._run(name, lambda: self._read(name, content, spec, kinds))
        return given(kind, data)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self, name: str, function: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function)
        except (ValueError, ImportError, OSError) as error:
            raise errors.wrong(str(error), name) from None

    def _read(self, name: str, content: bytes, spec: MediaSpec, kinds: tuple[Kind, ...]) -> tuple[Kind, np.ndarray]:
        if not content:
            raise ValueError(f"{name}: the file is empty")
        file = MediaFile(name, "", content=content)
        try:
            with strictly():
                size = _pixels(file, self.limits.pixels)
        except TOO_LARGE:
            size = self.limits.pixels + 1
        if size > self.limits.pixels:
            raise ValueError(f"{name}: more than {self.limits.pixels:,} pixels in all its frames")
        if kinds == ("audio",):
            return "audio", media.read_audio(file, spec)
        if kinds == ("image",):
            return "image", media.read_image(file, spec)
        kind, data = media.read_any(file, spec)
        if kind not in kinds:
            raise ValueError(f"{name}: expected {' or '.join(kinds)}, and it holds {kind}")
        return kind, data


def _pixels(file: MediaFile, most: int) -> int:
    """Of all frames of a picture or film, before any is decoded; more than `most` are not counted. 0 for what is none."""
    try:
        with file.open() as content, open_picture(content) as image:
            return image.width * image.height * frame_count(image)
    except TOO_LARGE:
        raise
    except Exception:  # no picture, or a broken one: reading it says why
        pass
    try:
        with file.open() as content, open_film(file, content) as film:
            stream = moving_pictures(film)
            if stream is None:
                return 0
            area, total = stream.codec_context.width * stream.codec_context.height, 0
            for _ in film.demux(stream):
                total += area
                if total > most:
                    break
            return total
    except Exception:
        return 0


def data_url(name: str, url: str) -> bytes:
    """The bytes of a `data:` URL. Raises ApiError for others: the server fetches nothing for its clients."""
    found = _DATA_URL.match(url[:300])
    if found is None:
        raise errors.unsupported(name, url, "send the file itself, as data:TYPE;base64,…; nothing is fetched from elsewhere")
    rest = url[found.end() :]
    return from_base64(name, unquote(rest)) if found["base64"] else unquote_to_bytes(rest)


def from_base64(name: str, text: str) -> bytes:
    """In lines or in one, of the alphabet for URLs as well, with or without the signs that fill it up. Raises ApiError for what
    is no base64."""
    text = "".join(text.split()).translate(_OF_URLS)
    try:
        return base64.b64decode(text if text.endswith("=") else text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise errors.wrong(f"{name}: not base64", name) from None
