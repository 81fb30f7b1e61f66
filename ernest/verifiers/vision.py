"""Judges of what the eye sees: the digit on a picture, and the family that a video belongs to.

Colour, place and the energy law are checked exactly elsewhere; handwriting and the look of a video are not, so
two small networks stand in. They are trained on draws of their own and never see the model.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ernest.lcnet.image_io.augment import elastic_distort
from ernest.lcnet.network import PPLCNet, small_images

Draw = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""A step to a batch of its own: pictures uint8 `[N, 32, 32, 3]` and their classes, int `[N]`."""

Network = TypeVar("Network", bound=nn.Module)
Progress = Callable[[int, int, Mapping[str, float]], None]


class FamilyNetwork(nn.Module):
    """Videos `[N, frames, 3, 32, 32]` to logits `[N, classes]`: all frames at once, as channels of one picture."""

    def __init__(self, frames: int, classes: int, width: int = 32) -> None:
        super().__init__()
        self.frames, self.classes = frames, classes
        self.trunk = nn.Sequential(
            nn.PixelUnshuffle(2),
            *_conv(12 * frames, width, 1),
            *_conv(width, 2 * width, 2),
            *_conv(2 * width, 2 * width, 2),
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8 * width, classes))

    def forward(self, videos: Tensor) -> Tensor:
        return self.head(self.trunk(videos.flatten(1, 2) - 0.5))


def train_digit_judge(draw: Draw, steps: int, seed: int = 0, progress: Progress | None = None) -> PPLCNet:
    """A PP-LCNet that reads the digit of a picture, from `steps` batches of `draw`."""
    torch.manual_seed(seed)
    network = PPLCNet(small_images(classes=10))
    generator = torch.Generator().manual_seed(seed)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        pictures, digits = draw(step)
        return distort(as_frames(pictures), generator), torch.from_numpy(digits).long()

    return _train(network, batch, steps, 4e-3, progress)


def train_family_judge(
    videos: np.ndarray, families: np.ndarray, steps: int, seed: int = 0, progress: Progress | None = None
) -> FamilyNetwork:
    """A network that names the family of a video: uint8 `[N, frames, 32, 32, 3]` and int `[N]` to learn from."""
    torch.manual_seed(seed)
    network = FamilyNetwork(videos.shape[1], int(families.max()) + 1)
    rng = np.random.default_rng((seed, 1))
    generator = torch.Generator().manual_seed(seed)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        chosen = rng.integers(len(videos), size=32)
        frames = as_frames(videos[chosen])
        strength = 0.06 * torch.rand(len(frames), 1, 1, 1, 1, generator=generator)
        noise = torch.randn(frames.shape, generator=generator) * strength
        return frames + noise, torch.from_numpy(families[chosen]).long()

    return _train(network, batch, steps, 2e-3, progress)


def classify(network: nn.Module, media: np.ndarray) -> np.ndarray:
    """The class of every picture uint8 `[N, 32, 32, 3]`, or of every video `[N, frames, 32, 32, 3]`: int `[N]`."""
    network.eval()
    with torch.no_grad():
        parts = [network(as_frames(media[start : start + 250])).argmax(-1) for start in range(0, len(media), 250)]
    return torch.cat(parts).numpy()


def save(judge: PPLCNet | FamilyNetwork, path: str | Path) -> None:
    """Weights as safetensors; the header says which judge it is."""
    about = (
        {"judge": "digit"}
        if isinstance(judge, PPLCNet)
        else {"judge": "family", "frames": judge.frames, "classes": judge.classes}
    )
    aside = Path(path).with_suffix(".partial")
    save_file(judge.state_dict(), aside, metadata={"config": json.dumps(about)})
    os.replace(aside, path)


def load_digit_judge(path: str | Path) -> PPLCNet:
    """The digit judge that `save` wrote; ValueError if the file holds something else."""
    _read_header(path, "digit")
    judge = PPLCNet(small_images(classes=10))
    judge.load_state_dict(load_file(path))
    return judge.eval()


def load_family_judge(path: str | Path) -> FamilyNetwork:
    """The family judge that `save` wrote; ValueError if the file holds something else."""
    about = _read_header(path, "family")
    judge = FamilyNetwork(about["frames"], about["classes"])
    judge.load_state_dict(load_file(path))
    return judge.eval()


def as_frames(media: np.ndarray) -> Tensor:
    """uint8 `[..., height, width, 3]` to float `[..., 3, height, width]` in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(media)).movedim(-1, -3).float() / 255


def distort(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Augment pictures `[N, 3, H, W]`: random elastic distortion, blur of random strength and Gaussian noise.

    Blur and noise make the judge read what tokenizers and models draw as it reads clean pictures.
    """
    n, _, height, width = frames.shape
    bent = elastic_distort(frames, generator)
    soft = F.interpolate(F.avg_pool2d(bent, 2), (height, width), mode="bilinear", align_corners=False)
    share = torch.rand(n, 1, 1, 1, generator=generator) ** 2
    strength = 0.06 * torch.rand(n, 1, 1, 1, generator=generator)
    return bent + share * (soft - bent) + strength * torch.randn(frames.shape, generator=generator)


def _conv(width: int, out: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(width, out, 3, stride, 1), nn.BatchNorm2d(out), nn.ReLU()]


def _read_header(path: str | Path, judge: str) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        about = json.loads((file.metadata() or {}).get("config", "{}"))
    if about.get("judge") != judge:
        raise ValueError(f"{path}: expected a {judge} judge, found {about.get('judge', 'something else')}")
    return about


def _train(
    network: Network,
    batch: Callable[[int], tuple[Tensor, Tensor]],
    steps: int,
    rate: float,
    progress: Progress | None,
) -> Network:
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.02, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=max(2, steps), pct_start=0.1)
    network.train()
    for step in range(steps):
        media, classes = batch(step)
        loss = F.cross_entropy(network(media), classes, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if progress:
            progress(step + 1, steps, {"loss": loss.item()})
    return network.eval()
