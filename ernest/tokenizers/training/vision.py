"""Trains the vision tokenizer: reconstruction, bits that are all used, and coarse scales that name what they show."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ernest.fit import FitConfig, Keep, Progress, fit, mixed_precision, no_progress, warm_up_and_cosine
from ernest.tokenizers.bitwise_quantiser import MultiScaleBits
from ernest.tokenizers.training.bounded import bounded
from ernest.tokenizers.vision import Share, VisionTokenizer, VisionTokenizerConfig, as_they_are, to_frames

KEEP_EVERY = 100
"""Steps between two states of a training that goes on when it was cut."""
DRAWN = 1 / 3
"""Variance of the weights that PyTorch draws for a convolution, times the inputs of an output."""
KEPT = 1.0
"""The variance with which a convolution keeps that of its inputs."""
AVERAGED = 0.18
"""Share of the steps over which the mean of the weights reaches at most, about what 500 are of the usual 2,800."""


@dataclass(frozen=True)
class FrameBatch:
    """Frames uint8 `[N, height, width, 3]`, and what each is to say: shares of the classes, float32 `[N, classes]`, which sum to
    1, or to 0 where nobody knows.

    `pairs` int `[P, 2]` are frames of one film, the earlier one first: they say it together, with what happens between them. A
    frame is in one pair at most.
    """

    frames: np.ndarray
    targets: np.ndarray
    pairs: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))


Draw = Callable[[int], FrameBatch]
"""A step to its batch."""


def one_hot(classes: np.ndarray, count: int) -> np.ndarray:
    """Targets float32 `[N, count]` of classes int `[N]`, -1 where nobody knows."""
    return (classes[:, None] == np.arange(count)).astype(np.float32)


@dataclass(frozen=True)
class Teacher:
    """A frozen classifier for the perceptual loss: its feature maps of a reconstruction are compared with those of the frame."""

    features: Callable[[Tensor], Tensor]
    """From frames `[N, 3, height, width]` in [0, 1] to feature maps of any shape, with a gradient."""
    classes: int
    """The teacher looks at frames of the classes below this, which are those that it knows."""


@dataclass(frozen=True)
class VisionTraining:
    """Schedule and loss weights. Small batches are best: 44 frames a step learn in 60 s what 96 learn in 150 s."""

    steps: int = 3200
    rate: float = 2e-3
    warm_up: int = 100
    """Steps over which the decoder's input goes from the latent itself to its quantised bits."""
    bit_flip_rate: float = 0.02
    entropy: float = 0.01
    commitment: float = 0.0
    """Not needed beside the entropy term at this size; larger tokenizers use 0.25."""
    semantic: float = 0.1
    naming: float = 0.0
    """Weight of saying from the mean of the features alone what a frame shows: the model reads given pictures by these."""
    perceptual: float = 0.1
    """Weight of the distance between the teacher's feature maps of a frame and of its reconstruction."""
    perceptual_share: float = 0.25
    """Share of the steps, at the end, with the perceptual loss; it doubles the cost of a step."""
    average: float = 0.998
    """The trained tokenizer is a running mean of the weights, with this much of the past in each step, or less where steps are
    few."""
    variance: float = DRAWN
    """Of the first weights of a convolution, times the inputs of an output. `DRAWN` loses two thirds of a signal's in each layer,
    so that a short training ends before the decoder listens to its bits; pictures come back better from `KEPT`, and a model draws
    better on the bits of `DRAWN`."""
    balanced: bool = False
    """Whether neither words nor coarse scales may outweigh the rest, as they do in large frames: what a frame is to say pulls
    what all losses have in common no harder than its pixels do, and all scales begin with the same gain."""

    @property
    def share(self) -> Share:
        """How what is drawn and what is named part ways."""
        return bounded if self.balanced else as_they_are

    @property
    def running_average(self) -> float:
        """`average`, but so that the mean, which reaches over 1 / (1 - average) steps, never reaches over more than `AVERAGED` of
        them: a longer one is half made of weights that had learnt nothing."""
        return min(self.average, max(0.0, 1 - 1 / (AVERAGED * self.steps)))


def train_vision_tokenizer(
    draw: Draw,
    config: VisionTokenizerConfig,
    training: VisionTraining,
    seed: int = 0,
    teacher: Teacher | None = None,
    progress: Progress = no_progress,
    device: torch.device | None = None,
    state: Path | None = None,
) -> VisionTokenizer:
    """Trains a vision tokenizer on the batches of `draw`; products are in bfloat16 where the hardware has them.

    With a `teacher`, an error that changes what a frame shows costs more than its pixels alone would. In the file `state` it is
    kept how far the training is, and one that was cut goes on.
    """
    torch.manual_seed(seed)
    # Matrices of convolutions with channels innermost, as pixels lie: saves a twentieth of a step, and not a bit is another.
    tokenizer = VisionTokenizer(config).to(device)
    strengthen(tokenizer, training.variance)
    if training.balanced:
        level(tokenizer.quantiser)
    tokenizer.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    motion, naming = Motion(config).to(device), nn.Linear(tokenizer.feature_channels, config.classes).to(device)
    generator = torch.Generator(tokenizer.quantiser.gain.device).manual_seed(seed)

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        quantised = min(1.0, step / training.warm_up)
        current_teacher = teacher if step >= (1 - training.perceptual_share) * training.steps else None
        return _loss(tokenizer, motion, naming, draw(step), quantised, training, current_teacher, generator)

    schedule = warm_up_and_cosine(training.rate, training.steps)
    fit_config = FitConfig(training.steps, schedule, (0.9, 0.98), clip=1.0, average=training.running_average)
    keep = None if state is None else Keep(state, KEEP_EVERY, generators=(generator,))
    trained = fit(nn.ModuleList([tokenizer, motion, naming]), loss, fit_config, progress, keep)[0]
    assert isinstance(trained, VisionTokenizer)
    return trained.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]


