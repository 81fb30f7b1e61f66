"""From pictures to the input of a detector or a segmenter, and from what they say to pictures for people."""

import colorsys
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ernest.lcnet.heads.boxes import Detections
from ernest.lcnet.image_io.preprocess import PADDLECLAS, Preprocessing
from ernest.lcnet.training.pictures import normalised


def as_input(pictures: np.ndarray, preprocessing: Preprocessing = PADDLECLAS) -> Tensor:
    """Pictures uint8 `[N, H, W, 3]`, red first, as float32 `[N, 3, H, W]`, normalised but neither resized nor cropped.

    So boxes and masks are in the pixels of the pictures. Raises ValueError for any other form.
    """
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != len(preprocessing.mean):
        wanted = f"uint8 [N, H, W, {len(preprocessing.mean)}]"
        raise ValueError(f"pictures: expected {wanted}, got {pictures.dtype} {list(pictures.shape)}")
    levels = torch.from_numpy(np.ascontiguousarray(pictures)).movedim(-1, 1).float()
    return normalised(levels.flip(1) if preprocessing.bgr else levels, preprocessing)


def colour(label: int) -> tuple[int, int, int]:
    """The colour of a class, red, green, blue from 0 to 255: hues a golden section of the circle apart."""
    red, green, blue = colorsys.hsv_to_rgb((0.08 + 0.618034 * label) % 1, 0.75 - 0.25 * (label % 2), 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def with_boxes(picture: np.ndarray, found: Detections, labels: Sequence[str], scale: int = 3) -> np.ndarray:
    """The picture uint8 `[H, W, 3]`, `scale` times as large, with every box, its label and its score in per cent."""
    from PIL import Image, ImageDraw

    height, width = picture.shape[:2]
    image = Image.fromarray(picture).resize((width * scale, height * scale), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(image)
    # The surest boxes come last, on top.
    for box, score, label in reversed(list(zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True))):
        x0, y0, x1, y1 = (side * scale for side in box)
        text = f"{labels[label]} {100 * score:.0f}"
        draw.rectangle((x0, y0, x1 - 1, y1 - 1), outline=colour(label), width=2)
        line = draw.textbbox((x0 + 2, max(0, y0 - 12)), text)
        draw.rectangle((line[0] - 2, line[1] - 1, line[2] + 2, line[3] + 1), fill=colour(label))
        draw.text(line[:2], text, fill=(0, 0, 0), anchor="lt")
    return np.asarray(image)


def with_mask(picture: np.ndarray, mask: np.ndarray, scale: int = 3, strength: float = 0.6) -> np.ndarray:
    """The picture uint8 `[H, W, 3]`, `scale` times as large and grey, under the colours of its classes, int `[H, W]`.

    Class 0 has no colour.
    """
    colours = np.array([(0, 0, 0), *[colour(label) for label in range(int(mask.max()))]])
    share = strength * (mask > 0)[..., None]
    mixed = np.rint(picture.mean(-1, keepdims=True) * (1 - share) + colours[mask] * share).astype(np.uint8)
    return mixed.repeat(scale, 0).repeat(scale, 1)
