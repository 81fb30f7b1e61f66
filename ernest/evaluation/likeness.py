"""How like a reconstruction is to what it was made from: PSNR, SSIM, a Fréchet distance of features, a mel distance."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.lcnet.network import PPLCNet, small_images
from ernest.tokenizers.audio import padded_spectrograms
from ernest.tokenizers.mel import SCALE, MelSpec
from ernest.tokenizers.vision import to_frames

Features = Callable[[Tensor], Tensor]
"""From frames `[N, 3, height, width]` in [0, 1] to vectors `[N, numbers]`."""
BATCH = 64


def psnr(frames: np.ndarray, others: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, the mean over frames uint8 `[..., height, width, 3]`: -10 log10 of the mean squared
    error in [0, 1], 100 dB where nothing differs."""
    error = ((frames.astype(np.float64) - others) / 255) ** 2
    return float((-10 * np.log10(np.maximum(error.mean((-3, -2, -1)), 1e-10))).mean())


def ssim(frames: np.ndarray, others: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004) of frames uint8 `[N, height, width, 3]`: windows of 11 x 11 under a Gaussian
    of 1.5 pixels, in [0, 1], the mean over windows, channels and frames. Frames that are smaller have one window."""
    side = min(11, *frames.shape[1:3])
    bell = torch.exp(-((torch.arange(side, dtype=torch.float64) - (side - 1) / 2) ** 2) / (2 * 1.5**2))
    window = (bell[:, None] * bell / bell.sum() ** 2).expand(3, 1, side, side)
    parts = []
    for start in range(0, len(frames), BATCH):
        x, y = (to_frames(part[start : start + BATCH]).double() for part in (frames, others))
        mean = lambda v: F.conv2d(v, window, groups=3)
        mx, my = mean(x), mean(y)
        xx, yy, xy = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
        index = (2 * mx * my + 1e-4) * (2 * xy + 9e-4) / ((mx * mx + my * my + 1e-4) * (xx + yy + 9e-4))
        parts.append(index.mean((1, 2, 3)))
    return float(torch.cat(parts).mean())


def frechet(features: Tensor, others: Tensor) -> float:
    """Fréchet distance of the Gaussians of two sets of vectors `[N, numbers]`: `|m - n|² + tr(C + D - 2 (C D)^½)`."""
    (m, c), (n, d) = ((v.double().mean(0), torch.cov(v.double().T)) for v in (features, others))
    root = _root(c)
    cross = torch.linalg.eigvalsh(root @ d @ root).clamp_min(0).sqrt().sum()
    return float((m - n).square().sum() + c.trace() + d.trace() - 2 * cross)


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp_min(0).sqrt() @ vectors.T


def drawn_features(frames: np.ndarray) -> Features:
    """Mean feature maps of all stages of an LCNet whose weights are drawn and not trained; its norms are those of `frames`.

    Distances between them order reconstructions of one set of pictures, and mean nothing beside those of another network.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = PPLCNet(small_images(classes=2)).requires_grad_(False)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0  # of the one batch that is seen
    network.train()
    network.features(to_frames(frames[: 4 * BATCH]))
    return pooled_features(network)


def pooled_features(network: PPLCNet) -> Features:
    """Mean feature maps of all stages of a network."""
    network.eval()
    return lambda frames: torch.cat([maps.mean((2, 3)) for maps in network.features(frames)], 1)


@torch.inference_mode()
def frechet_of_frames(frames: np.ndarray, others: np.ndarray, features: Features) -> float:
    """The Fréchet distance of the features of frames uint8 `[N, height, width, 3]`."""
    found = [
        torch.cat([features(to_frames(part[start : start + BATCH])) for start in range(0, len(part), BATCH)])
        for part in (frames, others)
    ]
    return frechet(*found)


def mel_distance(waves: Sequence[np.ndarray], others: Sequence[np.ndarray], rate: int) -> float:
    """Mean absolute difference of log-mel spectrograms, in dB, over all frames and bands; the longer one of a pair is cut."""
    spec, total, count = MelSpec(rate), 0.0, 0
    for wave, other in zip(waves, others, strict=True):
        length = min(len(wave), len(other))
        mel, _ = padded_spectrograms([wave[:length].astype(np.float32), other[:length].astype(np.float32)], spec)
        total += float((mel[0] - mel[1]).abs().sum())
        count += mel[0].numel()
    return SCALE * total / count
