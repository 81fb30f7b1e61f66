"""Trains a refiner by flow matching, on pictures and on worse and worse versions of what they are when made small."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.fit import FitConfig, Keep, Progress, fit, mixed_precision, no_progress, warm_up_and_cosine
from ernest.refiner.detail import join, means, split
from ernest.refiner.network import Doubling, Refiner, RefinerConfig, contrast
from ernest.refiner.refine import MOST_STEPS
from ernest.tokenizers.vision import to_frames

KEEP_EVERY = 100
"""Steps between two states of a training that goes on when it was cut."""
LATEST = 1 - 1 / MOST_STEPS
"""The last time of the flow at which a network is asked, and so the last one at which it learns."""
CROP = 16
"""Cells of the small picture on a side of what is seen of it in a step, at each doubling."""


@dataclass(frozen=True)
class PicturePairs:
    """Large pictures uint8 `[N, height, width, 3]`, and what a tokenizer makes of each when it was made small, uint8
    `[N, h, w, 3]`; without one, they are refined from their own small versions alone."""

    large: np.ndarray
    rebuilt: np.ndarray | None = None


@dataclass(frozen=True)
class RefinerTraining:
    """Schedule and degradation."""

    steps: int = 1500
    rate: float = 2e-3
    batch: int = 16
    rebuilt_share: float = 0.5
    """Share of the pictures whose small versions come from the tokenizer."""
    noise: float = 0.03
    """The most noise, as a standard deviation, that a small picture gets."""
    average: float = 0.995


def train_refiner(
    pairs: PicturePairs,
    size: tuple[int, int],
    training: RefinerTraining,
    seed: int = 0,
    progress: Progress = no_progress,
    state: Path | None = None,
) -> Refiner:
    """A refiner of pictures of `size`, as many times doubled as `pairs.large` are larger. In the file `state` it is kept how far
    the training is, and one that was cut goes on. Raises ValueError unless they are 2, 4 or 8 times as large."""
    factor = pairs.large.shape[1] // size[0]
    if pairs.large.shape[1:3] != (size[0] * factor, size[1] * factor) or factor < 2 or factor & (factor - 1):
        raise ValueError(f"large pictures of {list(pairs.large.shape[1:3])} pixels are not 2, 4 or 8 times {list(size)}")
    torch.manual_seed(seed)
    refiner = Refiner(RefinerConfig(size, detail_scales(pairs.large, factor)))
    refiner.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        batch = draw_batch(pairs, factor, training, np.random.default_rng((seed, step, 5)))
        losses = [flow_loss(*one) for one in zip(refiner.stages, batch, strict=True)]
        return torch.stack(losses).sum(), {f"loss {2 ** (n + 1)}x": value.item() for n, value in enumerate(losses)}

    schedule = warm_up_and_cosine(training.rate, training.steps)
    fit_config = FitConfig(training.steps, schedule, (0.9, 0.98), clip=1.0, average=training.average)
    trained = fit(refiner, loss, fit_config, progress, None if state is None else Keep(state, KEEP_EVERY))
    return trained.to(memory_format=torch.contiguous_format).requires_grad_(False)  # pyright: ignore[reportCallIssue]


@dataclass(frozen=True)
class DoublingBatch:
    """What a doubling learns from in a step: small pictures `[N, 3, h, w]`, the detail of the large ones and noise, both
    `[N, DETAILS, h, w]`, and times `[N]`."""

    small: Tensor
    detail: Tensor
    noise: Tensor
    time: Tensor


def flow_loss(doubling: Doubling, batch: DoublingBatch) -> Tensor:
    """The mean squared error of the velocity: detail d in units of its spread s, noise e, z = (1 - t) e + t d, and the flow's own
    dz/dt = d - e, to which the predicted d gives (d - z) / (1 - t). An error counts as it is seen, times s."""
    t, spread = batch.time[:, None, None, None], doubling.spread(batch.small)
    detail = batch.detail / spread
    noisy = (1 - t) * batch.noise + t * detail
    with mixed_precision(noisy.device):
        predicted = doubling(noisy, batch.time, batch.small)
    error = (predicted.float() - noisy) / (1 - t) - (detail - batch.noise)
    return (spread * error).square().mean() / spread.square().mean()


def draw_batch(pairs: PicturePairs, factor: int, training: RefinerTraining, rng: np.random.Generator) -> list[DoublingBatch]:
    """A step's batch for each doubling: whatever is drawn comes from `rng`."""
    picks = np.sort(rng.integers(len(pairs.large), size=training.batch))
    large = to_frames(pairs.large[picks])
    small = degraded(means(large, factor), training, rng)
    if pairs.rebuilt is not None:
        of_tokenizer = torch.from_numpy(rng.random(len(large)) < training.rebuilt_share)
        small = torch.where(of_tokenizer[:, None, None, None], to_frames(pairs.rebuilt[picks]), small)
    batches: list[DoublingBatch] = []
    for _, detail in levels(large, factor):
        given, wanted = _crops(small, detail, rng)
        times = torch.from_numpy(rng.uniform(0, LATEST, len(wanted)).astype(np.float32))
        batches.append(DoublingBatch(given, wanted, _normal(rng, wanted), times))
        # The next doubling is shown what this one may come to: true detail, a little pale and noisy, on what this one was shown.
        strength, size = _shares(rng, len(large)), detail.std((1, 2, 3), keepdim=True)
        small = join(small, (1 - 0.3 * strength) * detail + 0.2 * strength * size * _normal(rng, detail)).clamp(0, 1)
    return batches


