"""Trains the audio tokenizer: reconstruction, moving-average codebooks, and a first code taught by a recogniser."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ernest.fit import FitConfig, Keep, Progress, fit, mixed_precision, no_progress, rate_by_step
from ernest.tokenizers.audio import (
    MEL_FRAMES,
    AudioConfig,
    AudioTokenizer,
    ResidualQuantiser,
    padded_spectrograms,
)
from ernest.tokenizers.convolutions import inside_clips
from ernest.tokenizers.mel import SCALE
from ernest.tokenizers.training.recogniser import WIDTH, Teacher, code_features, train_recogniser

BATCH = 48
RATE = 2e-3
WARM = 80
"""Steps without quantisation, after which the codebooks start from the means of clusters of latents."""
COMMITMENT = 0.02
"""Weight of the pull of latents towards their entries. At .25 the later levels die."""
DISTILLATION = 0.4
"""Weight of `1 - cosine` between the first code and the teacher's features."""
FEWER_LEVELS = 0.5
"""Share of clips of which only the first so many levels are decoded, so that each level adds to those before it."""
TOGETHER = 8
"""Batches that are drawn at once, and sorted by length."""
KEEP_EVERY = 12 * TOGETHER
"""Steps between two states; at multiples of `TOGETHER`, what is drawn next follows from torch's generator alone."""
TEACHER_SHARE = 0.2
"""Steps of the teacher for each step of the tokenizer; one of the teacher's costs much less."""


def train_audio_tokenizer(
    waves: Sequence[np.ndarray],
    said: np.ndarray,
    steps: int,
    seed: int,
    progress: Progress = no_progress,
    config: AudioConfig | None = None,
    device: torch.device | None = None,
    state: Path | None = None,
) -> AudioTokenizer:
    """A tokenizer for clips like `waves` float32 `[samples]`; what each says is a class, `said` int `[clips]`, or shares of
    classes, float32 `[clips, classes]`.

    `progress` counts the teacher's steps and then the tokenizer's; in the folder `state` it is kept how far the training is, and
    one that was cut goes on. Raises `ValueError` when clips and labels differ in number.
    """
    if len(waves) != len(said) or not waves:
        raise ValueError(f"expected one label for each clip and at least one clip, got {len(waves)} clips and {len(said)} labels")
    torch.manual_seed(seed)
    config = config or AudioConfig()
    mel, frames = padded_spectrograms(waves, config.mel)
    labels = torch.from_numpy(said)
    mel, frames, labels = mel.to(device), frames.to(device), labels.to(device)
    before = math.ceil(TEACHER_SHARE * steps)
    teacher = Teacher(said.shape[1] if said.ndim == 2 else int(said.max()) + 1, config.mel.bands).to(device)
    told = lambda step, _, metrics: progress(step, before + steps, metrics)
    train_recogniser(
        teacher, mel, labels, before, told, keep=None if state is None else Keep(state / "teacher.safetensors", KEEP_EVERY)
    )
    features = code_features(teacher, mel, frames)
    tokenizer = AudioTokenizer(config).to(device)
    told = lambda step, _, metrics: progress(before + step, before + steps, metrics)
    _train(tokenizer, mel, frames, features, steps, told, None if state is None else state / "state.safetensors")
    return tokenizer


