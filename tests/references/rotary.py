"""One-dimensional rotary embedding by complex numbers (Su et al. 2021)."""

import torch
from torch import Tensor


def rotate_by_index(x: Tensor, index: Tensor, base: float) -> Tensor:
    """`x` `[positions, head_dim]`, the first half real and the second imaginary parts, turned by index * base^(-2i/head_dim)."""
    half = x.shape[-1] // 2
    frequency = base ** (-2 * torch.arange(half, dtype=torch.float64) / x.shape[-1])
    turn = torch.polar(torch.ones(len(index), half, dtype=torch.float64), index.double()[:, None] * frequency)
    turned = torch.complex(x[:, :half].double(), x[:, half:].double()) * turn
    return torch.cat([turned.real, turned.imag], dim=-1).to(x.dtype)
