"""Networks to test with: random ones whose normalisation has seen something, and a small one that has learned the digits."""

from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F

from ernest.lcnet import PPLCNet, Preprocessing, small_images
from ernest.lcnet.weights.native import save

DIGITS = Preprocessing(resize=32, crop=None, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
Network = TypeVar("Network", bound=torch.nn.Module)
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def with_statistics(network: Network, size: int = 64) -> Network:
    """Ready to be used, with running statistics and gains as training would leave them: not all alike."""
    generator = torch.Generator().manual_seed(0)
    channels = next(module.in_channels for module in network.modules() if isinstance(module, torch.nn.Conv2d))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
            torch.nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            torch.nn.init.normal_(module.bias, 0.0, 0.1, generator=generator)
    with torch.no_grad():
        network.train()(torch.randn(8, channels, size, size, generator=generator))
    return network.eval()


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's 1797 digits, enlarged: uint8 `[N, 32, 32]` and their classes, in an order that mixes the writers."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = torch.from_numpy(bunch.images).float()[:, None] / 16
    images = F.interpolate(small, (32, 32), mode="bilinear", align_corners=False)[:, 0]
    order = np.random.default_rng(0).permutation(len(images))
    return (255 * images.numpy()).round().astype(np.uint8)[order], bunch.target[order]


def as_inputs(pictures: np.ndarray) -> torch.Tensor:
    """What `prepare` makes of digits under the rule DIGITS, all at once."""
    return ((torch.from_numpy(pictures).float() / 255 - 0.5) / 0.5)[:, None].expand(-1, 3, -1, -1).contiguous()


@cache
def trained_digits(steps: int = 120) -> PPLCNet:
    """A network that tells most digits apart, trained in some ten seconds on the first 1297."""
    pictures, classes = digits()
    images, targets = as_inputs(pictures[:1297]), torch.from_numpy(classes[:1297])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PPLCNet(small_images(10, scale=0.5)).train()
        optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = 0.1 * (1 + np.cos(np.pi * step / steps)) / 2
            chosen = torch.randint(len(images), (64,))
            loss = F.cross_entropy(network(images[chosen]), targets[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return network.eval()


def write_digits(folder: Path, first: int, last: int) -> list[Path]:
    """Digits as grey .png files in a sub-folder for each class."""
    from PIL import Image

    pictures, classes = digits()
    files = []
    for place in range(first, last):
        file = folder / NAMES[classes[place]] / f"{place:04}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures[place]).save(file)
        files.append(file)
    return files


def save_digits(path: Path) -> Path:
    save(path, trained_digits(), NAMES, DIGITS, {"data": "scikit-learn's digits"})
    return path
