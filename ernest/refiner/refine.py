"""Refines pictures and films: noise becomes detail in a few steps along the learnt flow, doubling by doubling."""

import numpy as np
import torch
from torch import Tensor

from ernest.refiner.detail import DETAILS, join_in_range, means, round_to_means
from ernest.refiner.network import Doubling, Refiner
from ernest.tokenizers.vision import to_frames, to_pixels

STEPS, MOST_STEPS = 3, 4
"""Of the flow, where nothing else is said; and at most, since later times than theirs are not learnt."""
CHUNK = 8
"""Pictures that are refined at once."""


def refine(refiner: Refiner, pixels: np.ndarray, seed: int = 0, steps: int = STEPS) -> np.ndarray:
    """A picture uint8 `[height, width, 3]`, or a film `[frames, height, width, 3]`, `factor` times as high and as wide; the mean
    of each block of its pixels is the pixel that was given, exactly.

    All pictures begin with the same noise, which follows from the `seed`: what stands still in a film stays still. Raises
    ValueError for pixels of another form or size.
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or pixels.shape[-1] != 3 or not pixels.size:
        shape = f"{pixels.dtype} {list(pixels.shape)}"
        raise ValueError(f"expected uint8 [height, width, 3] or [frames, height, width, 3], got {shape}")
    if not 1 <= steps <= MOST_STEPS:
        raise ValueError(f"steps = {steps}: expected 1 to {MOST_STEPS}")
    refiner.check(pixels.shape[-3:-1])
    if pixels.ndim == 3:
        return refine(refiner, pixels[None], seed, steps)[0]
    return np.concatenate([_refine(refiner, pixels[at : at + CHUNK], seed, steps) for at in range(0, len(pixels), CHUNK)])


def small_versions(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Pictures uint8 `[N, height, width, 3]` made small, each pixel the mean of `factor` x `factor`: uint8 `[N, h, w, 3]`."""
    return np.concatenate([to_pixels(means(to_frames(pixels[at : at + 64]), factor)).numpy() for at in range(0, len(pixels), 64)])


@torch.inference_mode()
def _refine(refiner: Refiner, pixels: np.ndarray, seed: int, steps: int) -> np.ndarray:
    device = next(refiner.parameters()).device
    frames = to_frames(pixels, device)
    for number, doubling in enumerate(refiner.stages):
        noise = np.random.default_rng((abs(seed), number)).standard_normal((1, DETAILS, *frames.shape[2:]), np.float32)
        detail = follow_flow(doubling, frames, torch.from_numpy(noise).to(device).expand(len(frames), -1, -1, -1), steps)
        frames = join_in_range(frames, doubling.spread(frames) * detail)
    return round_to_means(frames, torch.from_numpy(np.require(pixels, requirements=["C", "W"])).to(device)).cpu().numpy()


def follow_flow(doubling: Doubling, small: Tensor, noise: Tensor, steps: int) -> Tensor:
    """Detail `[N, DETAILS, h, w]` in units of the doubling's spread, for pictures `small` `[N, 3, h, w]` in [0, 1]: Euler's steps
    along the flow, from `noise` at time 0 to detail at time 1. The last one ends at what the network then predicts."""
    z = noise
    for step in range(steps):
        t = step / steps
        predicted = doubling(z, torch.full((len(z),), t, device=z.device), small)
        z = z + (predicted - z) / (1 - t) / steps  # dz/dt = v = (d - z) / (1 - t)
    return z