def degraded(small: Tensor, training: RefinerTraining, rng: np.random.Generator) -> Tensor:
    """Pictures `[N, 3, h, w]` softer or sharper than they came, with noise, in whole levels of 8 bits: of each a share between
    none and all."""
    softer = F.avg_pool2d(F.pad(small, (1, 1, 1, 1), mode="replicate"), 3, 1)
    small = small + (_shares(rng, len(small)) - 0.5) * (softer - small)
    small = small + training.noise * _shares(rng, len(small)) ** 2 * _normal(rng, small)
    return (small.clamp(0, 1) * 255).round() / 255


def levels(large: Tensor, factor: int) -> list[tuple[Tensor, Tensor]]:
    """Of each doubling, from the first on, the smaller picture `[N, 3, h, w]` and the detail `[N, DETAILS, h, w]` that makes it
    the larger one, of pictures `[N, 3, height, width]`."""
    found: list[tuple[Tensor, Tensor]] = []
    while factor > 1:
        large, detail = split(large)
        found.insert(0, (large, detail))
        factor //= 2
    return found


def detail_scales(large: np.ndarray, factor: int) -> tuple[float, ...]:
    """The root mean square of the detail at each doubling, by the contrast of the smaller picture, of at most 256 pictures."""
    shares = [detail / contrast(small) for small, detail in levels(to_frames(large[:: max(1, len(large) // 256)]), factor)]
    return tuple(max(0.001, round(float(one.square().mean().sqrt()), 5)) for one in shares)


def _crops(small: Tensor, detail: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """The same window of `CROP` cells of each pair, the whole of smaller ones: of two places the one with more to learn."""
    rows, columns = (min(CROP, side) for side in small.shape[2:])
    tops, lefts = (
        rng.integers(side - seen + 1, size=(len(small), 2)) for side, seen in zip(small.shape[2:], (rows, columns), strict=True)
    )
    found: list[tuple[Tensor, Tensor]] = []
    for *pair, top, left in zip(small, detail, tops, lefts, strict=True):
        places = [[one[:, y : y + rows, x : x + columns] for one in pair] for y, x in zip(top, left, strict=True)]
        given, wanted = max(places, key=lambda place: float(place[1].square().sum()))
        found.append((given, wanted))
    return torch.stack([given for given, _ in found]), torch.stack([wanted for _, wanted in found])


def _shares(rng: np.random.Generator, count: int) -> Tensor:
    return torch.from_numpy(rng.random(count).astype(np.float32))[:, None, None, None]


def _normal(rng: np.random.Generator, like: Tensor) -> Tensor:
    return torch.from_numpy(rng.standard_normal(like.shape, np.float32))
