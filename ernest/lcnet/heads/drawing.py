"""Detections and segmentation masks drawn over a picture, for people to look at."""

import colorsys
from collections.abc import Sequence

import numpy as np

from ernest.lcnet.heads.boxes import Detections


def colour(label: int) -> tuple[int, int, int]:
    """The colour of a class, red, green, blue from 0 to 255: hues a golden section of the circle apart."""
    red, green, blue = colorsys.hsv_to_rgb((0.08 + 0.618034 * label) % 1, 0.75 - 0.25 * (label % 2), 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_boxes(picture: np.ndarray, found: Detections, labels: Sequence[str], scale: int = 3) -> np.ndarray:
    """The picture uint8 `[H, W, 3]`, `scale` times as large, with every box, its label (its number where nobody
    named the labels) and its score in per cent."""
    from PIL import Image, ImageDraw

    height, width = picture.shape[:2]
    image = Image.fromarray(picture).resize((width * scale, height * scale), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(image)
    # The surest boxes come last, on top.
    for box, score, label in reversed(list(zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True))):
        x0, y0, x1, y1 = (side * scale for side in box)
        text = f"{labels[label] if len(labels) else label} {100 * score:.0f}"
        draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour(label), width=2)
        line = draw.textbbox((x0 + 2, max(0, y0 - 12)), text)
        draw.rectangle((line[0] - 2, line[1] - 1, line[2] + 2, line[3] + 1), fill=colour(label))
        draw.text(line[:2], text, fill=(0, 0, 0), anchor="lt")
    return np.asarray(image)


def draw_mask(picture: np.ndarray, mask: np.ndarray, scale: int = 3, strength: float = 0.6) -> np.ndarray:
    """The picture uint8 `[H, W, 3]`, `scale` times as large and grey, under the colours of its classes, int `[H, W]`.

    Class 0 has no colour.
    """
    mask = np.asarray(mask)
    colours = np.array([(0, 0, 0), *[colour(label) for label in range(int(mask.max()))]])
    share = strength * (mask > 0)[..., None]
    mixed = np.rint(picture.mean(-1, keepdims=True) * (1 - share) + colours[mask] * share).astype(np.uint8)
    return mixed.repeat(scale, 0).repeat(scale, 1)
