"""Reads picture files into arrays and network inputs, and lists the pictures of folders."""

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from ernest.lcnet.image_io.preprocess import Preprocessing, prepare

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""What is taken for a picture in a folder; a file that is named may be called anything."""


def read_picture(path: str | Path, grey: bool = False) -> np.ndarray:
    """uint8 `[H, W, 3]`, red first, or `[H, W]`: upright as the camera noted, what is transparent laid on white.

    Of an animation the first frame. Raises ValueError, which names the file, for what is no whole picture of eight bits.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as picture:  # Pillow warns, and then raises or copes
            if picture.mode in ("I", "F") or ";" in picture.mode:
                raise ValueError(f"expected eight bits a colour, got {picture.mode}")
            picture = ImageOps.exif_transpose(picture)
            if picture.has_transparency_data:
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
            return np.array(picture.convert("L" if grey else "RGB"))
    except UnidentifiedImageError:
        raise ValueError(f"{path}: expected a picture, which this is not") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: {error}") from None


def read_input(path: str | Path, preprocessing: Preprocessing) -> Tensor:
    """A picture as a network gets it, a batch of one. Raises ValueError, which names the file."""
    picture = read_picture(path, grey=len(preprocessing.mean) == 1)
    try:
        return prepare(picture, preprocessing)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def picture_files(paths: Iterable[str | Path]) -> Iterator[Path]:
    """Files as they are named; of a folder all pictures in it and below it, sorted. Raises ValueError if it has none."""
    for path in map(Path, paths):
        if not path.is_dir():
            yield path
            continue
        inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
        if not inside:
            raise ValueError(f"{path}: expected a folder with pictures ({', '.join(sorted(SUFFIXES))})")
        yield from inside
