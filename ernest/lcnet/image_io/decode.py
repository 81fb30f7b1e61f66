"""Decoders with the levels of Pillow in a fraction of its time: JPEG at an eighth, small PNG and JPEG files several at once."""

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ernest.lcnet.image_io.compiled import library

SMALL = 65_536
"""Bytes of a file up to which it is small: Pillow's own work, in Python, takes longer than its decoder."""

ROOM = 16_384
"""Pixels of a small picture, on average over the files that are read together; those for which no room is left are left out."""

KINDS = (None, "PNG", "JPEG")


@dataclass(frozen=True)
class SmallPicture:
    """The levels of a small file, uint8 `[H, W, 3]`, red first, or `[H, W]`; memory that it shares with others."""

    format: str
    levels: np.ndarray


def decode_eighth(data: bytes, height: int, width: int, grey: bool) -> np.ndarray | None:
    """uint8 `[ceil(H / 8), ceil(W / 8), 3]`, red first, or without the last axis if `grey`: of a JPEG of H x W pixels.

    None for what is unusual (progressive, more than one scan, other colours than luma and chroma) or damaged, and where there
    is no compiler: Pillow knows what to make of it. Other threads of Python work meanwhile.
    """
    compiled = library()
    if compiled is None:
        return None
    shape = (-(-height // 8), -(-width // 8))
    levels = np.empty(shape if grey else (*shape, 3), np.uint8)
    return None if compiled.jpeg_eighth(data, len(data), height, width, grey, levels.ctypes.data) else levels


def decode_small(files: Sequence[str | Path], grey: bool) -> list[SmallPicture | None]:
    """The pictures of small files, opened, read and decoded in one call, while other threads of Python work.

    None for files that are large, missing, unusual (transparent, of less or more than eight bits, interlaced, progressive, with
    notes of a camera) or damaged, and for all of them where there is no compiler: Pillow knows what to make of them.
    """
    compiled, names = library(), [os.fsencode(file) for file in files]
    if compiled is None or any(b"\0" in name for name in names):
        return [None] * len(files)
    pixels = ROOM * len(files)
    levels = np.empty(3 * pixels, np.uint8)
    found = (ctypes.c_int32 * (3 * len(files)))()
    compiled.small_files(b"\0".join(names) + b"\0", len(files), SMALL, pixels, grey, levels.ctypes.data, found)
    pictures: list[SmallPicture | None] = []
    at, channels = 0, () if grey else (3,)
    for index in range(0, len(found), 3):
        kind, height, width = found[index : index + 3]
        size, name = height * width * (1 if grey else 3), KINDS[kind]
        picture = levels[at : at + size].reshape(height, width, *channels)
        pictures.append(None if name is None else SmallPicture(name, picture))
        at += size
    return pictures
