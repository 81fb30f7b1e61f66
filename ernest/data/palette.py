"""Colours by number, as gif keeps them: of every frame the 256 that stand for all of its own."""

import numpy as np

_ROUNDS = 8
"""Of halving, to 256 boxes."""


def indexed(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """uint8 `[frames, height, width, 3]` as numbers, uint8 `[frames, height, width]`, of a palette of each, `[frames, 256, 3]`.

    Median cut (Heckbert 1982): the box of a frame's colours is halved at the median along its longest side, and its halves
    again, those of all frames at once. What stands for a box is the mean of its pixels: 256 colours or fewer stay as they are.
    """
    red, green, blue = np.moveaxis(frames.astype(np.int64), -1, 0)
    keys = np.arange(len(frames))[:, None, None] << 24 | red << 16 | green << 8 | blue
    keys, inverse, pixels = np.unique(keys, return_inverse=True, return_counts=True)
    colours, box, order = keys[:, None] >> np.array([16, 8, 0]) & 255, keys >> 24, np.arange(len(keys))
    for _ in range(_ROUNDS):
        order, box = _halved(colours, order, box)
    number = np.empty_like(box)
    number[order] = box
    count = len(frames) << _ROUNDS
    sums = [np.bincount(number, pixels * channel, count) for channel in colours.T]
    means = np.stack(sums, axis=-1) / np.maximum(np.bincount(number, pixels, count), 1)[:, None]
    palettes = np.rint(means).astype(np.uint8).reshape(len(frames), -1, 3)
    return number.astype(np.uint8)[inverse].reshape(frames.shape[:3]), palettes


def _halved(colours: np.ndarray, order: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of `colours` `[n, 3]` that stand in an `order`, box behind `box`: the same with twice as many boxes."""
    starts = np.flatnonzero(np.diff(box, prepend=-1))
    sizes = np.diff(starts, append=len(box))
    there = colours[order]
    sides = np.maximum.reduceat(there, starts) - np.minimum.reduceat(there, starts)
    longest = sides.argmax(axis=1).repeat(sizes)
    value = there[np.arange(len(box)), longest]
    order = np.sort(box << 40 | value << 32 | order) & 0xFFFFFFFF  # one sort of whole numbers: the same everywhere
    rank = np.arange(len(box)) - starts.repeat(sizes)
    return order, 2 * box + (2 * rank >= sizes.repeat(sizes))