@torch.no_grad()
def strengthen(tokenizer: VisionTokenizer, variance: float) -> None:
    """Scales the weights of all convolutions, as PyTorch has drawn them, to `variance` / inputs of an output (LeCun et al. 1998).
    The quantiser's, which begin at zero, are left alone."""
    for part in (tokenizer.encoder, tokenizer.to_bits, tokenizer.from_bits, tokenizer.decoder):
        for layer in part.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.mul_(math.sqrt(variance / DRAWN))


@torch.no_grad()
def level(quantiser: MultiScaleBits) -> None:
    """Gives all K scales the same gain g, with K · g² / bits = 1.

    The signs of a scale add g² / bits to the variance of every component of the sum, and a normalised latent's is 1. Where gains
    fall by .6 from 1 on, the first scale adds all of that at once, and the fourth .05.
    """
    quantiser.gain.fill_(math.sqrt(quantiser.bits / len(quantiser.sizes)))


class Motion(nn.Module):
    """Says what happens between two frames from their coarse scales alone; only training uses it, beside what each frame says."""

    def __init__(self, config: VisionTokenizerConfig) -> None:
        super().__init__()
        cells = config.bits * config.finest
        self.layers = nn.Sequential(nn.Linear(2 * cells, 128), nn.SiLU(), nn.Linear(128, config.classes))

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """Coarse scales `[P, bits, height, width]` of two frames each to logits `[P, classes]`."""
        return self.layers(torch.cat([before, after - before], 1).flatten(1))


def _loss(
    tokenizer: VisionTokenizer,
    motion: Motion,
    naming: nn.Linear,
    batch: FrameBatch,
    quantised: float,
    training: VisionTraining,
    teacher: Teacher | None,
    generator: torch.Generator,
) -> tuple[Tensor, dict[str, float]]:
    device = tokenizer.quantiser.gain.device
    frames, targets = to_frames(batch.frames, device), torch.from_numpy(batch.targets).to(device)
    with mixed_precision(device):
        restored, logits, code, features = tokenizer(frames, quantised, training.bit_flip_rate, generator, training.share)
    restored = restored.float()
    error = F.mse_loss(restored, frames)
    loss = 10 * error + F.l1_loss(restored, frames) + training.entropy * code.entropy + training.commitment * code.commitment
    named = naming(features.float()) if training.naming else None
    if len(batch.pairs):
        pairs = torch.from_numpy(batch.pairs).to(device)
        with mixed_precision(device):
            happens = motion(*code.coarse[pairs.T])
        logits = said_together(logits, pairs, happens)
        named = None if named is None else said_together(named, pairs, happens)
    loss = loss + training.semantic * semantic_loss(logits, targets)
    if named is not None:
        loss = loss + training.naming * semantic_loss(named, targets)
    if teacher is not None:
        familiar = targets[:, : teacher.classes].sum(1) > 0
        if familiar.any():
            loss = loss + training.perceptual * _perceptual(teacher, restored[familiar], frames[familiar])
    return loss, {"loss": loss.item(), "psnr": -10 * math.log10(max(error.item(), 1e-10))}


def said_together(logits: Tensor, pairs: Tensor, happens: Tensor) -> Tensor:
    """Logits `[N, classes]` of frames, those of the two frames of each pair, int `[P, 2]`, replaced by one sum: of both, and of
    what `happens` between them `[P, classes]`, as independent evidence multiplies (products of experts, Hinton 2002).

    What happens explains a word away that a frame cannot show. Each frame made to say it alone learns it by heart, film by
    film; the model would read that from the features of films it has seen, and never look at how things move.
    """
    before, after = pairs.T
    together = logits[before] + logits[after] + happens
    return logits.index_copy(0, before, together).index_copy(0, after, together)


def semantic_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy with the shares `[N, classes]` of the frames of which something is known; 0 where there are none."""
    known = targets.sum(1) > 0
    return F.cross_entropy(logits[known].float(), targets[known]) if known.any() else logits.new_zeros(())


def _perceptual(teacher: Teacher, restored: Tensor, frames: Tensor) -> Tensor:
    """Mean squared distance of the teacher's feature maps, in units of their variance."""
    with torch.no_grad():
        true = teacher.features(frames)
    return F.mse_loss(teacher.features(restored), true) / true.var()
