"""A small trained vocoder: turns the codec's log-mel frames into a waveform, in the manner of Vocos (2306.00814).

Convolutions over the frames end in a magnitude and a phase for every bin of short-time spectra, two for each frame of the
spectrogram, whose inverse transforms are laid over one another: nothing is iterated, and a sample hangs on `reach` frames around
it and on no others.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ernest.device import autocast
from ernest.tokenizers.convolutions import Convolution, inside_clips, through
from ernest.tokenizers.mel import MelSpec, overlap_add, window_weights

SPECTRA = 2
"""Short-time spectra for each frame of the spectrogram: one every 10 ms."""
OVERLAP = 4
"""Spectra that cover a sample: each is 40 ms long."""
LOUDEST = 6.0
"""Of the natural logarithm of a magnitude; full scale over a whole window comes to less."""


@dataclass(frozen=True)
class VocoderConfig:
    """`width` channels through one block of each of the `dilations`, `inner` times as many within it."""

    width: int = 192
    inner: int = 2
    dilations: tuple[int, ...] = (1, 2, 1, 2, 1)


class Vocoder(nn.Module):
    """Log-mel frames `[batch, time, bands]` to waves `[batch, time · hop]`."""

    def __init__(self, config: VocoderConfig, mel: MelSpec) -> None:
        super().__init__()
        self.config = config
        self.hop = mel.hop // SPECTRA
        self.window = OVERLAP * self.hop
        self.bins = self.window // 2 + 1
        width = config.width
        self.layers = nn.ModuleList(
            [Convolution(mel.bands, width, 7), *(Block(width, config.inner, dilation) for dilation in config.dilations)]
        )
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.head = nn.Linear(width, SPECTRA * 2 * self.bins)
        with torch.no_grad():  # angles of π · bin put a pulse into the middle of its window, where phases vary least
            self.head.bias.view(SPECTRA, 2, self.bins)[:, 1] = torch.pi * (torch.arange(self.bins) % 2)

    @property
    def reach(self) -> int:
        """Frames of the spectrogram on either side of a sample's own on which the sample hangs."""
        return 3 + sum(self.config.dilations) + 1  # the last: spectra of the next frame reach into this one

    def forward(self, mel: Tensor, frames: Tensor) -> Tensor:
        """Waves of spectrograms of which the first `frames` `[batch]` are a clip's; what lies beyond it is silence."""
        hidden = self.norm(through(self.layers, mel, frames))
        with autocast(mel.device, enabled=False):  # a phase in half precision is noise
            spectra = self.head(hidden.float()).unflatten(2, (SPECTRA, 2, self.bins)).flatten(1, 2)
        logarithm, angle = spectra.unbind(2)
        inside = inside_clips(SPECTRA * frames, logarithm.shape[1])
        made = torch.polar(logarithm.clamp_max(LOUDEST).exp() * inside[..., None], angle)
        return overlap_add(made, window_weights(inside, self.window, self.hop), self.window, self.hop)


class Block(nn.Module):
    """`x + narrow(silu(conv(norm(x))))`; the norm leaves zero at zero, so that silence around a clip stays silence."""

    def __init__(self, width: int, inner: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.conv = Convolution(width, inner * width, 3, dilation=dilation)
        self.narrow = nn.Linear(inner * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()  # also where products are taken in half precision
        return x + self.narrow(functional.silu(self.conv(self.norm(x))))
