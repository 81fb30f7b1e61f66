"""Opens picture files and decodes them: upright, in eight bits, JPEG at a fraction of its size where that does."""

import os
import stat
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ernest.lcnet.image_io.decode import decode_eighth
from ernest.lcnet.image_io.find import POINTER, UNFETCHED, printable
from ernest.lcnet.image_io.resize import Frame

if TYPE_CHECKING:
    from PIL.Image import Image

ORIENTATION = 0x0112
"""The tag of EXIF that says how the camera was held."""

UPSIDE_DOWN, RIGHT_TO_LEFT = (3, 4, 7, 8), (2, 3, 6, 7)
"""Its values for which the last pixels of the file end up at the top, or at the left."""

PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
"""The tag of TIFF that says which end of the levels is white, and its value for scans whose largest level is black."""

NOTES = frozenset({"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"})
"""Where Pillow keeps what a camera noted, but for TIFF, whose own tags say it; to look there takes as long as a tiny picture."""

FRACTIONS = ("JPEG", "MPO")
"""Formats that can be decoded smaller."""

Fit = Callable[[np.ndarray, tuple[int, int], Frame | None], np.ndarray]
"""From decoded levels `[H, W]` or `[H, W, 3]`, the picture's real height and width, and what it covers of these pixels where it
was decoded smaller, to what is kept of it."""


def read_picture(path: str | Path, grey: bool = False) -> np.ndarray:
    """uint8 `[H, W, 3]`, red first, or `[H, W]`: upright as the camera noted, what is transparent laid on white.

    Of an animation the first frame; of sixteen bits a colour the upper eight. Raises ValueError, which names the file, for
    whatever is wrong with it.
    """
    with _opened(path) as picture:
        turn = _orientation(picture)
        return np.array(_upright(_levels(picture, grey), turn), order="C")


def read_fitted(path: str | Path, size: Callable[[int, int], tuple[int, int]], fit: Fit, grey: bool, exact: bool) -> np.ndarray:
    """What `fit` makes of a picture, uint8, whose height and width `size` says to what it will be resized.

    JPEG is decoded at a half, a quarter or an eighth where that is still no smaller, unless `exact`. Raises ValueError with the
    file.
    """
    with _opened(path) as picture:
        turn = _orientation(picture)
        height, width = _upright_size(picture, turn)
        fraction = 1 if exact else _divisor(picture, turn, size(height, width))
        levels, frame = _decoded(picture, turn, fraction, grey)
        return fit(levels, (height, width), frame)


@contextmanager
def _opened(path: str | Path) -> Iterator["Image"]:
    """A picture whose header has been read. Whatever goes wrong with it, within the body too, is a ValueError of this file."""
    from PIL import Image, UnidentifiedImageError

    try:
        _check_file(path)
        with _SILENCE, Image.open(path) as picture:
            yield picture
    except UnidentifiedImageError:
        raise ValueError(f"{printable(str(path))}: {_unknown(path)}") from None
    except Exception as error:  # decoders raise whatever their formats lead them to
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ValueError(f"{printable(str(path))}: {' '.join(reason.split()) or type(error).__name__}") from None


def _unknown(path: str | Path) -> str:
    """What a file is that Pillow does not know."""
    with open(path, "rb") as file:
        start = file.read(len(POINTER))
    if start == POINTER:
        return f"expected a picture, got {UNFETCHED}"
    if not start:
        return "expected a picture, got an empty file"
    if start[4:8] == b"ftyp" and start[8:12].startswith((b"he", b"mif1", b"msf1")):
        return "a picture in HEIF, as telephones take them, which Pillow does not read: convert it to JPEG or PNG"
    return "expected a picture, which this is not"


