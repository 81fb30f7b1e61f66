"""Imports MNIST's files as a folder of records."""

import gzip
import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ernest.config.media import USUAL, MediaSpec
from ernest.data.importers import ImportSummary, both_directions
from ernest.data.record_writer import save_records
from ernest.sequence.record import Record

DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def import_mnist(
    folder: Path | str, output: Path | str, split: str = "train", limit: int | None = None, spec: MediaSpec = USUAL
) -> ImportSummary:
    """Write MNIST's idx files (packed with gzip or not) in `folder` as records, two for each picture.

    `split` is "train" or "test"; `limit` takes the first pictures only. The 28 x 28 pictures stand in the middle of
    the canvas; their captions are the world's own, "a white seven in the centre". Raises ValueError that names a
    missing or damaged file.
    """
    if split not in ("train", "test"):
        raise ValueError(f'split: {split!r} is neither "train" nor "test"')
    if limit is not None and limit < 1:
        raise ValueError(f"limit = {limit}: expected how many pictures to take, 1 or more")
    stem = "train" if split == "train" else "t10k"
    images = read_idx(Path(folder), f"{stem}-images", dimensions=3)[:limit]
    digits = read_idx(Path(folder), f"{stem}-labels", dimensions=1)[:limit]
    height, width = images.shape[1:]
    if height > spec.height or width > spec.width:
        file = Path(folder) / f"{stem}-images-idx3-ubyte"
        raise ValueError(f"{file}: pictures of {height} x {width}: the canvas has {spec.height} x {spec.width}")
    if len(images) != len(digits) or digits.max(initial=0) > 9:
        raise ValueError(f"{folder}: {len(images)} pictures and {len(digits)} labels, up to {digits.max(initial=0)}: no MNIST")

    def records() -> Iterator[Record]:
        top, left = (spec.height - height) // 2, (spec.width - width) // 2
        for image, digit in zip(images, digits, strict=True):
            canvas = np.zeros((*spec.size, 3), np.uint8)
            canvas[top : top + height, left : left + width] = image[..., None]
            facts = {"digit": int(digit), "colour": "white", "place": "centre"}
            yield from both_directions("image", canvas, f"a white {DIGIT_NAMES[digit]} in the centre", facts)

    return ImportSummary(save_records(output, records(), spec), f"the labels of {stem}")


def read_idx(folder: Path, stem: str, dimensions: int) -> np.ndarray:
    """The uint8 array of MNIST's idx file `stem`, packed with gzip or not. Raises ValueError where it is missing or damaged.

    Such a file is two zero bytes, type 8 (unsigned byte), number of dimensions, their sizes as big-endian int32, the values.
    """
    names = [f"{stem}{dot}idx{dimensions}-ubyte{packed}" for dot in "-." for packed in ("", ".gz")]
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise ValueError(f"{folder}: there is no file {names[0]}, packed (.gz) or not")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    header = 4 + 4 * dimensions
    sizes = [int.from_bytes(content[start : start + 4], "big") for start in range(4, header, 4)]
    if content[:4] != bytes([0, 0, 8, dimensions]) or len(content) != header + math.prod(sizes):
        raise ValueError(f"{path} is damaged, or no idx file of {dimensions} dimensions")
    return np.frombuffer(content, np.uint8, offset=header).reshape(sizes)
