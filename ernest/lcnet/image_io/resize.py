"""Resizes pictures of any shape, but only the window that is kept of the result: time and memory follow what is kept."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from ernest.lcnet.image_io.compiled import library

Kernel = Literal["bilinear", "cubic"]
Window = tuple[int, int, int, int]
"""Top, left, height and width."""

Frame = tuple[float, float, float, float]
"""Top, left, bottom and right, in pixels and parts of them."""

Axis = tuple[float, float]
"""Where a picture begins along one direction, and how many of its pixels make one of the result."""

APART = 4
"""Times as long as a combination of rows takes one of columns, number by number."""


def resize_window(
    picture: np.ndarray,
    size: tuple[int, int],
    window: Window,
    kernel: Kernel = "bilinear",
    antialias: bool = False,
    frame: Frame | None = None,
) -> np.ndarray:
    """A `window` of what uint8 `[H, W]` or `[H, W, C]` (C 1 or 3) would be at `size`, as uint8.

    Without `antialias` the nearest pixels count, as in OpenCV; with it all that a pixel shrinks, as in Pillow. `frame` is what
    the picture really covers of its pixels, where a row or a column at its border is only partly part of it.
    """
    y, x, bottom, right = frame or (0.0, 0.0, *picture.shape[:2])
    down, across = (y, (bottom - y) / size[0]), (x, (right - x) / size[1])
    if down == across == (0.0, 1.0):
        top, left, height, width = window
        return picture[top : top + height, left : left + width]
    resize = _resize_all if antialias else _resize_nearest
    return resize(picture, down, across, window, kernel)


def _resize_nearest(picture: np.ndarray, down: Axis, across: Axis, window: Window, kernel: Kernel) -> np.ndarray:
    """Two or four pixels in each direction: value = sum_ij wy_i wx_j picture[y_i, x_j], rounded once."""
    top, left, height, width = window
    rows, columns = _taps(picture.shape[0], down, top, height, kernel), _taps(picture.shape[1], across, left, width, kernel)
    levels = picture[rows.first : rows.end, columns.first : columns.end]
    # Rows of numbers lie side by side; columns, which lie apart, take APART times as long.
    tall, wide = levels.shape[:2]
    by_rows = height * (wide + APART * width) <= width * (height + APART * tall)
    compiled = library()
    if compiled is None:
        return _combine_both(levels, rows, columns, by_rows).reshape(height, width, *levels.shape[2:])
    channels, made = math.prod(levels.shape[2:]), np.empty((height, width, *levels.shape[2:]), np.uint8)
    if levels.strides[1:] != (channels, 1)[: levels.ndim - 1]:
        levels = np.ascontiguousarray(levels)
    failed = compiled.resize_levels(
        *(levels.ctypes.data, levels.strides[0], *levels.shape[:2], channels, len(rows.places)),
        *(rows.places.ctypes.data, rows.weights.ctypes.data, height),
        *(columns.places.ctypes.data, columns.weights.ctypes.data, width),
        *(by_rows, made.ctypes.data),
    )
    if failed:
        raise MemoryError
    return made


@dataclass(frozen=True)
class Taps:
    """Along one direction, of every pixel of the result: the `places` it is made of, counted from `first` and below `end`, and
    their `weights`, `[taps, count]` each."""

    first: int
    end: int
    places: np.ndarray
    weights: np.ndarray


def _combine_both(levels: np.ndarray, rows: Taps, columns: Taps, by_rows: bool) -> np.ndarray:
    """What the compiled function does, number by number; several times as slow."""
    # Channels lie beside each other in a row, so that every step of numpy is a long one.
    channels = math.prod(levels.shape[2:])
    places = (columns.places[..., None] * channels + np.arange(channels)).reshape(len(columns.places), -1)
    steps = [(rows.places, rows.weights[..., None], 0), (places, np.repeat(columns.weights, channels, 1)[:, None], 1)]
    flat = levels.reshape(len(levels), -1)
    for some, part, axis in steps if by_rows else steps[::-1]:
        flat = _combine(flat, some, part, axis)
    flat += np.float32(0.5)  # what is cut off then is rounded: nothing is negative
    return flat.clip(0, 255, out=flat).astype(np.uint8)


def _combine(levels: np.ndarray, places: np.ndarray, weights: np.ndarray, axis: int) -> np.ndarray:
    """Sums of lines or columns at `places` `[taps, count]`, each times its weight."""
    total = np.take(levels, places[0], axis, mode="clip") * weights[0]
    for place, weight in zip(places[1:], weights[1:], strict=True):
        total += np.take(levels, place, axis, mode="clip") * weight
    return total


@lru_cache(64)
def _taps(length: int, axis: Axis, first: int, count: int, kernel: Kernel) -> Taps:
    """Of `count` pixels from `first` on. Many small pictures of one size want the same."""
    begin, scale = map(np.float32, axis)
    source = scale * (np.arange(first, first + count, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5) + begin
    if kernel == "bilinear":
        source = np.clip(source, 0, length - 1)
        offsets = np.arange(2)
    else:
        offsets = np.arange(-1, 3)
    base = np.floor(source)
    part = (source - base).astype(np.float32)
    places = np.clip(base.astype(np.int64) + offsets[:, None], 0, length - 1)
    if kernel == "bilinear":
        weights = np.stack([1 - part, part])
    else:
        weights = np.stack([_cubic(part + 1), _cubic(part), _cubic(1 - part), _cubic(2 - part)])
    low, end = int(places.min()), int(places.max()) + 1
    return Taps(low, end, np.ascontiguousarray(places - low, np.int32), np.ascontiguousarray(weights, np.float32))


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -3/4, as in OpenCV: (a+2)x³ - (a+3)x² + 1 up to 1, a(x³ - 5x² + 8x - 4) up to 2."""
    a = np.float32(-0.75)
    return np.where(x <= 1, ((a + 2) * x - (a + 3)) * x * x + 1, a * (((x - 5) * x + 8) * x - 4))


