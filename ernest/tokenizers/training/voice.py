"""Trains the encoder of voices: pieces of samples, noisy and of all levels, are to be nearest to the voice they are of."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ernest.fit import FitConfig, Keep, Progress, fit, mixed_precision, no_progress, warm_up_and_cosine
from ernest.tokenizers.audio import MEL_FRAMES, padded_spectrograms
from ernest.tokenizers.training.recogniser import augment
from ernest.tokenizers.voice import VoiceConfig, VoiceEncoder

BATCH = 48
PIECE = 75
"""Spectrogram frames of a piece, 1.5 s: a short one says little of what was said and must do for the voice."""
RATE = 2e-3
SHARPNESS, MARGIN = 16.0, 0.2
"""Of the softmax over cosines: a piece is to be nearer to its own voice than to others by the margin."""
KEEP_EVERY = 100


class VoiceClassifier(nn.Module):
    """The encoder, and the direction of each voice of the training, which is not kept."""

    def __init__(self, config: VoiceConfig, voices: int) -> None:
        super().__init__()
        self.encoder = VoiceEncoder(config)
        self.directions = nn.Parameter(torch.randn(voices, config.numbers))

    def forward(self, mel: Tensor) -> Tensor:
        """Cosines `[batch, voices]` of spectrograms `[batch, time, bands]`."""
        frames = torch.full((len(mel),), mel.shape[1], device=mel.device)
        return functional.normalize(self.encoder(mel, frames), dim=1) @ functional.normalize(self.directions, dim=1).T


def train_voice_encoder(
    samples: Sequence[np.ndarray],
    labels: np.ndarray,
    steps: int,
    seed: int,
    progress: Progress = no_progress,
    config: VoiceConfig | None = None,
    state: Path | None = None,
) -> VoiceEncoder:
    """An encoder trained on `samples` float32 `[samples]` of the voices `labels` int `[N]`, by a softmax over cosines with an
    additive margin (Wang et al., 1801.05599, eq. 6).

    In the file `state` it is kept how far the training is, and one that was cut goes on. Raises ValueError for samples of one
    voice alone, which teach nothing.
    """
    if len(np.unique(labels)) < 2:
        raise ValueError("samples of voices: expected those of two voices at least, to learn what tells them apart")
    torch.manual_seed(seed)
    config = config or VoiceConfig()
    network = VoiceClassifier(config, int(labels.max()) + 1)
    mel, frames = padded_spectrograms(samples, network.encoder.mel)
    lengths, classes = MEL_FRAMES * frames, torch.from_numpy(labels).long()

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        picks = torch.randint(0, len(mel), (BATCH,))
        pieces = augment(_pieces(mel[picks], lengths[picks]))
        with mixed_precision(mel.device):
            cosines = network(pieces).float()
        wanted = functional.one_hot(classes[picks], cosines.shape[1])
        value = functional.cross_entropy(SHARPNESS * (cosines - MARGIN * wanted), classes[picks])
        right = (cosines.argmax(1) == classes[picks]).float().mean()
        return value, {"loss": float(value.detach()), "accuracy": float(right)}

    keep = None if state is None else Keep(state, KEEP_EVERY)
    settings = FitConfig(steps, warm_up_and_cosine(RATE, steps), weight_decay=0.02, clip=1.0)
    return fit(network, loss, settings, progress, keep).encoder


def _pieces(mel: Tensor, lengths: Tensor) -> Tensor:
    """A piece of each spectrogram `[batch, time, bands]`, from a place that is drawn within its first `lengths` frames; a shorter
    one begins anew at its end: `[batch, PIECE, bands]`."""
    starts = (torch.rand(len(mel)) * (lengths - PIECE + 1).clamp_min(1)).long()
    index = (starts[:, None] + torch.arange(PIECE)) % lengths[:, None]
    return mel.gather(1, index[..., None].expand(-1, -1, mel.shape[2]))
