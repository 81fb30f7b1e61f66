"""Draw handwritten digits of scikit-learn's set on a canvas, at any place, size, slant and angle."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_TRAINING_SAMPLES = 1437
"""Of the 1797 samples the first are for training and the rest are held out: other hands, as the set goes writer by writer."""


@dataclass(frozen=True)
class Pose:
    """The pose of a digit on the canvas: side in pixels, angle in radians, slant, aspect, and centre in pixels from the
    middle."""

    side: float
    angle: float
    slant: float
    aspect: float
    x: float
    y: float


@cache
def _samples() -> tuple[Tensor, np.ndarray]:
    """Ink of all samples, float64 `[1797, 1, 8, 8]` in [0, 1], and their digits `[1797]`."""
    from sklearn.datasets import load_digits

    ink, digits = load_digits(return_X_y=True)
    return torch.from_numpy(np.asarray(ink, np.float64) / 16).reshape(-1, 1, 8, 8), np.asarray(digits)


@cache
def writings(digit: int, held_out: bool) -> np.ndarray:
    """Numbers of the samples of a digit, of the training hands or of the held-out ones."""
    numbers = np.flatnonzero(_samples()[1] == digit)
    return numbers[(numbers >= _TRAINING_SAMPLES) == held_out]


def draw(numbers: list[int], poses: list[Pose], size: int) -> np.ndarray:
    """Ink of samples in their poses, float64 `[N, size, size]` in [0, 1]. One drawing does not depend on the others.

    Double precision, since the last digits differ between processors: rounded to 8 bits, nothing of them is left.
    """
    grids = torch.from_numpy(np.stack([_sampling_grid(pose, size) for pose in poses]))
    samples = _samples()[0][numbers]
    ink = F.grid_sample(samples, grids, mode="bicubic", padding_mode="zeros", align_corners=False)
    # Bicubic interpolation of 8 x 8 samples pales thin strokes; a little more contrast makes up for it.
    return (ink[:, 0].clamp(0, 1) * 1.15).clamp(0, 1).numpy()


@cache
def _pixels(size: int) -> tuple[np.ndarray, np.ndarray]:
    line = np.arange(size) - (size - 1) / 2
    y, x = np.meshgrid(line, line, indexing="ij")
    return x, y


def _sampling_grid(pose: Pose, size: int) -> np.ndarray:
    """Where in the sample, in [-1, 1], each pixel of the canvas lies: float64 `[size, size, 2]`."""
    x, y = _pixels(size)
    x, y = (x - pose.x) * (2 / pose.side), (y - pose.y) * (2 / pose.side)
    cos, sin = math.cos(pose.angle), math.sin(pose.angle)
    return np.stack([cos / pose.aspect * x + (sin + pose.slant) * y, cos * pose.aspect * y - sin * x], -1)
