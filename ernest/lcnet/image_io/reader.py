"""Reads picture files into what a network or a data set keeps of them, small files several at once."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from torch import Tensor

from ernest.lcnet.image_io.decode import SMALL, SmallPicture, decode_small
from ernest.lcnet.image_io.preprocess import Preprocessing, fit_picture, normalise_pictures, target_size
from ernest.lcnet.image_io.read import Fit, divisor, read_fitted
from ernest.lcnet.image_io.resize import Frame, resize_window

File = str | Path

TOGETHER = 64
"""Small files that are read in one call."""


@dataclass(frozen=True)
class Reader:
    """Called with a file: what is kept of its picture, uint8 `[height, width, C]`. Raises ValueError, which names the file.

    `size` is the height and width to which a picture of some height and width is resized, and `fit` does that. JPEG is decoded at
    a half, a quarter or an eighth where that is still no smaller, which takes a fraction of the time; what the network sees
    differs by what such decoding smooths. `exact` decodes it whole.
    """

    size: Callable[[int, int], tuple[int, int]]
    fit: Fit
    grey: bool = False
    exact: bool = False

    def __call__(self, file: File) -> np.ndarray:
        return read_fitted(file, self.size, self.fit, self.grey, self.exact)

    def or_reason(self, file: File) -> np.ndarray | str:
        """What is kept of a picture, or why it cannot be read."""
        try:
            return self(file)
        except ValueError as error:
            return str(error)

    def small(self, files: Sequence[File]) -> list[np.ndarray | None]:
        """Of small files what is kept of them, in one call; None for those that have to be read one by one."""
        return [None if one is None else self._fitted(one) for one in decode_small(files, self.grey)]

    def _fitted(self, picture: SmallPicture) -> np.ndarray | None:
        full = picture.levels.shape[:2]
        height, width = full
        if picture.format == "JPEG" and not self.exact and divisor(full, self.size(height, width)) > 1:
            return None
        try:
            return self.fit(picture.levels, full, None)
        except ValueError:  # said again with the name of the file
            return None

    def all(self, files: Iterable[File], pool: Executor) -> Iterator[np.ndarray | str]:
        """What is kept of each, in order, or why it cannot be read; large files are decoded by threads."""
        rest = iter(files)
        while some := list(islice(rest, TOGETHER)):
            small = self.small(some)
            left = [file for file, one in zip(some, small, strict=True) if one is None]
            others = iter((map if are_small(left) else pool.map)(self.or_reason, left))
            yield from (next(others) if one is None else one for one in small)


def network_reader(preprocessing: Preprocessing, exact: bool = False) -> Reader:
    """Pictures resized and cropped for a network, red first."""
    return Reader(
        lambda height, width: target_size(height, width, preprocessing),
        lambda levels, full, frame: fit_picture(levels, preprocessing, full, frame),
        len(preprocessing.mean) == 1,
        exact,
    )


def shrinking_reader(most: int, grey: bool = False) -> Reader:
    """Pictures with a short side of at most `most`: larger ones are shrunk, smaller ones stay."""

    def size(height: int, width: int) -> tuple[int, int]:
        factor = min(1.0, most / min(height, width))
        return max(1, round(height * factor)), max(1, round(width * factor))

    def fit(levels: np.ndarray, full: tuple[int, int], frame: Frame | None) -> np.ndarray:
        levels, wanted = levels[..., None] if grey else levels, size(*full)
        return resize_window(levels, wanted, (0, 0, *wanted), antialias=True, frame=frame)

    return Reader(size, fit, grey)


def read_input(path: File, preprocessing: Preprocessing, exact: bool = False) -> Tensor:
    """A picture as a network gets it, a batch of one. Raises ValueError, which names the file."""
    return normalise_pictures(network_reader(preprocessing, exact)(path)[None], preprocessing)


def are_small(files: Sequence[File]) -> bool:
    """Whether files take Python itself, which does one thing at a time, longer than their decoder, which lets others work
    meanwhile: threads would only take time from each other. What is not there counts for nothing."""
    total = 0
    for file in files:
        with suppress(OSError, ValueError):  # its reader complains
            total += os.stat(file).st_size
    return total <= SMALL * len(files)
