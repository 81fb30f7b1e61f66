"""Uni-RoPE: one rotary embedding over (t, h, w) for every token (ERNIE 5.0 §2.2.3)."""

import torch
from torch import Tensor

from ernest.device import HOST


def rotary_angles(position: Tensor, head_dim: int, base: float, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[..., positions, head_dim / 2]` of positions `[..., positions, 3]`, in `dtype`.

    Pair i turns with base^(-2i/head_dim) times one coordinate of (t, h, w): h and w alternate from the high frequencies, t
    takes the lowest 10 of every 32 pairs. Where t = h = w this is the ordinary rotary embedding.
    """
    axis, frequency = (part.to(position.device) for part in pair_frequencies(head_dim, base))
    angle = position.double()[..., axis] * frequency
    return angle.cos().to(dtype), angle.sin().to(dtype)


def pair_frequencies(head_dim: int, base: float) -> tuple[Tensor, Tensor]:
    """The coordinate that each pair turns with, and how fast, `[head_dim / 2]` each."""
    pairs = head_dim // 2
    temporal = round(pairs * 10 / 32)
    axis = torch.tensor([1 + i % 2 for i in range(pairs - temporal)] + [0] * temporal, device=HOST)
    return axis, base ** (-torch.arange(pairs, dtype=torch.float64, device=HOST) / pairs)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns the halves of the last axis of `x` as pairs: (a, b) becomes (a cos - b sin, b cos + a sin)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