def _resize_all(picture: np.ndarray, down: Axis, across: Axis, window: Window, kernel: Kernel) -> np.ndarray:
    """Pillow's own, width first, as in every Pillow before 13.

    That one and later ones begin with the height of some tall pictures, which changes bicubic levels where colours jump, by up
    to 16.
    """
    from PIL import Image

    top, left, height, width = window
    resample = Image.Resampling.BICUBIC if kernel == "cubic" else Image.Resampling.BILINEAR
    rows, (y0, y1) = _span(picture.shape[0], down, top, height, kernel)
    columns, (x0, x1) = _span(picture.shape[1], across, left, width, kernel)
    flat = picture.ndim == 3 and picture.shape[2] == 1
    image = Image.fromarray(np.ascontiguousarray(picture[rows, columns, 0] if flat else picture[rows, columns]))
    # A tall line of text that becomes wide would be stretched along all of its height.
    height_first = image.height * width > 4 * (image.height * image.width + height * width)
    for in_width in (not height_first, height_first):
        if in_width and ((x0, x1) != (0, image.width) or width != image.width):
            image = image.resize((width, image.height), resample, (x0, 0, x1, image.height))
        elif not in_width and ((y0, y1) != (0, image.height) or height != image.height):
            image = image.resize((image.width, height), resample, (0, y0, image.width, y1))
    levels = np.asarray(image)
    return levels[..., None] if flat else levels


def _span(length: int, axis: Axis, first: int, count: int, kernel: Kernel) -> tuple[slice, tuple[float, float]]:
    """The pixels that a stretch of the result is made of, and where it begins and ends among them."""
    start, scale = axis
    begin, end = start + first * scale, min(start + (first + count) * scale, length)
    reach = (2 if kernel == "cubic" else 1) * max(scale, 1.0) + 1
    low, high = max(0, math.floor(begin - reach)), min(length, math.ceil(end + reach))
    return slice(low, high), (begin - low, end - low)
