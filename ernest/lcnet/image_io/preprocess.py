"""Pre-processing of a picture for a network: resize, crop, normalise, order of colours, as the published networks need it."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Preprocessing:
    """From pixels to the input of a network. The defaults are those of PaddleClas for ImageNet.

    `resize` is the length of the short side, or exactly (height, width); `crop` the (height, width) kept of the middle.
    `mean` and `std` belong to the channels as the network gets them, red first unless `bgr`; one of each makes a grey
    network. OpenCV looks at the nearest pixels only; Pillow and torchvision at all that they shrink (`antialias`).
    timm cuts the fraction of the long side off (`truncate`); torchvision, and so timm, rounds the corner of the crop to even
    (`even`), PaddleClas and Hugging Face down.
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
    sides = f"{size[0]}x{size[1]} whole" if isinstance(size, tuple) else f"short side {size}"
    middle = f", middle {crop[0]}x{crop[1]}" if crop else ""
    colours = "grey" if len(preprocessing.mean) == 1 else "blue first" if preprocessing.bgr else "red first"
    kernel = ("bicubic" if preprocessing.cubic else "bilinear") + (" antialiased" if preprocessing.antialias else "")
    return f"{sides}{middle}, {kernel}, {colours}"


def prepare(picture: np.ndarray, preprocessing: Preprocessing = PADDLECLAS) -> Tensor:
    """A picture, uint8 `[H, W, 3]` red first or `[H, W]` grey, as a batch of one: float32 `[1, C, height, width]`.

    A grey picture for a network of three channels is repeated, as picture decoders do. Raises ValueError for any other
    form, and for a picture that is smaller than the crop.
    """
    x = _channels(picture, len(preprocessing.mean))
    x = _resized(x, _target(x.shape[2], x.shape[3], preprocessing), preprocessing)
    if preprocessing.crop is not None:
        x = _cropped(x, preprocessing.crop, preprocessing.even)
    if preprocessing.bgr:
        x = x.flip(1)
    return normalise(x, preprocessing)


def normalise(levels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Grey levels 0 to 255 `[N, C, H, W]` to float32 with the mean and the deviation of `preprocessing` taken out."""
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return (levels / 255 - mean) / std


def normalise_pictures(pictures: np.ndarray, preprocessing: Preprocessing = PADDLECLAS) -> Tensor:
    """Pictures uint8 `[N, H, W, 3]`, red first, as float32 `[N, 3, H, W]`, normalised but neither resized nor cropped.

    Boxes and masks of a detector or segmenter are therefore in the pixels of the pictures. Raises ValueError for any other form.
    """
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != len(preprocessing.mean):
        wanted = f"uint8 [N, H, W, {len(preprocessing.mean)}]"
        raise ValueError(f"pictures: expected {wanted}, got {pictures.dtype} {list(pictures.shape)}")
    levels = torch.from_numpy(np.ascontiguousarray(pictures)).movedim(-1, 1).float()
    return normalise(levels.flip(1) if preprocessing.bgr else levels, preprocessing)


def _channels(picture: np.ndarray, channels: int) -> Tensor:
    grey, coloured = picture.ndim == 2, picture.ndim == 3 and picture.shape[-1] == 3
    if picture.dtype != np.uint8 or not (grey or (coloured and channels == 3)) or 0 in picture.shape:
        wanted = "[H, W, 3] or [H, W]" if channels == 3 else "[H, W]"
        raise ValueError(f"picture: expected uint8 {wanted}, got {picture.dtype} {list(picture.shape)}")
    x = torch.from_numpy(np.array(picture)).float()
    return x.expand(1, channels, *x.shape) if grey else x.movedim(-1, 0)[None]


def _target(height: int, width: int, preprocessing: Preprocessing) -> tuple[int, int]:
    """Height and width after resizing."""
    if isinstance(preprocessing.resize, tuple):
        return preprocessing.resize
    short, factor = preprocessing.resize, preprocessing.resize / min(height, width)
    if preprocessing.truncate:
        return (short, short * width // height) if height <= width else (short * height // width, short)
    return round(height * factor), round(width * factor)


def _resized(x: Tensor, size: tuple[int, int], preprocessing: Preprocessing) -> Tensor:
    """Whole grey levels again, as OpenCV hands them on; Pillow has them between width and height too.

    Width comes first, as in every Pillow before 13; that one and later ones begin with the height of some tall pictures,
    which changes bicubic levels where colours jump, by up to 16.
    """
    mode = "bicubic" if preprocessing.cubic else "bilinear"
    for step in ((x.shape[2], size[1]), size) if preprocessing.antialias else (size,):
        if tuple(x.shape[2:]) != step:
            x = F.interpolate(x, step, mode=mode, align_corners=False, antialias=preprocessing.antialias)
            x = x.add(0.5).floor().clamp(0, 255)
    return x


def _cropped(x: Tensor, size: tuple[int, int], even: bool) -> Tensor:
    spare = [side - kept for side, kept in zip(x.shape[2:], size, strict=True)]
    if min(spare) < 0:
        raise ValueError(f"crop: {size} does not fit into the resized picture of {tuple(x.shape[2:])}")
    top, left = (round(extra / 2) if even else extra // 2 for extra in spare)
    return x[:, :, top : top + size[0], left : left + size[1]]
