"""Log-mel spectrograms and the way back to a waveform (Griffin and Lim 1984, with the momentum of Perraudin et al. 2013).

A frame of the short-time Fourier transform is 50 ms under a Hann window, and there is one every 20 ms. What lies
before and after a clip counts as silence, so frames never depend on what a clip is batched with.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ernest.config.media import USUAL
from ernest.device import HOST

FLOOR, SCALE = -60.0, 18.0
"""Decibels: silence is 0 in a normalised spectrogram, and one unit is 18 dB."""
LOWEST = 30.0
"""Hz, where the bands begin."""


@dataclass(frozen=True)
class MelSpec:
    """The sizes of spectrograms of sounds of a sample rate, in Hz. The bands end 100 Hz below its half."""

    sample_rate: int = USUAL.sample_rate

    @property
    def hop(self) -> int:
        """Samples from one frame to the next: 20 ms."""
        return self.sample_rate // 50

    @property
    def window(self) -> int:
        """Samples of a frame: 50 ms."""
        return self.sample_rate // 20

    @property
    def margin(self) -> int:
        """Samples by which the first frame begins before a clip, and the last one ends behind it."""
        return (self.window - self.hop) // 2

    @property
    def fft(self) -> int:
        """Points of the transform: the power of two from the window on."""
        return 1 << (self.window - 1).bit_length()

    @property
    def bands(self) -> int:
        """64, 80 or 96."""
        return 48 + self.sample_rate // 500

    @property
    def full_level(self) -> float:
        """The magnitude that counts as 0 dB; speech of ordinary loudness then spreads over one unit around 1."""
        return self.window / 20


USUAL_MEL = MelSpec()
"""Of sounds at the demo's rate."""


def log_mel(waves: Tensor, spec: MelSpec = USUAL_MEL) -> Tensor:
    """Normalised log-mel spectrograms `[..., samples / hop, bands]` of waves `[..., samples]`.

    `m = (20 log10(|S| · filters / full + 10^(FLOOR/20)) - FLOOR) / SCALE`. Raises `ValueError` unless the number of samples is a
    multiple of the hop.
    """
    if waves.shape[-1] % spec.hop:
        raise ValueError(f"a wave of {waves.shape[-1]} samples is not a whole number of hops of {spec.hop}: pad it with zeros")
    level = _spectrum(waves, spec).abs() @ _filters(spec).to(waves) / spec.full_level
    decibels = 20 * torch.log10(level + 10 ** (FLOOR / 20))
    return (decibels - FLOOR) / SCALE


@torch.no_grad()
def griffin_lim(mel: Tensor, iterations: int = 16, momentum: float = 0.99, spec: MelSpec = USUAL_MEL) -> Tensor:
    """Waves `[batch, frames · hop]` whose log-mel is near `mel` `[batch, frames, bands]`.

    The first phases are the same for every clip and do not depend on the batch.
    """
    magnitude = _magnitude(mel.float(), spec)
    turns = np.random.default_rng(0).random(magnitude.shape[1:], dtype=np.float32)
    phase = torch.polar(torch.ones_like(magnitude), torch.from_numpy(turns * (2 * np.pi)).expand_as(magnitude))
    before = torch.zeros_like(phase)
    weights = window_weights(magnitude.new_ones(1, magnitude.shape[1]), spec.window, spec.hop)
    for _ in range(iterations):
        consistent = _spectrum(overlap_add(magnitude * phase, weights, spec.window, spec.hop), spec)
        ahead = consistent - momentum / (1 + momentum) * before
        phase, before = ahead / (ahead.abs() + 1e-8), consistent
    return overlap_add(magnitude * phase, weights, spec.window, spec.hop)


def _magnitude(mel: Tensor, spec: MelSpec, iterations: int = 8) -> Tensor:
    """Magnitudes `[batch, frames, bins]` whose bands are those of `mel` `[batch, frames, bands]`.

    The pseudo-inverse, then multiplicative updates, which keep magnitudes positive (Lee and Seung 2001).
    """
    filters = _filters(spec)
    level = ((10 ** ((mel * SCALE + FLOOR) / 20) - 10 ** (FLOOR / 20)).clamp_min(0)) * spec.full_level
    magnitude = (level @ _inverse_filters(spec)).clamp_min(0)
    for _ in range(iterations):
        magnitude = magnitude * (level @ filters.T) / (magnitude @ filters @ filters.T + 1e-6)
    return magnitude


def _spectrum(waves: Tensor, spec: MelSpec) -> Tensor:
    """Complex spectra `[..., samples / hop, bins]` of waves `[..., samples]`, silence on either side."""
    frames = functional.pad(waves, (spec.margin, spec.margin)).unfold(-1, spec.window, spec.hop)
    return torch.fft.rfft(frames * _window(spec).to(waves.device), spec.fft)


def overlap_add(spectra: Tensor, weights: Tensor, window: int, hop: int) -> Tensor:
    """Waves `[batch, frames · hop]` of complex spectra `[batch, frames, bins]`, each of `window` samples under a Hann window and
    `hop` samples behind the one before it: `sum(w · frame) / sum(w²)`, the divisor from `window_weights`.

    Of all waves, theirs are the spectra nearest to the ones given (Griffin and Lim 1984, eq. 6).
    """
    frames = torch.fft.irfft(spectra, 2 * (spectra.shape[2] - 1))[..., :window]
    summed = _added(frames * _hann(window, spectra.device), window, hop) / weights
    margin = (window - hop) // 2
    return summed[:, margin : margin + spectra.shape[1] * hop]


def window_weights(inside: Tensor, window: int, hop: int) -> Tensor:
    """The sum of the squared windows over each sample, of those frames that are `inside` `[batch, frames]`."""
    shape = _hann(window, inside.device)
    return _added(shape.square() * inside[..., None], window, hop).clamp_min(1e-3)


def _added(frames: Tensor, window: int, hop: int) -> Tensor:
    """Frames `[batch, frames, window]` laid over one another, with what reaches beyond the clip on either side."""
    whole = (frames.shape[1] - 1) * hop + window
    return functional.fold(frames.transpose(1, 2), (1, whole), (1, window), stride=(1, hop))[:, 0, 0]


def _hann(length: int, device: torch.device) -> Tensor:
    return torch.hann_window(length, dtype=torch.float32, device=device)


@cache
@torch.inference_mode(False)  # whoever asks first, training may ask next
def _window(spec: MelSpec) -> Tensor:
    return _hann(spec.window, torch.device(HOST))


@cache
@torch.inference_mode(False)
def _filters(spec: MelSpec) -> Tensor:
    """Triangles on the mel scale `[bins, bands]`, each of sum one; a band narrower than a bin takes the nearest bin."""
    frequency = np.linspace(0, spec.sample_rate / 2, spec.fft // 2 + 1)
    lowest, highest = 2595 * np.log10(1 + np.array([LOWEST, spec.sample_rate / 2 - 100]) / 700)
    mels = np.linspace(lowest, highest, spec.bands + 2)
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
@torch.inference_mode(False)
def _inverse_filters(spec: MelSpec) -> Tensor:
    return torch.linalg.pinv(_filters(spec))
