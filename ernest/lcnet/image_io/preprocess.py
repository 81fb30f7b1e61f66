"""Pre-processing of a picture for a network: resize, crop, normalise, order of colours, as the published networks need it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ernest.lcnet.image_io.compiled import library
from ernest.lcnet.image_io.resize import Frame, Window, resize_window

MOST_PIXELS = 1 << 25
"""Of a picture as a network gets it: 400 MB as numbers."""

AT_ONCE = 1 << 18
"""Numbers that are normalised together: they stay in the cache."""


@dataclass(frozen=True)
class Preprocessing:
    """From pixels to the input of a network. The defaults are those of PaddleClas for ImageNet.

    `resize` is the length of the short side, or exactly (height, width); `crop` the (height, width) kept of the middle.
    `mean` and `std` belong to the channels as the network gets them, red first unless `bgr`; one of each makes a grey
    network. OpenCV looks at the nearest pixels only; Pillow and torchvision at all that they shrink (`antialias`).
    timm cuts the fraction of the long side off (`truncate`); torchvision, and so timm, rounds the corner of the crop to even
    (`even`), PaddleClas and Hugging Face down. With `letterbox` a picture keeps its form inside the (height, width) of `resize`;
    what is left beside it gets the mean.
    """

    resize: int | tuple[int, int] = 256
    crop: tuple[int, int] | None = (224, 224)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    bgr: bool = False
    cubic: bool = False
    antialias: bool = False
    truncate: bool = False
    even: bool = False
    letterbox: bool = False

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise ValueError(f"mean and std: expected one or three values each, got {self.mean} and {self.std}")
        if min(self.std) <= 0:
            raise ValueError(f"std: expected positive values, got {self.std}")
        for field in ("resize", "crop"):
            value = getattr(self, field)
            sides = value if isinstance(value, tuple) else (value,) if value is not None else (1,)
            if min(sides) < 1:
                raise ValueError(f"{field}: expected positive sides, got {value}")
        if self.letterbox and (self.crop is not None or not isinstance(self.resize, tuple)):
            raise ValueError(f"letterbox: expected a resize of (height, width) and no crop, got {self.resize} and {self.crop}")


PADDLECLAS = Preprocessing()
"""PaddleClas, both versions, pretrained and SSLD: OpenCV's bilinear resize, red first."""

TIMM = Preprocessing(cubic=True, antialias=True, truncate=True, even=True)
"""timm's `lcnet_{050,075,100}` and `lcnetv2_*`: bicubic, the middle 87.5 % of 256; `lcnet_{035,150}` are bilinear there."""

HUGGING_FACE = Preprocessing(bgr=True, antialias=True)
"""The document classifiers `doc_ori` and `table_cls`: blue first, yet with the mean and deviation that red has elsewhere."""

TEXT_LINE = Preprocessing(resize=(80, 160), crop=None, bgr=True, antialias=True)
"""The text line classifiers `textline_ori`: every line pressed into 80x160."""


def describe(preprocessing: Preprocessing) -> str:
    """A pre-processing in words: sizes, order of colours, mean."""
    size, crop = preprocessing.resize, preprocessing.crop
    form = "inside" if preprocessing.letterbox else "whole"
    sides = f"{size[0]}x{size[1]} {form}" if isinstance(size, tuple) else f"short side {size}"
    middle = f", middle {crop[0]}x{crop[1]}" if crop else ""
    colours = "grey" if len(preprocessing.mean) == 1 else "blue first" if preprocessing.bgr else "red first"
    kernel = ("bicubic" if preprocessing.cubic else "bilinear") + (" antialiased" if preprocessing.antialias else "")
    return f"{sides}{middle}, {kernel}, {colours}"


def prepare(picture: np.ndarray, preprocessing: Preprocessing = PADDLECLAS) -> Tensor:
    """A picture, uint8 `[H, W, 3]` red first or `[H, W]` grey, as a batch of one: float32 `[1, C, height, width]`.

    A grey picture for a network of three channels is repeated, as picture decoders do. Raises ValueError for any other
    form, and for a picture that is smaller than the crop.
    """
    return normalise_pictures(fit_picture(picture, preprocessing)[None], preprocessing)


def fit_picture(
    picture: np.ndarray,
    preprocessing: Preprocessing = PADDLECLAS,
    full: tuple[int, int] | None = None,
    frame: Frame | None = None,
) -> np.ndarray:
    """A picture as `prepare` takes it, resized and cropped, in grey levels still: uint8 `[height, width, C]`, red first.

    Of a picture that was decoded smaller `full` is its real height and width, and `frame` what it covers of these pixels.
    Raises ValueError as `prepare` does, and for a picture so long that, uncropped, it comes to more than MOST_PIXELS.
    """
    channels = len(preprocessing.mean)
    _check_form(picture, channels)
    size, window = _kept(*(full or picture.shape[:2]), preprocessing)
    kernel = "cubic" if preprocessing.cubic else "bilinear"
    levels = resize_window(picture, size, window, kernel, preprocessing.antialias, frame)
    if picture.ndim == 2:
        levels = np.broadcast_to(levels[..., None], (*levels.shape, channels))
    return in_letterbox(levels, preprocessing) if preprocessing.letterbox else levels


