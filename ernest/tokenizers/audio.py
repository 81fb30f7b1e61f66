"""The audio tokenizer: turns a waveform into residual codes at 12.5 frames per second, and back (ERNIE 5.0 §2.3.1).

A log-mel spectrogram at 50 frames per second is encoded to one latent vector every 80 ms, and the vector to `levels` codes:
the first is the index of the nearest entry of the first codebook, each later one that of the entry nearest to what the levels
before it left over. Training makes the first code carry what is said, and the later ones how it sounds. Back to the waveform
goes a trained vocoder, or Griffin and Lim's iteration where there is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from ernest.config.media import CODE_RATE, USUAL
from ernest.device import HOST
from ernest.tokenizers.convolutions import Convolution, Doubling, Residual, inside_clips, through
from ernest.tokenizers.mel import USUAL_MEL, MelSpec, griffin_lim, log_mel
from ernest.tokenizers.network_file import load_network, save_network
from ernest.tokenizers.spec import AudioSpec
from ernest.tokenizers.vocoder import Vocoder, VocoderConfig

KIND = "an audio tokenizer"

MEL_FRAMES = 4
"""Spectrogram frames in one frame of codes."""
_BATCH = 128
"""Clips that are encoded or decoded at once."""
DECODER_REACH = 29
"""Spectrogram frames on either side of a frame of codes that the decoder makes of it."""
ITERATIONS = 16
"""Steps of Griffin and Lim's iteration."""


@dataclass(frozen=True)
class AudioConfig:
    """`levels` codebooks of `codebook` entries of `latent` numbers; `fine` channels at 50 Hz, `coarse` ones at 25 and 12.5 Hz."""

    levels: int = 4
    codebook: int = 256
    latent: int = 64
    fine: int = 128
    coarse: int = 256
    sample_rate: int = USUAL.sample_rate
    """Samples per second of the sounds, in Hz."""
    vocoder: VocoderConfig | None = None
    """The sizes of the vocoder; none where there is none."""

    @property
    def mel(self) -> MelSpec:
        """The sizes of the spectrograms."""
        return MelSpec(self.sample_rate)

    @property
    def samples(self) -> int:
        """Samples in one frame of codes, 80 ms: 640 at 8 kHz."""
        return MEL_FRAMES * self.mel.hop


class ResidualQuantiser(nn.Module):
    """Codebooks `[levels, entries, latent]`, each over the residual of those before it."""

    codebooks: Tensor

    def __init__(self, levels: int, entries: int, latent: int) -> None:
        super().__init__()
        self.register_buffer("codebooks", torch.zeros(levels, entries, latent))

    def nearest(self, residual: Tensor, level: int) -> Tensor:
        """Codes `[N]` of the entries nearest to `residual` `[N, latent]`."""
        entries = self.codebooks[level]
        return (residual @ entries.T - entries.square().sum(1) / 2).argmax(1)

    def encode(self, latents: Tensor) -> Tensor:
        """Codes `[N, levels]` of latents `[N, latent]`."""
        codes = []
        for level, entries in enumerate(self.codebooks):
            codes.append(self.nearest(latents, level))
            latents = latents - entries[codes[-1]]
        return torch.stack(codes, 1)

    def embed(self, codes: Tensor, levels: int | None = None) -> Tensor:
        """The sum `[..., latent]` of the entries that the first `levels` of the codes `[..., levels]` name."""
        used = range(codes.shape[-1] if levels is None else levels)
        return torch.stack([self.codebooks[level][codes[..., level]] for level in used]).sum(0)


