"""Trains a small recogniser of words, whose features (50 Hz) teach the first code of the audio tokenizer what is said.

It stands where ERNIE 5.0 §2.3.1 has the encoder of Whisper; features are averaged to the rate of the codes, 12.5 Hz.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ernest.fit import FitConfig, Keep, Network, Progress, fit, mixed_precision, no_progress, rate_by_step
from ernest.tokenizers.audio import MEL_FRAMES, by_length
from ernest.tokenizers.convolutions import Convolution, inside_clips
from ernest.tokenizers.mel import USUAL_MEL

WIDTH = 128
"""Numbers in a feature vector."""


class Teacher(nn.Module):
    """Log-mel `[batch, frames, bands]` -> logits of the words `[batch, classes]`, over features that reach 0.6 s around them."""

    def __init__(self, classes: int, bands: int = USUAL_MEL.bands, width: int = WIDTH) -> None:
        super().__init__()
        convolutions = (
            Convolution(bands, width, 5),
            Convolution(width, width, 5, dilation=2),
            Convolution(width, width, 5, dilation=4),
        )
        self.layers = nn.ModuleList(convolutions)
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in convolutions)
        self.output = nn.Linear(2 * width, classes)

    def features(self, mel: Tensor) -> Tensor:
        """The input of the output layer, `[batch, frames, width]`."""
        hidden = mel
        for layer, norm in zip(self.layers, self.norms, strict=True):
            hidden = functional.relu(norm(layer(hidden).flatten(0, 1)).unflatten(0, hidden.shape[:2]))
        return hidden

    def forward(self, mel: Tensor) -> Tensor:
        hidden = functional.dropout(self.features(mel), 0.2, self.training)
        return self.output(torch.cat([hidden.mean(1), hidden.amax(1)], 1))


def train_recogniser(
    network: Network,
    mel: Tensor,
    labels: Tensor,
    steps: int,
    progress: Progress = no_progress,
    batch: int = 64,
    keep: Keep | None = None,
) -> Network:
    """Trains `network` with AdamW on augmented spectrograms `[clips, frames, bands]` and their `labels`, classes int `[clips]` or
    shares of classes `[clips, classes]`; returns it.

    Draws from torch's global generator, which the caller has seeded.
    """

    best = labels if labels.ndim == 1 else labels.argmax(1)

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        picks = torch.randint(0, len(mel), (batch,))
        with mixed_precision(mel.device):
            logits = network(augment(mel[picks])).float()
        value = functional.cross_entropy(logits, labels[picks], label_smoothing=0.02)
        accuracy = (logits.argmax(1) == best[picks]).float().mean()
        return value, {"loss": float(value.detach()), "accuracy": float(accuracy)}

    schedule = rate_by_step(lambda step: 2e-3 * min(1, (step + 1) / 30) * (1 - step / steps) + 1e-5)
    return fit(network, loss, FitConfig(steps, schedule, weight_decay=0.02), progress, keep)


def augment(mel: Tensor) -> Tensor:
    """Augments spectrograms `[batch, frames, bands]`: shift in time by up to 60 ms, level, noise, and a stretch of time or of
    bands silenced."""
    batch, frames, bands = mel.shape
    device = mel.device
    shifts = torch.randint(-3, 4, (batch, 1), device=device)
    mel = mel.gather(1, ((torch.arange(frames, device=device) - shifts) % frames)[..., None].expand_as(mel))
    noise = torch.randn_like(mel) * torch.rand(batch, 1, 1, device=device)
    level = torch.rand(batch, 1, 1, device=device)
    mel = mel + noise * 0.2 + (level - 0.5) * 0.3
    even = (torch.arange(batch, device=device) % 2 == 0)[:, None, None]
    quiet_time = _stretch(frames, 4, batch, device)[:, :, None] & even
    quiet_band = _stretch(bands, 6, batch, device)[:, None, :] & ~even
    return mel.masked_fill(quiet_time | quiet_band, 0)


@torch.no_grad()
def code_features(teacher: Teacher, mel: Tensor, frames: Tensor) -> Tensor:
    """The teacher's features of clips `[clips, 4 · longest, bands]`, averaged over each code frame and centred over all
    clips: `[clips, longest, width]`."""
    features = torch.zeros(len(mel), mel.shape[1] // MEL_FRAMES, WIDTH, device=mel.device)
    for batch in by_length(frames.tolist(), 256):
        longest = int(frames[batch].max())
        wide = teacher.features(mel[batch, : MEL_FRAMES * longest])
        features[batch, :longest] = wide.unflatten(1, (longest, MEL_FRAMES)).mean(2)
    inside = inside_clips(frames, features.shape[1])
    return features - features[inside].mean(0)


def _stretch(size: int, length: int, batch: int, device: torch.device) -> Tensor:
    """Bool `[batch, size]`: `length` neighbours, at random."""
    start = torch.randint(0, max(1, size - length), (batch, 1), device=device)
    position = torch.arange(size, device=device)
    return (position >= start) & (position < start + length)