def _check_file(path: str | Path) -> None:
    """Raises ValueError or OSError for what is no file: a pipe would be waited for."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise ValueError("there is no such file") from None
    if stat.S_ISDIR(mode):
        os.scandir(path).close()  # which tells why it cannot be read
        raise ValueError("expected a picture, got a folder")
    if not stat.S_ISREG(mode):
        raise ValueError("expected a picture, got no regular file")


def upright_size(picture: "Image") -> tuple[int, int]:
    """Height and width of an open picture once it is upright, by its header alone: pixels and what stands behind them wait."""
    return _upright_size(picture, 1 if hasattr(picture, "tag_v2") else _noted_turn(picture))  # TIFF's size is the upright one


def _upright_size(picture: "Image", turn: int) -> tuple[int, int]:
    """Height and width once it is upright."""
    width, height = picture.size
    return (width, height) if turn >= 5 else (height, width)


def _orientation(picture: "Image") -> int:
    """From 1, upright, to 8. What the camera noted counts for nothing where it cannot be read."""
    if picture.format not in FRACTIONS:
        picture.load()  # notes of PNG may stand behind the pixels, and TIFF is turned by being decoded
    return _noted_turn(picture)


def _noted_turn(picture: "Image") -> int:
    """The orientation by what has been read of a picture so far; 1 where that says nothing."""
    if not NOTES & picture.info.keys() and not hasattr(picture, "tag_v2"):
        return 1
    try:
        noted = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # malformed in any way: the picture itself may be whole
        return 1
    return noted if noted in range(1, 9) else 1


def _divisor(picture: "Image", turn: int, size: tuple[int, int]) -> int:
    """By how much a JPEG can be decoded smaller, but no smaller than upright height and width: 1, 2, 4 or 8."""
    if picture.format not in FRACTIONS or picture.mode not in ("L", "RGB"):
        return 1
    height, width = size
    return divisor((picture.height, picture.width), (width, height) if turn >= 5 else (height, width))


def divisor(full: tuple[int, int], wanted: tuple[int, int]) -> int:
    """By how much height and width can be divided and be no smaller than wanted: 1, 2, 4 or 8."""
    fraction = min(full[0] // wanted[0], full[1] // wanted[1])
    return 8 if fraction >= 8 else 4 if fraction >= 4 else 2 if fraction >= 2 else 1


def _decoded(picture: "Image", turn: int, by: int, grey: bool) -> tuple[np.ndarray, Frame | None]:
    """A picture, a JPEG at a fraction, and what the upright one covers of those pixels: of the last ones, which may end up first
    when it is turned, `1 / by` or more. None where it is decoded whole."""
    if by == 1:
        return _upright(_levels(picture, grey), turn), None
    full = picture.height, picture.width
    eighth = _eighth(picture, grey) if by == 8 else None
    if eighth is None:
        picture.draft("L" if grey else picture.mode, (picture.width // by, picture.height // by))
    levels = _upright(_levels(picture, grey) if eighth is None else eighth, turn)
    tall, wide = (side / by for side in (full[::-1] if turn >= 5 else full))
    top = levels.shape[0] - tall if turn in UPSIDE_DOWN else 0.0
    left = levels.shape[1] - wide if turn in RIGHT_TO_LEFT else 0.0
    return levels, (top, left, top + tall, left + wide)


def _eighth(picture: "Image", grey: bool) -> np.ndarray | None:
    """What Pillow's draft mode would make of a JPEG, or None if only Pillow can."""
    file = getattr(picture, "fp", None)
    if file is None or not (grey or picture.mode == "RGB"):
        return None
    file.seek(0)
    return decode_eighth(file.read(), picture.height, picture.width, grey)


def _upright(levels: np.ndarray, turn: int) -> np.ndarray:
    """Rows and columns as the camera was held."""
    if turn >= 5:
        levels = levels.swapaxes(0, 1)
    return levels[:: -1 if turn in UPSIDE_DOWN else 1, :: -1 if turn in RIGHT_TO_LEFT else 1]


def _levels(picture: "Image", grey: bool) -> np.ndarray:
    """Decoded by Pillow, on white, in eight bits."""
    from PIL import Image

    picture.load()
    picture = _eight_bits(picture)
    if picture.has_transparency_data:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    if picture.mode == "LAB":  # which becomes red, green and blue, but not grey at once
        picture = picture.convert("RGB")
    mode = "L" if grey else "RGB"
    return np.asarray(picture if picture.mode == mode else picture.convert(mode))


def _eight_bits(picture: "Image") -> "Image":
    """The upper eight bits of sixteen, which is what Pillow keeps of sixteen bits a colour, but not of sixteen bits of grey."""
    from PIL import Image

    sixteen = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM"))
    clear = picture.info.get("transparency")
    if not sixteen:
        if picture.mode in ("I", "F") or ";" in picture.mode:
            raise ValueError(f"expected eight or sixteen bits a colour, got {picture.mode}")
        if isinstance(clear, tuple) and max(clear) > 255:  # the colour that is transparent has sixteen bits still
            picture.info["transparency"] = tuple(value >> 8 for value in clear)
        return picture
    levels = np.clip(np.asarray(picture), 0, 65535)
    if getattr(picture, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO:  # which Pillow heeds in eight bits only
        levels = 65535 - levels
    return Image.fromarray(np.where(levels == clear, 255, levels >> 8).astype(np.uint8))


class _Silence:
    """Keeps warnings quiet while any thread is inside: Pillow warns, and then raises or copes."""

    def __init__(self) -> None:
        self.lock, self.inside, self.before = threading.Lock(), 0, warnings.catch_warnings()

    def __enter__(self) -> None:
        with self.lock:
            self.inside += 1
            if self.inside == 1:
                self.before = warnings.catch_warnings(action="ignore")
                self.before.__enter__()

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.before.__exit__(None, None, None)


_SILENCE = _Silence()
