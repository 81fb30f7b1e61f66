"""Cosine and sine transforms along the last axis, by the FFT: for walls without flux, walls that hold zero, and one of each."""

import math

import torch
from torch import Tensor


def dct(u: Tensor) -> Tensor:
    """DCT-II along the last axis, X_k = 2 sum_j u_j cos(pi k (2j + 1) / 2n), by one real FFT of the same length (Makhoul)."""
    n = u.shape[-1]
    turned = torch.fft.rfft(u[..., _even_then_odd(n, u.device)]) * _quarter_turns(n, u, -1)
    return torch.cat([2 * turned.real, -2 * turned.imag[..., 1 : (n + 1) // 2].flip(-1)], -1)


def inverse_dct(modes: Tensor) -> Tensor:
    """The u with dct(u) = modes."""
    n = modes.shape[-1]
    mirrored = torch.cat([torch.zeros_like(modes[..., :1]), modes.flip(-1)[..., : n // 2]], -1)
    turned = torch.complex(modes[..., : n // 2 + 1], -mirrored) / 2 * _quarter_turns(n, modes, 1)
    return torch.fft.irfft(turned, n=n)[..., _even_then_odd(n, modes.device).argsort()]


def dst(u: Tensor) -> Tensor:
    """DST-I along the last axis, X_k = 2 sum_j u_j sin(pi k j / (n + 1)) for j, k = 1..n, by the FFT of the odd extension."""
    zero = torch.zeros_like(u[..., :1])
    return -torch.fft.rfft(torch.cat([zero, u, zero, -u.flip(-1)], -1)).imag[..., 1:-1]


def inverse_dst(modes: Tensor) -> Tensor:
    """The u with dst(u) = modes: the transform is its own inverse, but for the factor 2 (n + 1)."""
    return dst(modes) / (2 * (modes.shape[-1] + 1))


def half_dst(u: Tensor) -> Tensor:
    """X_k = 4 sum_j u_j sin(pi (k + 1/2) j / (n + 1/2)) for j = 1..n, k = 0..n-1: zero before the first point, and a mirror
    half a spacing beyond the last. By the DST-I of the field and its image, whose even waves vanish.
    """
    return dst(torch.cat([u, u.flip(-1)], -1))[..., ::2]


def inverse_half_dst(modes: Tensor) -> Tensor:
    """The u with half_dst(u) = modes."""
    return inverse_dst(torch.stack([modes, torch.zeros_like(modes)], -1).flatten(-2))[..., : modes.shape[-1]]


def _even_then_odd(n: int, device: torch.device) -> Tensor:
    """0, 2, 4, .. and back over the odd numbers: the order in which a cosine transform is a Fourier transform."""
    return torch.cat([torch.arange(0, n, 2, device=device), torch.arange(1, n, 2, device=device).flip(0)])


def _quarter_turns(n: int, like: Tensor, sign: int) -> Tensor:
    """exp(sign i pi k / 2n) for k = 0..n // 2."""
    angles = torch.arange(n // 2 + 1, dtype=like.dtype, device=like.device) * (sign * math.pi / (2 * n))
    return torch.polar(torch.ones_like(angles), angles)