def _train(
    tokenizer: AudioTokenizer,
    mel: Tensor,
    frames: Tensor,
    features: Tensor,
    steps: int,
    progress: Progress,
    state: Path | None,
) -> None:
    """Trains `tokenizer` on spectrograms `[clips, 4 · longest, bands]` of `frames` `[clips]`, its first code towards
    `features` `[clips, longest, WIDTH]`."""
    project = nn.Linear(tokenizer.config.latent, WIDTH).to(mel.device)
    codebooks = MovingCodebooks(tokenizer.quantiser)
    warm = min(WARM, steps // 2)
    batches = _batches(frames.cpu())

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        if step == warm:
            codebooks.start(_some_latents(tokenizer, mel, frames))
        picks = next(batches)
        longest = int(frames[picks].max())
        batch_mel, batch_features = mel[picks, : MEL_FRAMES * longest], features[picks, :longest]
        return _loss(tokenizer, codebooks if step >= warm else None, project, batch_mel, frames[picks], batch_features)

    fit_config = FitConfig(steps, rate_by_step(lambda step: _rate(step, steps)), betas=(0.9, 0.95), clip=1.0)
    moved = {"counts": codebooks.counts, "sums": codebooks.sums}
    keep = None if state is None else Keep(state, KEEP_EVERY, moved)
    fit(nn.ModuleList([tokenizer, project]), loss, fit_config, progress, keep)


def _rate(step: int, steps: int) -> float:
    """Linear warm-up over 40 steps, then a cosine to a fiftieth."""
    return RATE * min(1, (step + 1) / 40) * (0.49 * (1 + math.cos(math.pi * step / steps)) + 0.02)


class MovingCodebooks:
    """The codebooks of a quantiser as moving averages of the residuals that choose their entries; entries that nothing
    chooses are moved to residuals of the batch."""

    decay = 0.98
    dead = 0.1
    """An entry chosen less often than this share of the mean is moved."""

    def __init__(self, quantiser: ResidualQuantiser) -> None:
        self.quantiser = quantiser
        self.counts = quantiser.codebooks.new_ones(quantiser.codebooks.shape[:2])
        self.sums = torch.zeros_like(quantiser.codebooks)

    @torch.no_grad()
    def start(self, latents: Tensor, iterations: int = 8) -> None:
        """Each level starts from the clusters of what the levels before it leave of `latents` `[N, latent]`."""
        residual = latents
        for level, entries in enumerate(self.quantiser.codebooks):
            entries.copy_(residual[torch.randint(0, len(residual), (len(entries),))])
            for _ in range(iterations):
                counts, sums = self._tally(residual, self.quantiser.nearest(residual, level))
                anew = residual[torch.randint(0, len(residual), (len(entries),))]
                entries.copy_(torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], anew))
            residual = residual - entries[self.quantiser.nearest(residual, level)]
            self.counts[level] = len(latents) / len(entries) / 4
            self.sums[level] = entries * self.counts[level][:, None]

    def quantise(self, latents: Tensor, used: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The sum of the first `used` `[N]` entries of latents `[N, latent]` and the first entry, both with the gradient
        passed straight through, and the commitment loss. Moves the codebooks."""
        residual, total, commitment, first = latents, torch.zeros_like(latents), latents.new_zeros(()), latents
        for level, entries in enumerate(self.quantiser.codebooks):
            codes = self.quantiser.nearest(residual.detach(), level)
            nearest, active = entries[codes], (used > level)[:, None]
            self._move(level, residual.detach()[active[:, 0]], codes[active[:, 0]])
            commitment = commitment + ((residual - nearest) * active).square().mean()
            residual, total = residual - nearest * active, total + nearest * active
            if level == 0:
                first = latents + (nearest - latents).detach()
        return latents + (total - latents).detach(), first, commitment / len(self.quantiser.codebooks)

    @torch.no_grad()
    def _move(self, level: int, residual: Tensor, codes: Tensor) -> None:
        if not len(residual):
            return
        counts, sums = self._tally(residual, codes)
        self.counts[level].lerp_(counts, 1 - self.decay)
        self.sums[level].lerp_(sums, 1 - self.decay)
        mean = self.counts[level].mean()
        dead = self.counts[level] < self.dead * mean
        self.counts[level][dead] = 0.5 * mean
        anew = residual[torch.randint(0, len(residual), (int(dead.sum()),))]
        self.sums[level][dead] = anew * self.counts[level][dead][:, None]
        self.quantiser.codebooks[level] = self.sums[level] / self.counts[level][:, None]

    def _tally(self, residual: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """How many residuals chose each entry, and their sum."""
        entries = self.quantiser.codebooks.shape[1]
        sums = residual.new_zeros(entries, residual.shape[1]).index_add_(0, codes, residual)
        return torch.bincount(codes, minlength=entries).float(), sums


def _loss(
    tokenizer: AudioTokenizer,
    codebooks: MovingCodebooks | None,
    project: nn.Module,
    mel: Tensor,
    frames: Tensor,
    features: Tensor,
) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch, quantised once there are codebooks, and what to report of it."""
    inside = inside_clips(frames, features.shape[1])
    with mixed_precision(mel.device):
        latents = tokenizer.latents(mel, frames)
    quantised, first, commitment = latents, latents, latents.new_zeros(())
    if codebooks:
        levels = tokenizer.config.levels
        fewer = torch.rand(len(frames), device=mel.device) < FEWER_LEVELS
        used = torch.where(fewer, torch.randint(1, levels + 1, (len(frames),), device=mel.device), levels)
        quantised, first, commitment = codebooks.quantise(latents, used.repeat_interleave(frames))
    with mixed_precision(mel.device):
        restored = tokenizer.spectrograms(quantised, frames)
    numbers = inside.sum() * MEL_FRAMES * mel.shape[2]
    absolute = (restored - mel).abs().sum() / numbers
    square = (restored - mel).square().sum() / numbers
    cosine = functional.cosine_similarity(project(first), features[inside], dim=1).mean()
    loss = absolute + 0.2 * square + COMMITMENT * commitment + DISTILLATION * (1 - cosine)
    return loss, {"mel_db": float(absolute.detach()) * SCALE, "cosine": float(cosine.detach())}


@torch.no_grad()
def _some_latents(tokenizer: AudioTokenizer, mel: Tensor, frames: Tensor, clips: int = 1500) -> Tensor:
    """Latents `[N, latent]` of clips drawn at random."""
    tokenizer.eval()
    picks = torch.randperm(len(mel))[:clips]
    latents = torch.cat([tokenizer.latents(mel[part], frames[part]) for part in picks.split(256)])
    tokenizer.train()
    return latents


def _batches(frames: Tensor, together: int = TOGETHER) -> Iterator[Tensor]:
    """Indices of clips drawn at random, forever, in batches of nearly one length each: little of a batch is padding."""
    while True:
        pool = torch.randint(0, len(frames), (together * BATCH,))
        pool = pool[frames[pool].argsort(stable=True)]
        batches = pool.split(BATCH)
        for number in torch.randperm(together):
            yield batches[number]