class AudioTokenizer(nn.Module):
    """Waveform to codes and back. Clips of a batch never touch: what lies beyond a clip's end stays zero in every layer."""

    def __init__(self, config: AudioConfig = AudioConfig()) -> None:
        super().__init__()
        self.config = config
        fine, coarse = config.fine, config.coarse
        self.encoder = nn.ModuleList(
            [
                Convolution(config.mel.bands, fine, 5),
                *(Residual(fine), Residual(fine, dilation=2)),
                *(nn.SiLU(), Convolution(fine, coarse, 4, stride=2), Residual(coarse)),
                *(nn.SiLU(), Convolution(coarse, coarse, 4, stride=2), Residual(coarse), Residual(coarse, dilation=2)),
                *(nn.SiLU(), Convolution(coarse, config.latent, 1)),
            ]
        )
        # Without this norm the encoder can shrink its latents below the codebook's resolution, and entries die.
        self.norm = nn.BatchNorm1d(config.latent, affine=False, momentum=0.02)
        self.quantiser = ResidualQuantiser(config.levels, config.codebook, config.latent)
        self.decoder = nn.ModuleList(
            [
                Convolution(config.latent, coarse, 3),
                *(Residual(coarse), Residual(coarse, dilation=2)),
                *(nn.SiLU(), Doubling(coarse, coarse), Residual(coarse)),
                *(nn.SiLU(), Doubling(coarse, fine), Residual(fine), Residual(fine, dilation=2)),
                *(nn.SiLU(), Convolution(fine, config.mel.bands, 5)),
            ]
        )
        self.vocoder = Vocoder(config.vocoder, config.mel) if config.vocoder else None

    @property
    def spec(self) -> AudioSpec:
        return AudioSpec(self.config.sample_rate, CODE_RATE, self.config.levels, self.config.codebook)

    def latents(self, mel: Tensor, frames: Tensor) -> Tensor:
        """Latents `[sum of frames, latent]` of spectrograms `[batch, 4 · longest, bands]` of clips of `frames` `[batch]`."""
        hidden = through(self.encoder, mel, frames)
        return self.norm(hidden[inside_clips(frames, hidden.shape[1])].float())

    def spectrograms(self, latents: Tensor, frames: Tensor) -> Tensor:
        """The inverse of `latents`: spectrograms `[batch, 4 · longest, bands]` from quantised latents."""
        inside = inside_clips(frames, int(frames.max()))
        hidden = latents.new_zeros(*inside.shape, latents.shape[1])
        hidden[inside] = latents
        return through(self.decoder, hidden, frames).float()

    @torch.no_grad()
    def encode(self, waves: Sequence[np.ndarray]) -> list[Tensor]:
        """Codes `[frames, levels]` of each wave float32 `[samples]`: `frames = ceil(12.5 · seconds)`.

        Silence fills the last frame. Raises `ValueError` for a wave that is empty, not one-dimensional or not finite.
        """
        codes: list[Tensor] = [torch.empty(0)] * len(waves)
        device = self.quantiser.codebooks.device
        for batch in by_length([_frames(wave, number, self.config.samples) for number, wave in enumerate(waves)], _BATCH):
            mel, frames = padded_spectrograms([waves[i] for i in batch], self.config.mel)
            parts = self.quantiser.encode(self.latents(mel.to(device), frames.to(device))).cpu().split(frames.tolist())
            for i, code in zip(batch, parts, strict=True):
                codes[i] = code
        return codes

    @torch.no_grad()
    def decode(self, codes: Sequence[Tensor], levels: int | None = None, iterations: int | None = None) -> list[np.ndarray]:
        """Waves float32 `[frames · samples]` from codes `[frames, levels]`.

        Only the first `levels` codes of each frame are used, all by default. A number of `iterations` asks for Griffin and Lim's
        way to the waveform; by default it is the vocoder's, and theirs where there is none.
        """
        waves: list[np.ndarray] = [np.empty(0)] * len(codes)
        device = self.quantiser.codebooks.device
        for batch in by_length([self._checked(code) for code in codes], _BATCH):
            frames = torch.tensor([len(codes[i]) for i in batch], device=device)
            latents = self.quantiser.embed(torch.cat([codes[i] for i in batch]).to(device), levels)
            mel = self.spectrograms(latents, frames)
            if self.vocoder is None or iterations is not None:
                sound = griffin_lim(mel.cpu(), ITERATIONS if iterations is None else iterations, spec=self.config.mel)
            else:
                sound = self.vocoder(mel, MEL_FRAMES * frames).cpu()
            for row, i in enumerate(batch):
                waves[i] = sound[row, : len(codes[i]) * self.config.samples].clamp(-1, 1).numpy().copy()
        return waves

    def save(self, path: str | Path) -> None:
        """Weights as safetensors, with the configuration in the header."""
        save_network(path, KIND, self, self.config)

    @classmethod
    def load(cls, path: str | Path, mapped: bool = False) -> Self:
        """The tokenizer that `save` wrote, ready for use; ValueError, which names the file, if it holds something else."""
        return load_network(path, KIND, AudioConfig, cls, mapped)

    def _checked(self, codes: Tensor) -> int:
        """The number of frames of `codes`, which a `ValueError` refuses unless they name entries that exist."""
        if codes.ndim != 2 or codes.shape[1] != self.config.levels or not len(codes):
            raise ValueError(f"expected codes [frames, {self.config.levels}] of at least one frame, got {list(codes.shape)}")
        if codes.min() < 0 or codes.max() >= self.config.codebook:
            raise ValueError(f"expected codes from 0 to {self.config.codebook - 1}, got {int(codes.min())} to {int(codes.max())}")
        return len(codes)


def padded_spectrograms(waves: Sequence[np.ndarray], spec: MelSpec = USUAL_MEL) -> tuple[Tensor, Tensor]:
    """Log-mels `[batch, 4 · longest, bands]` of waves, zeros (which are silence) beyond each one's code frames `[batch]`."""
    samples = MEL_FRAMES * spec.hop
    frames = torch.tensor([_frames(wave, number, samples) for number, wave in enumerate(waves)], device=HOST)
    padded = torch.zeros(len(waves), int(frames.max()) * samples, dtype=torch.float32, device=HOST)
    for row, wave in zip(padded, waves, strict=True):
        row[: len(wave)] = torch.from_numpy(np.array(wave, np.float32))  # of any byte order, and read backwards too
    mel = log_mel(padded, spec)
    return mel * inside_clips(MEL_FRAMES * frames, mel.shape[1])[..., None], frames


def by_length(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Indices of clips in batches of `size` at most, each of clips of nearly one length."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    return [order[start : start + size] for start in range(0, len(order), size)]


def _frames(wave: np.ndarray, number: int, samples: int) -> int:
    """The code frames of a wave: `ceil(12.5 · seconds)`."""
    if wave.ndim != 1 or not wave.size or wave.dtype.kind != "f" or not np.isfinite(wave).all():
        raise ValueError(
            f"wave {number}: expected finite float samples [samples], at least one, got {wave.dtype} {list(wave.shape)}"
        )
    return -(-len(wave) // samples)
