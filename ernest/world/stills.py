"""Draw single pictures of all that the world shows, at any size: digits, moving digits and the physics of phase fields."""

import numpy as np

from ernest.world.images import pictures
from ernest.world.sizes import SIZE
from ernest.world.video import FAMILIES, moving_digit, simulate

_BLOCK = 50
"""Stills that are made together: half of them digits, the others a frame each of five moving digits and of four videos of five
frames of a family."""


def stills(seed: int, start: int, count: int, size: int = SIZE) -> np.ndarray:
    """Pictures uint8 `[count, size, size, 3]`, of the records from index `start` on."""
    blocks = [_block(seed, start + _BLOCK * number, number % len(FAMILIES), size) for number in range(-(-count // _BLOCK))]
    return np.concatenate(blocks)[:count]


def _block(seed: int, start: int, family: int, size: int) -> np.ndarray:
    digits = np.stack([one.pixels for one in pictures(seed, range(start, start + 25), size)])
    moving = np.stack([moving_digit(seed, start + number, size, 5).frames[number] for number in range(5)])
    physics = simulate(family, seed, range(start, start + 4), size, 5).reshape(-1, size, size, 3)
    return np.concatenate([digits, moving, physics])
