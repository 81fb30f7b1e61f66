"""Whether drawn pictures are new: beside each its nearest training picture, and how near that is."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

ACROSS = 16
"""Pictures in a row of a sheet."""


def nearest(pictures: Sequence[np.ndarray], training: np.ndarray, chunk: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Of each picture uint8 `[height, width, 3]`: the number of the training picture nearest to it, and the root of the mean
    squared difference of their pixels, in levels of 255."""
    asked = np.stack(pictures).reshape(len(pictures), -1).astype(np.float32)
    best, distance = np.zeros(len(asked), np.int64), np.full(len(asked), np.inf, np.float32)
    for start in range(0, len(training), chunk):
        part = training[start : start + chunk].reshape(-1, asked.shape[1]).astype(np.float32)
        # |a - b|² = |a|² - 2 a·b + |b|²
        squares = (asked**2).sum(1)[:, None] - 2 * asked @ part.T + (part**2).sum(1)[None]
        number = squares.argmin(1)
        found = squares[np.arange(len(asked)), number]
        closer = found < distance
        best[closer], distance[closer] = start + number[closer], found[closer]
    return best, np.sqrt(np.maximum(distance, 0) / asked.shape[1])


def write_sheet(
    path: Path, pictures: Sequence[np.ndarray], beside: Sequence[np.ndarray], across: int = ACROSS, times: int = 4
) -> None:
    """A picture of each picture, and below it the one that stands beside it; so many in a row, so many times as large."""
    pairs = [np.concatenate([one, other]) for one, other in zip(pictures, beside, strict=True)]
    height, width = pairs[0].shape[:2]
    sheet = np.full((-(-len(pairs) // across) * (height + 4), across * (width + 2), 3), 255, np.uint8)
    for number, pair in enumerate(pairs):
        top, left = number // across * (height + 4), number % across * (width + 2)
        sheet[top : top + height, left : left + width] = pair
    Image.fromarray(sheet).resize((times * sheet.shape[1], times * sheet.shape[0]), Image.Resampling.NEAREST).save(path)
