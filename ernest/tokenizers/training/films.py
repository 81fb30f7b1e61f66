"""Trains a vision tokenizer further on films: that of pictures is inflated, and all of it learns from clips beside pictures."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ernest.fit import FitConfig, Keep, Progress, fit, mixed_precision, no_progress, warm_up_and_cosine
from ernest.tokenizers.bitwise_quantiser import QuantiserOutput
from ernest.tokenizers.training.vision import KEEP_EVERY, FrameBatch, Motion, VisionTraining, semantic_loss
from ernest.tokenizers.vision import Share, VisionTokenizer, as_they_are, inflate, to_frames

RATE_SHARE = 0.5
"""Of the rate of the first training: most of the network is trained already."""


@dataclass(frozen=True)
class FilmBatch:
    """Clips uint8 `[N, frames, height, width, 3]`, what each is to say as `FrameBatch.targets`, and pictures beside them."""

    clips: np.ndarray
    targets: np.ndarray
    stills: FrameBatch


def train_on_films(
    tokenizer: VisionTokenizer,
    stride: int,
    draw: Callable[[int], FilmBatch],
    training: VisionTraining,
    seed: int = 0,
    progress: Progress = no_progress,
    state: Path | None = None,
) -> VisionTokenizer:
    """A tokenizer whose latents stand for `stride` frames of a film, from one of pictures, by `training.steps` batches of `draw`.

    In the file `state` it is kept how far the training is, and one that was cut goes on.
    """
    torch.manual_seed(seed)
    films = inflate(tokenizer, stride, seed)
    generator = torch.Generator(films.quantiser.gain.device).manual_seed(seed)
    schedule = warm_up_and_cosine(RATE_SHARE * training.rate, training.steps)
    config = FitConfig(training.steps, schedule, (0.9, 0.98), clip=1.0, average=training.running_average)
    keep = None if state is None else Keep(state, KEEP_EVERY, generators=(generator,))
    motion = Motion(films.config).to(films.quantiser.gain.device)
    loss = lambda step: _loss(films, motion, draw(step), training, generator)
    trained = fit(nn.ModuleList([films, motion]), loss, config, progress, keep)[0]
    assert isinstance(trained, VisionTokenizer)
    return trained


def _loss(
    tokenizer: VisionTokenizer, motion: Motion, batch: FilmBatch, training: VisionTraining, generator: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    """As for pictures, without the perceptual loss; the latents of a clip say together what it shows, as frames of a film do."""
    tokenizer.normalise.eval()  # the scale of latents stays that of the first training, whatever share of a batch is films
    device = tokenizer.quantiser.gain.device
    clips, stills = to_frames(batch.clips, device), to_frames(batch.stills.frames, device)
    with mixed_precision(device):
        moving, still, logits, code = rebuild(tokenizer, clips, stills, training.bit_flip_rate, generator, training.share)
    restored = torch.cat([moving.flatten(0, 1), still]).float()
    frames = torch.cat([clips.flatten(0, 1), stills])
    error = F.mse_loss(restored, frames)
    loss = 10 * error + F.l1_loss(restored, frames) + training.entropy * code.entropy + training.commitment * code.commitment
    of_clips, of_stills = logits.split([len(logits) - len(stills), len(stills)])
    latents = len(of_clips) // len(clips)
    with mixed_precision(device):
        together = _said_together(motion, of_clips, code.coarse[: len(of_clips)], latents)
    said = torch.cat([together.repeat_interleave(latents, 0), of_stills])
    targets = np.concatenate([batch.targets.repeat(latents, axis=0), batch.stills.targets])
    loss = loss + training.semantic * semantic_loss(said, torch.from_numpy(targets).to(device))
    return loss, {"loss": loss.item(), "psnr": -10 * math.log10(max(error.item(), 1e-10))}


def _said_together(motion: Motion, logits: Tensor, coarse: Tensor, latents: int) -> Tensor:
    """Logits `[N, classes]` of clips, of so many latents each: of all latents, and of what happens from each to the next."""
    together = logits.unflatten(0, (-1, latents)).sum(1)
    if latents == 1:
        return together
    coarse = coarse.unflatten(0, (-1, latents))
    happens = motion(coarse[:, :-1].flatten(0, 1), coarse[:, 1:].flatten(0, 1))
    return together + happens.unflatten(0, (-1, latents - 1)).sum(1)


def rebuild(
    tokenizer: VisionTokenizer,
    clips: Tensor,
    stills: Tensor,
    bit_flip_rate: float,
    generator: torch.Generator,
    share: Share = as_they_are,
) -> tuple[Tensor, Tensor, Tensor, QuantiserOutput]:
    """Clips `[N, frames, 3, height, width]` and pictures `[M, 3, height, width]` through the bits and back, class logits of all
    latents, those of the clips first, and the quantiser's own terms; `share` as for a picture."""
    assert tokenizer.compress is not None
    count, length = clips.shape[:2]
    coarse = tokenizer.encoder(torch.cat([clips.flatten(0, 1), stills]))
    of_clips = tokenizer.compress(coarse[: count * length].unflatten(0, (count, length)))
    latents = tokenizer.latents(torch.cat([of_clips.flatten(0, 1), coarse[count * length :]]))
    code = tokenizer.quantiser(latents, bit_flip_rate, generator)
    total, told = share(code.total, code.coarse)
    moving, still = total.split([count * of_clips.shape[1], len(stills)])
    moving = tokenizer.reconstruct_films(moving.unflatten(0, (count, -1)))
    return moving, tokenizer.reconstruct(still), tokenizer.semantic(told), replace(code, coarse=told)
