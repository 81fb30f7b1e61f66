"""The encoder of voices: a sample of how somebody speaks to one vector, which conditions what is spoken (ERNIE 5.0 §2.3.2).

Convolutions over a log-mel spectrogram end in the mean and the spread of their features over the sample's time (x-vectors,
Snyder et al. 2018), so that a sample may have any length, and what it says averages out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ernest.config.media import USUAL
from ernest.device import HOST
from ernest.tokenizers.audio import MEL_FRAMES, by_length, padded_spectrograms
from ernest.tokenizers.convolutions import Convolution, inside_clips
from ernest.tokenizers.mel import MelSpec
from ernest.tokenizers.network_file import load_network, save_network

KIND = "an encoder of voices"
SHORTEST = 0.5
"""Seconds of a sample, at least; it is made to be used with three."""
_BATCH = 64
"""Samples that are embedded at once."""


@dataclass(frozen=True)
class VoiceConfig:
    """Sounds of a `sample_rate` in Hz, `width` channels, embeddings of so many `numbers`."""

    sample_rate: int = USUAL.sample_rate
    width: int = 128
    numbers: int = 64


class VoiceEncoder(nn.Module):
    """Log-mel `[batch, time, bands]` of which the first `frames` `[batch]` are a sample's -> embeddings `[batch, numbers]`, whose
    length is the root of their number: each number is about one."""

    def __init__(self, config: VoiceConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        convolutions = (
            Convolution(self.mel.bands, width, 5),
            Convolution(width, width, 3, dilation=2),
            Convolution(width, width, 3, dilation=4),
        )
        self.layers = nn.ModuleList(convolutions)
        self.norms = nn.ModuleList(nn.RMSNorm(width, eps=1e-6) for _ in convolutions)
        self.output = nn.Linear(2 * width, config.numbers)

    @property
    def mel(self) -> MelSpec:
        """The sizes of the spectrograms."""
        return MelSpec(self.config.sample_rate)

    def forward(self, mel: Tensor, frames: Tensor) -> Tensor:
        inside = inside_clips(frames, mel.shape[1])[..., None]
        hidden = mel * inside
        for layer, norm in zip(self.layers, self.norms, strict=True):
            hidden = norm(functional.silu(layer(hidden)).float()) * inside
        count = frames[:, None].float()
        mean = hidden.sum(1) / count
        spread = (((hidden - mean[:, None]) * inside).square().sum(1) / count + 1e-6).sqrt()
        return functional.normalize(self.output(torch.cat([mean, spread], 1)).float(), dim=1) * self.config.numbers**0.5

    @torch.no_grad()
    def embed(self, waves: Sequence[np.ndarray]) -> Tensor:
        """Embeddings `[N, numbers]` of samples float32 `[samples]`, whatever else is embedded with them.

        Raises ValueError for a sample shorter than half a second.
        """
        least = round(SHORTEST * self.config.sample_rate)
        for number, wave in enumerate(waves):
            if len(wave) < least:
                seconds = len(wave) / self.config.sample_rate
                raise ValueError(f"sample {number} of a voice: {seconds:.2f} seconds are too short: take at least {SHORTEST}")
        embeddings = torch.empty(len(waves), self.config.numbers, dtype=torch.float32, device=HOST)
        device = self.output.weight.device
        for batch in by_length([len(wave) for wave in waves], _BATCH):
            mel, frames = padded_spectrograms([waves[i] for i in batch], self.mel)
            embeddings[batch] = self(mel.to(device), (MEL_FRAMES * frames).to(device)).cpu()
        return embeddings

    def save(self, path: str | Path) -> None:
        """Weights as safetensors, with the configuration in the header."""
        save_network(path, KIND, self, self.config)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The encoder that `save` wrote, ready for use; ValueError, which names the file, if it holds something else."""
        return load_network(path, KIND, VoiceConfig, cls)
