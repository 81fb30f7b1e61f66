"""Pictures and animations as they are seen: upright, on white, whole in a frame, each frame for as long as it is shown."""

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF")
"""Pillow's names of the formats that are read."""
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
_KEPT = 256
"""Frames of an animation that are kept until its duration is known; of longer ones durations are read first."""

Shown = tuple[Callable[[], np.ndarray], float]
"""What makes the frame, uint8 `[height, width, 3]`, and the time at which it is no longer shown."""
Size = tuple[int, int]
"""Height and width, in pixels."""


def open_picture(file: BinaryIO) -> Image.Image:
    """The picture or animation, not yet decoded."""
    return Image.open(file, formats=FORMATS)


def first_page(image: Image.Image) -> int:
    """The frame with which it begins: an APNG may have a still before its first, for programs that do not know APNG."""
    return int(bool(getattr(image, "default_image", False)) and getattr(image, "n_frames", 1) > 1)


def frame_count(image: Image.Image) -> int:
    """1 for a still; the pages of a TIFF and the further pictures of a camera's JPEG are no film."""
    return getattr(image, "n_frames", 1) - first_page(image) if image.format in _ANIMATED else 1


def still(image: Image.Image, size: Size) -> np.ndarray:
    """The picture, or the first frame of an animation, as uint8 `[*size, 3]`."""
    if image.format in ("JPEG", "MPO"):  # decoded at an eighth, a quarter or half where that is still four times as large
        longest = 4 * max(size)  # of a picture that lies on its side, height and width are not known yet
        image.draft(None, (longest, longest))
    if first_page(image):
        image.seek(1)
    return fitted(image, size)


def animation(image: Image.Image, frames: int, size: Size, rate: float | None = None) -> np.ndarray:
    """Its time is cut into `frames` equal parts, and each gives its first frame: uint8 `[frames, *size, 3]`.

    With a `rate`, the parts are those of so many a second, from its beginning.
    """
    if frame_count(image) <= _KEPT:
        pages = [(fitted(image, size), lasts) for lasts in _pages(image)]
        ends = np.cumsum([lasts for _, lasts in pages])
        shown = ((lambda page=page: page, end) for (page, _), end in zip(pages, ends, strict=True))
        return sampled(shown, frames, 0, ends[-1] if rate is None else 1000 * frames / rate)
    total = sum(_pages(image)) if rate is None else 1000 * frames / rate
    return sampled(((lambda: fitted(image, size), end) for end in accumulate(_pages(image))), frames, 0, total)


def sampled(shown: Iterable[Shown], frames: int, start: float, end: float) -> np.ndarray:
    """The frames that are shown at the beginnings of `frames` equal parts of the time from `start` to `end`.

    Only those are made. What would be shown after the last frame is the last frame.
    """
    # A little after the moment of change, lest rounding shows the frame before.
    moments = start + (np.arange(frames) / frames + 1e-6) * (end - start)
    taken: list[np.ndarray] = []
    last = None
    for make, until in shown:
        count = int(np.searchsorted(moments, until, side="left")) - len(taken)
        taken += [make()] * count if count > 0 else []
        last = make
        if len(taken) == frames:
            break
    if last is None:
        raise ValueError("it has no frames")
    return np.stack(taken + [last()] * (frames - len(taken)) if len(taken) < frames else taken)


def fitted(image: Image.Image, size: Size, aspect: float = 1.0) -> np.ndarray:
    """The picture upright (as its camera noted), in RGB on white, whole, in the middle of a frame: uint8 `[*size, 3]`.

    `aspect` is the width of a pixel by its height.
    """
    image.load()
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    image = _plain_mode(image)
    sides = image.width * aspect, image.height
    height, width = size
    scale = min(width / sides[0], height / sides[1])
    target = max(1, round(sides[0] * scale)), max(1, round(sides[1] * scale))
    if image.size != target:
        # Pillow weighs colours by how much of them is seen, so what is hidden does not run into the edges.
        image = image.resize(target, Image.Resampling.LANCZOS, reducing_gap=4.0)
    if image.mode == "RGB" and target == (width, height):
        return np.asarray(image).copy()
    page = Image.new("RGB", (width, height), "white")
    corner = (width - target[0]) // 2, (height - target[1]) // 2
    page.paste(image, corner, image if image.mode == "RGBA" else None)
    return np.asarray(page).copy()


_ORIENTATION = 0x0112


def _plain_mode(image: Image.Image) -> Image.Image:
    """In RGB, or in RGBA where something may be transparent."""
    if image.mode.startswith("I"):
        # Pillow itself would clip 16 bits to 8 instead of scaling them.
        return Image.fromarray((np.asarray(image) / 257).clip(0, 255).round().astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range: save it with 8 or 16 bits a channel")
    transparent = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    wanted = "RGBA" if transparent else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


def _pages(image: Image.Image) -> Iterator[float]:
    """Goes through the frames; of each, the milliseconds for which browsers show it: what says 10 or less is shown for 100."""
    start = first_page(image)
    for page in range(start, start + frame_count(image)):
        image.seek(page)
        image.load()
        lasts = float(image.info.get("duration") or 0)
        yield lasts if lasts > 10 else 100.0
