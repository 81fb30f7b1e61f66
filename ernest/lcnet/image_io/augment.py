"""Random augmentation of pictures: elastic distortion, crops, erasing, RandAugment."""

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from PIL import Image

OPERATIONS = (
    "shear x", "shear y", "shift x", "shift y", "colour", "contrast", "brightness", "sharpness", "rotate",
    "posterize", "solarize", "autocontrast", "equalize",
)  # fmt: skip
"""Of RandAugment."""


def elastic_distort(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turns, shears, scales and smoothly warps each picture of `[N, C, H, W]` at random, as handwriting varies.

    How strongly differs by picture, from not at all to about a pixel and a half in 32. What moves in from outside
    continues the border.
    """
    n, _, height, width = images.shape
    strength = torch.rand(n, 1, 1, generator=generator)
    matrix = torch.eye(2) + 0.08 * strength * torch.randn(n, 2, 2, generator=generator)
    knots = 0.06 * strength[..., None] * torch.randn(n, 2, 5, 5, generator=generator)
    shift = F.interpolate(knots, (height, width), mode="bicubic", align_corners=True).movedim(1, -1)
    grid = F.affine_grid(F.pad(matrix, (0, 1)), [n, 1, height, width], align_corners=False) + shift
    return F.grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=False).clamp(0, 1)


def crop_boxes(
    sides: np.ndarray, area: tuple[float, ...], aspect: tuple[float, ...], rng: np.random.Generator, whole: bool = False
) -> np.ndarray:
    """A random box in each picture, from sides `[N, 2]` (height, width): int `[N, 4]` (top, left, height, width).

    Width over height is drawn evenly from `aspect` (not its logarithm), the share of the picture evenly from `area`, which
    ends where a box of this aspect would no longer fit: every draw is a crop, and no picture falls back to its middle
    (PaddleClas, RandCropImage). With `whole` the aspect counts from the picture's own, so that a long one is seen to its ends.
    """
    height, width = sides.T.astype(np.float64)
    ratio = rng.uniform(aspect[0], aspect[1], len(sides)) * (width / height if whole else 1.0)
    fits = np.minimum(width / (height * ratio), height * ratio / width)
    share = rng.uniform(np.minimum(area[0], fits), np.minimum(area[1], fits))
    pixels = share * height * width
    # A hair more than nothing: the square root of a whole picture must not lose its last row to rounding.
    tall, wide = np.sqrt(pixels / ratio) + 1e-9, np.sqrt(pixels * ratio) + 1e-9
    size = np.clip(np.stack([tall, wide], 1).astype(np.int64), 1, sides)
    corner = rng.integers(0, sides - size + 1)
    return np.concatenate([corner, size], 1)


def erase(images: Tensor, share: float, rng: np.random.Generator) -> None:
    """Sets a rectangle in a `share` of the pictures `[N, C, H, W]` to zero, in place: 2 to 33 % of each (arXiv 1708.04896)."""
    sides = np.tile(images.shape[2:], (len(images), 1))
    boxes = crop_boxes(sides, (0.02, 1 / 3), (0.3, 3.3), rng)
    for image, (top, left, height, width), hit in zip(images, boxes, rng.random(len(images)) < share, strict=True):
        if hit:
            image[:, top : top + height, left : left + width] = 0


def rand_augment(picture: np.ndarray, count: int, magnitude: float, rng: np.random.Generator) -> np.ndarray:
    """`count` of `OPERATIONS` drawn, one after the other, on a picture uint8 `[H, W, C]` (arXiv 1909.13719).

    `magnitude` runs from 0, which changes little or nothing, to 10. Needs Pillow.
    """
    from PIL import Image

    grey = picture.shape[2] == 1
    image = Image.fromarray(picture[..., 0] if grey else picture)
    for number, sign in zip(rng.integers(len(OPERATIONS), size=count), rng.choice([-1.0, 1.0], count), strict=True):
        image = _changed(image, OPERATIONS[number], sign * (magnitude / 10), 128 if grey else (128, 128, 128))
    changed = np.asarray(image)
    return changed[..., None] if grey else changed


def _changed(image: "Image.Image", operation: str, amount: float, fill: int | tuple[int, ...]) -> "Image.Image":
    """By one of `OPERATIONS`; `amount` is -1 to 1, of which those without two directions take the size. `fill` is the grey that
    moves in from outside."""
    from PIL import Image, ImageEnhance, ImageOps

    affine = lambda *matrix: image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=fill)
    factor = 1 + 0.9 * amount
    match operation:
        case "shear x":
            return affine(1, 0.3 * amount, 0, 0, 1, 0)
        case "shear y":
            return affine(1, 0, 0, 0.3 * amount, 1, 0)
        case "shift x":
            return affine(1, 0, 0.45 * amount * image.width, 0, 1, 0)
        case "shift y":
            return affine(1, 0, 0, 0, 1, 0.45 * amount * image.height)
        case "colour":
            return ImageEnhance.Color(image).enhance(factor)
        case "contrast":
            return ImageEnhance.Contrast(image).enhance(factor)
        case "brightness":
            return ImageEnhance.Brightness(image).enhance(factor)
        case "sharpness":
            return ImageEnhance.Sharpness(image).enhance(factor)
        case "rotate":
            return image.rotate(30 * amount, fillcolor=fill)
        case "posterize":
            return ImageOps.posterize(image, 8 - round(4 * abs(amount)))
        case "solarize":
            return ImageOps.solarize(image, 256 - round(256 * abs(amount)))
        case "autocontrast":
            return ImageOps.autocontrast(image)
        case _:
            return ImageOps.equalize(image)
