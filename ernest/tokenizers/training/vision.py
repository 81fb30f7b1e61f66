"""How the vision tokenizer is trained: reconstruction, bits that are all used, and coarse scales that name what they show."""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.lcnet.network import PPLCNet
from ernest.tokenizers.precision import half_precision
from ernest.tokenizers.vision import VisionTokenizer, VisionTokenizerConfig

Draw = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""A step to a batch: frames uint8 `[N, size, size, 3]` and their classes int `[N]`, -1 where nobody knows."""

Progress = Callable[[int, int, Mapping[str, float]], None]


@dataclass(frozen=True)
class VisionTraining:
    """Schedule and loss weights. Small batches are best: 44 frames a step learn in 60 s what 96 learn in 150 s."""

    steps: int = 3200
    rate: float = 2e-3
    warm_up: int = 100
    """Steps over which the latent is led through the bits rather than around them."""
    bit_flip_rate: float = 0.02
    entropy: float = 0.01
    commitment: float = 0.0
    """Not needed beside the entropy term at this size; larger tokenizers use 0.25."""
    semantic: float = 0.1
    perceptual: float = 0.1
    """Weight of the distance between what the teacher sees in a frame and in its reconstruction."""
    taught: float = 0.25
    """The last part of the steps, in which a teacher looks on: its look costs as much as the step itself."""
    average: float = 0.998
    """The trained tokenizer is a running mean of the weights, with this much of the past in each step."""


def train_vision_tokenizer(
    draw: Draw,
    config: VisionTokenizerConfig,
    training: VisionTraining,
    seed: int = 0,
    teacher: PPLCNet | None = None,
    progress: Progress | None = None,
) -> VisionTokenizer:
    """A tokenizer trained on what `draw` gives, in bf16.

    `teacher`, a PP-LCNet that knows the first classes, looks at the frames of those: a stroke that tells one digit
    from another then weighs more than its pixels. It is left as it is.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    tokenizer = VisionTokenizer(config)
    onlooker = copy.deepcopy(teacher).eval().requires_grad_(False) if teacher else None
    average = torch.optim.swa_utils.AveragedModel(
        tokenizer, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(training.average), use_buffers=False
    )
    optimizer = torch.optim.AdamW(tokenizer.parameters(), training.rate, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, training.steps))
    for step in range(training.steps):
        pixels, classes = draw(step)
        frames = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255
        quantised = min(1.0, step / training.warm_up)
        eye = onlooker if step >= (1 - training.taught) * training.steps else None
        loss, metrics = _loss(tokenizer, frames, torch.from_numpy(classes).long(), quantised, training, eye, generator)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tokenizer.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(tokenizer)
        if progress:
            progress(step + 1, training.steps, metrics)
    trained = average.module
    assert isinstance(trained, VisionTokenizer)
    return trained.eval()


def _loss(
    tokenizer: VisionTokenizer,
    frames: Tensor,
    classes: Tensor,
    quantised: float,
    training: VisionTraining,
    teacher: PPLCNet | None,
    generator: torch.Generator,
) -> tuple[Tensor, dict[str, float]]:
    with torch.autocast("cpu", torch.bfloat16, enabled=half_precision()):
        drawn, logits, code = tokenizer(frames, quantised, training.bit_flip_rate, generator)
    drawn = drawn.float()
    error = F.mse_loss(drawn, frames)
    loss = 10 * error + F.l1_loss(drawn, frames) + training.entropy * code.entropy + training.commitment * code.commitment
    known = classes >= 0
    if known.any():
        loss = loss + training.semantic * F.cross_entropy(logits[known].float(), classes[known])
    if teacher is not None:
        seen = known & (classes < teacher.architecture.classes)
        if seen.any():
            loss = loss + training.perceptual * _perceptual(teacher, drawn[seen], frames[seen])
    return loss, {"loss": loss.item(), "psnr": -10 * math.log10(max(error.item(), 1e-10))}


def _perceptual(teacher: PPLCNet, drawn: Tensor, frames: Tensor) -> Tensor:
    """Mean squared distance of the teacher's last feature maps, in units of their variance."""
    with torch.no_grad():
        true = teacher.features(frames)[-1]
    return F.mse_loss(teacher.features(drawn)[-1], true) / true.var()


def _rate(step: int, steps: int) -> float:
    """Linear warm-up over 50 steps, then a cosine to a fiftieth."""
    return min(1.0, (step + 1) / 50) * (0.5 * (1 + math.cos(math.pi * step / steps)) + 0.02)
