"""Log-mel spectrograms and the way back to a waveform (Griffin and Lim 1984, with the momentum of Perraudin et al. 2013).

A frame of the short-time Fourier transform is 50 ms under a Hann window, and there is one every 20 ms. What lies
before and after a clip counts as silence, so frames never depend on what a clip is batched with.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ernest.config.media import MediaSpec

WINDOW, HOP, FFT = 400, 160, 512
BANDS = 64
LOWEST, HIGHEST = 30.0, 3900.0
"""Hz, where the bands begin and end."""
FLOOR, SCALE = -60.0, 18.0
"""Decibels: silence is 0 in a normalised spectrogram, and one unit is 18 dB."""
FULL_LEVEL = 20.0
"""The magnitude that counts as 0 dB; speech of ordinary loudness then spreads over one unit around 1."""

_MARGIN = (WINDOW - HOP) // 2


def log_mel(waves: Tensor) -> Tensor:
    """Normalised log-mel spectrograms `[..., samples / HOP, BANDS]` of waves `[..., samples]`.

    `m = (20 log10(|S| · filters / 20 + 10^(FLOOR/20)) - FLOOR) / SCALE`. Raises `ValueError` unless the number of samples is a
    multiple of `HOP`.
    """
    if waves.shape[-1] % HOP:
        raise ValueError(f"a wave of {waves.shape[-1]} samples is not a whole number of hops of {HOP}: pad it with zeros")
    level = _spectrum(waves).abs() @ _filters() / FULL_LEVEL
    decibels = 20 * torch.log10(level + 10 ** (FLOOR / 20))
    return (decibels - FLOOR) / SCALE


@torch.no_grad()
def griffin_lim(mel: Tensor, iterations: int = 16, momentum: float = 0.99) -> Tensor:
    """Waves `[batch, frames · HOP]` whose log-mel is near `mel` `[batch, frames, BANDS]`.

    The first phases are the same for every clip and do not depend on the batch.
    """
    magnitude = _magnitude(mel.float())
    turns = np.random.default_rng(0).random(magnitude.shape[1:], dtype=np.float32)
    phase = torch.polar(torch.ones_like(magnitude), torch.from_numpy(turns * (2 * np.pi)).expand_as(magnitude))
    before = torch.zeros_like(phase)
    for _ in range(iterations):
        consistent = _spectrum(_wave(magnitude * phase))
        ahead = consistent - momentum / (1 + momentum) * before
        phase, before = ahead / (ahead.abs() + 1e-8), consistent
    return _wave(magnitude * phase)


def _magnitude(mel: Tensor, iterations: int = 8) -> Tensor:
    """Magnitudes `[batch, frames, bins]` whose bands are those of `mel` `[batch, frames, BANDS]`.

    The pseudo-inverse, then multiplicative updates, which keep magnitudes positive (Lee and Seung 2001).
    """
    filters = _filters()
    level = ((10 ** ((mel * SCALE + FLOOR) / 20) - 10 ** (FLOOR / 20)).clamp_min(0)) * FULL_LEVEL
    magnitude = (level @ _inverse_filters()).clamp_min(0)
    for _ in range(iterations):
        magnitude = magnitude * (level @ filters.T) / (magnitude @ filters @ filters.T + 1e-6)
    return magnitude


def _spectrum(waves: Tensor) -> Tensor:
    """Complex spectra `[..., samples / HOP, bins]` of waves `[..., samples]`, silence on either side."""
    frames = functional.pad(waves, (_MARGIN, _MARGIN)).unfold(-1, WINDOW, HOP)
    return torch.fft.rfft(frames * _window(), FFT)


def _wave(spectrum: Tensor) -> Tensor:
    """Waves `[batch, frames · HOP]` whose spectra are nearest to `spectrum` `[batch, frames, bins]`: windowed overlap-add."""
    frames = torch.fft.irfft(spectrum, FFT)[..., :WINDOW] * _window()
    length = spectrum.shape[1] * HOP + 2 * _MARGIN
    weight = (_window() ** 2).expand(1, spectrum.shape[1], WINDOW)
    summed, weights = (_overlap_add(stack, length) for stack in (frames, weight))
    return (summed / weights.clamp_min(1e-3))[:, _MARGIN : length - _MARGIN]


def _overlap_add(frames: Tensor, length: int) -> Tensor:
    """`[batch, frames, WINDOW]` -> `[batch, length]`."""
    return functional.fold(frames.transpose(1, 2), (1, length), (1, WINDOW), stride=(1, HOP))[:, 0, 0]


@cache
def _window() -> Tensor:
    return torch.hann_window(WINDOW)


@cache
def _filters() -> Tensor:
    """Triangles on the mel scale `[bins, BANDS]`, each of sum one; a band narrower than a bin takes the nearest bin."""
    frequency = np.linspace(0, MediaSpec.sample_rate / 2, FFT // 2 + 1)
    lowest, highest = 2595 * np.log10(1 + np.array([LOWEST, HIGHEST]) / 700)
    mels = np.linspace(lowest, highest, BANDS + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequency[:, None] - low) / (centre - low)
    falling = (high - frequency[:, None]) / (high - centre)
    filters = np.minimum(rising, falling).clip(0)
    nearest = np.abs(frequency[:, None] - centre).argmin(0)
    for band in np.flatnonzero(filters.sum(0) < 0.5):
        filters[nearest[band], band] = 1
    return torch.from_numpy(filters / filters.sum(0)).float()


@cache
def _inverse_filters() -> Tensor:
    return torch.linalg.pinv(_filters())
