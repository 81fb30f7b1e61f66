"""What training does to the history of made pictures and films: bits are turned over, and frames hidden from later ones; and to
other hearings of given sounds, whose codes are taken for their neighbours.

Every draw comes from a generator of its row, so that a row is corrupted alike whoever makes it, before and after a resume.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ernest.config.tables import SequenceConfig
from ernest.tokenizers.bitwise_quantiser import MultiScaleBits

NOISE = 0.5
"""A rate at which a bit says nothing: corruption that grows with time stops there."""

NEAR = 8
"""Entries of a codebook for which a given code may be taken."""
MISHEARD = 0.6
"""Share of the codes of a hearing that are taken for others, at most."""


@dataclass(frozen=True)
class RowCorruption:
    """The draws of one row, whose seed is `seed`: of flips, of hidden frames and of codes by a generator each."""

    config: SequenceConfig
    flips: torch.Generator
    frames: np.random.Generator
    codes: np.random.Generator

    @classmethod
    def seeded(cls, config: SequenceConfig, seed: int) -> "RowCorruption":
        frames, codes = (np.random.default_rng((seed, number)) for number in (1, 2))
        return cls(config, torch.Generator().manual_seed(seed), frames, codes)

    def hidden(self, frames: int) -> Tensor:
        """Bool `[frames]` of a segment: those that later ones do not see, each but the last with `frame_mask_rate`."""
        drawn = self.frames.random(frames - 1) < self.config.frame_mask_rate
        return torch.from_numpy(np.append(drawn, False))


@lru_cache(maxsize=1)
def near_codes(codebooks: Tensor) -> np.ndarray:
    """The `NEAR` nearest others of each entry of codebooks `[levels, entries, latent]`: int `[levels, entries, NEAR]`, or all
    others where there are fewer. Found once for codebooks, which do not move while a model learns from their codes."""
    return torch.cdist(codebooks, codebooks).argsort(2)[:, :, 1 : NEAR + 1].cpu().numpy()


def misheard(codes: np.ndarray, near: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Codes int `[frames, levels]` of a sound, in the place of some of which, at a rate from U(0, `MISHEARD`), stands one of the
    `near_codes`."""
    hit = generator.random(codes.shape) < generator.uniform(0, MISHEARD)
    other = near[np.arange(codes.shape[1]), codes, generator.integers(near.shape[2], size=codes.shape)]
    return np.where(hit, other, codes).astype(codes.dtype)


def draw_flips(quantiser: MultiScaleBits, frames: int, config: SequenceConfig, generator: torch.Generator) -> Tensor:
    """The bits of a segment that are turned over (§2.2.3), at a rate of its own for each frame and scale.

    The last scale of the last frame feeds nothing and is never flipped.
    """
    rates = flip_rates(torch.rand(frames, len(quantiser.sizes), generator=generator), config)
    rates[-1, -1] = 0.0
    return quantiser.draw_flips(rates, generator)


def flip_rates(share: Tensor, config: SequenceConfig) -> Tensor:
    """Rates `[frames, scales]` from U(0, 1) draws of that shape (VideoAR, 2601.05966, eq. 8).

    Of frame f they lie in U(δ f, p_max + δ f), for p_min is 0 there, but not above 1/2, or above a larger p_max. With inheritance
    the first scale of a frame begins at the rate of the last scale of the frame before: U(that, p_max + δ f).
    """
    limit = max(config.bit_flip_rate, NOISE)
    frame = torch.arange(len(share))[:, None]
    least, most = ((rate + config.bit_flip_growth * frame).clamp(max=limit) for rate in (0.0, config.bit_flip_rate))
    rates = least + share * (most - least)
    if config.bit_flip_inheritance:
        for now in range(1, len(rates)):
            rates[now, 0] = rates[now - 1, -1] + share[now, 0] * (most[now, 0] - rates[now - 1, -1])
    return rates