def in_letterbox(levels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Levels `[h, w, C]`, red first, in the middle of the (height, width) of `resize`, on the level of the mean."""
    assert isinstance(preprocessing.resize, tuple)
    (height, width), (tall, wide) = preprocessing.resize, levels.shape[:2]
    mean = preprocessing.mean[::-1] if preprocessing.bgr else preprocessing.mean
    box = np.empty((height, width, levels.shape[2]), np.uint8)
    box[:] = np.round(255 * np.array(mean)).clip(0, 255).astype(np.uint8)
    top, left = (height - tall) // 2, (width - wide) // 2
    box[top : top + tall, left : left + wide] = levels
    return box


def normalise(levels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Grey levels 0 to 255 `[N, C, H, W]`, of any type, to float32 with mean and deviation of `preprocessing` taken out."""
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return (levels / 255).sub_(mean).div_(std)


def normalise_pictures(pictures: np.ndarray, preprocessing: Preprocessing = PADDLECLAS) -> Tensor:
    """Pictures uint8 `[N, H, W, 3]`, red first, as float32 `[N, 3, H, W]`, normalised but neither resized nor cropped.

    Boxes and masks of a detector or segmenter are therefore in the pixels of the pictures. Raises ValueError for any other form.
    """
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != len(preprocessing.mean):
        wanted = f"uint8 [N, H, W, {len(preprocessing.mean)}]"
        raise ValueError(f"pictures: expected {wanted}, got {pictures.dtype} {list(pictures.shape)}")
    if len(pictures) and library() is not None:
        return normalise_each(list(pictures), preprocessing)
    return _normalised_in_parts(pictures, preprocessing)


def normalise_each(pictures: Sequence[np.ndarray], preprocessing: Preprocessing = PADDLECLAS) -> Tensor:
    """`normalise_pictures` of one or more `[H, W, C]`, all of one size, wherever each of them lies. Raises ValueError for another
    number of channels."""
    height, width, channels = pictures[0].shape
    if channels != len(preprocessing.mean):
        raise ValueError(f"pictures: expected {len(preprocessing.mean)} channels, got {channels}")
    compiled = library()
    if compiled is None:
        return _normalised_in_parts(np.stack(pictures), preprocessing)
    order, tables = _tables(preprocessing)
    rows = [np.ascontiguousarray(one) for one in pictures]
    places = np.array([one.ctypes.data for one in rows], np.uintp)
    planes = np.empty((len(rows), channels, height, width), np.float32)
    addresses = (one.ctypes.data for one in (order, tables, planes))
    compiled.normalise_levels(places.ctypes.data, len(rows), height * width, channels, *addresses)
    return torch.from_numpy(planes)


def _normalised_in_parts(pictures: np.ndarray, preprocessing: Preprocessing) -> Tensor:
    """The same without a compiler, so many pictures at once as stay in the cache."""
    count, *sides, channels = pictures.shape
    images = torch.empty(count, channels, *sides)
    pictures = pictures[..., ::-1] if preprocessing.bgr else pictures
    step = max(1, AT_ONCE // max(1, math.prod(pictures.shape[1:])))
    for first in range(0, len(pictures), step):
        # A copy: torch warns of arrays that nobody may write.
        levels = np.array(np.moveaxis(pictures[first : first + step], -1, 1), order="C")
        images[first : first + step] = normalise(torch.from_numpy(levels), preprocessing)
    return images


@lru_cache(64)
def _tables(preprocessing: Preprocessing) -> tuple[np.ndarray, np.ndarray]:
    """Which channel of a picture each one of the network is, and what it gets for each of the 256 levels."""
    levels = np.arange(256, dtype=np.float32) / np.float32(255)
    mean, std = (np.array(values, np.float32)[:, None] for values in (preprocessing.mean, preprocessing.std))
    order = np.arange(len(mean), dtype=np.int32)
    return np.ascontiguousarray(order[::-1] if preprocessing.bgr else order), (levels - mean) / std


def target_size(height: int, width: int, preprocessing: Preprocessing) -> tuple[int, int]:
    """Height and width of a picture after resizing."""
    if isinstance(preprocessing.resize, tuple):
        return inside(height, width, preprocessing.resize) if preprocessing.letterbox else preprocessing.resize
    short, factor = preprocessing.resize, preprocessing.resize / min(height, width)
    if preprocessing.truncate:
        return (short, short * width // height) if height <= width else (short * height // width, short)
    return round(height * factor), round(width * factor)


def inside(height: int, width: int, box: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a picture that keeps its form and just fits into a box."""
    factor = min(box[0] / height, box[1] / width)
    return max(1, min(box[0], round(height * factor))), max(1, min(box[1], round(width * factor)))


def _check_form(picture: np.ndarray, channels: int) -> None:
    if not isinstance(picture, np.ndarray):
        raise TypeError(f"picture: expected a numpy array, got {type(picture).__name__}; `read_picture` makes one of a file")
    grey, coloured = picture.ndim == 2, picture.ndim == 3 and picture.shape[-1] == 3
    if picture.dtype != np.uint8 or not (grey or (coloured and channels == 3)) or 0 in picture.shape:
        wanted = "[H, W, 3] or [H, W]" if channels == 3 else "[H, W]"
        raise ValueError(f"picture: expected uint8 {wanted}, got {picture.dtype} {list(picture.shape)}")


@lru_cache(256)
def _kept(height: int, width: int, preprocessing: Preprocessing) -> tuple[tuple[int, int], Window]:
    """The size to which a picture is resized, and the window of it that is kept. Many small pictures of one size ask the same."""
    size = target_size(height, width, preprocessing)
    window = _middle(size, preprocessing.crop, preprocessing.even) if preprocessing.crop else (0, 0, *size)
    if window[2] * window[3] > MOST_PIXELS:
        raise ValueError(f"resized to {size[0]}x{size[1]} pixels it would be too long: it has {height}x{width}")
    return size, window


def _middle(size: tuple[int, int], kept: tuple[int, int], even: bool) -> Window:
    spare = [side - inside for side, inside in zip(size, kept, strict=True)]
    if min(spare) < 0:
        raise ValueError(f"crop: {kept} does not fit into the resized picture of {size}")
    top, left = (round(extra / 2) if even else extra // 2 for extra in spare)
    return top, left, *kept
