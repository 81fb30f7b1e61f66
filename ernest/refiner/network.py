"""The refiner: a network for each doubling of a picture's size, which draws its detail by flow matching (ERNIE 5.0 §2.2.3).

It knows nothing of the model, and stands in no graph with it: pixels come in, and pixels go out.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ernest.config.media import CELL
from ernest.refiner.detail import DETAILS, split
from ernest.tokenizers.network_file import load_network, save_network

KIND = "a refiner"
FILE = "refiner.safetensors"
"""The file of a refiner in its folder."""
WAVES = 8
"""Cosines in which the networks are told the time."""


@dataclass(frozen=True)
class RefinerConfig:
    """The size of the pictures that come in, how often it is doubled, and the sizes of the networks."""

    size: tuple[int, int]
    """Height and width of a picture before it is refined."""
    scales: tuple[float, ...]
    """The root mean square of the detail at each doubling, by the contrast beside it: there are as many doublings."""
    width: int = 32

    def __post_init__(self) -> None:
        if any(side < CELL or side % CELL for side in self.size):
            raise ValueError(f"size: expected multiples of {CELL} pixels, got {self.size}")
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f"scales: expected one above 0 for each doubling, got {self.scales}")

    @property
    def factor(self) -> int:
        """How many times as high and as wide pictures become."""
        return 2 ** len(self.scales)

    def __str__(self) -> str:
        (height, width), factor = self.size, self.factor
        return f"pictures from {height} x {width} to {height * factor} x {width * factor} pixels"


class Refiner(nn.Module):
    """A `Doubling` for each of the scales, from the smallest picture to the largest."""

    def __init__(self, config: RefinerConfig) -> None:
        super().__init__()
        self.config = config
        self.doublings = nn.ModuleList([Doubling(scale, config.width) for scale in config.scales])

    @property
    def stages(self) -> "list[Doubling]":
        """The doublings in their order."""
        return [one for one in self.doublings if isinstance(one, Doubling)]

    def check(self, size: tuple[int, ...]) -> None:
        """Raises ValueError for pictures of another size."""
        if size != self.config.size:
            actual, right = (" x ".join(map(str, one)) for one in (size, self.config.size))
            raise ValueError(f"pictures of {actual} pixels: this refiner is one of {right}")

    def save(self, folder: str | Path) -> None:
        """Weights as safetensors, with the configuration in the header, in a folder."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        save_network(Path(folder) / FILE, KIND, self, self.config)

    @classmethod
    def load(cls, folder: str | Path) -> "Refiner":
        """The refiner that `save` wrote, ready for use. Raises ValueError, naming the folder or the file, where there is none."""
        if not (Path(folder) / FILE).is_file():
            raise ValueError(f"{folder} holds no refiner: `ernest refiner train` makes one")
        return load_network(Path(folder) / FILE, KIND, RefinerConfig, cls).requires_grad_(False)


class Doubling(nn.Module):
    """Predicts the detail of a picture of twice the size from the small one and from noisy detail.

    Detail is in units of `spread`. The network works on the grid of the small picture, in two levels, and knows neither how large
    it is nor what lies beyond 20 cells.
    """

    def __init__(self, scale: float, width: int) -> None:
        super().__init__()
        self.scale = scale
        self.enter = nn.Conv2d(2 * DETAILS + 3, width, 3, padding=1)
        self.time = nn.Sequential(nn.Linear(WAVES, width), nn.SiLU())
        self.fine = Block(width, width)
        self.down = nn.Conv2d(width, 2 * width, 2, 2)
        self.coarse = nn.ModuleList([Block(2 * width, width) for _ in range(3)])
        self.up = nn.Conv2d(2 * width, 4 * width, 1)
        self.last = Block(width, width)
        self.leave = nn.Conv2d(width, DETAILS, 3, padding=1)
        nn.init.zeros_(self.leave.weight)

    def spread(self, small: Tensor) -> Tensor:
        """How much detail is to be expected in each pixel of pictures `[N, 3, h, w]`: `[N, 1, h, w]`, in proportion to the
        contrast around it. So the flow begins with little noise where there is little to draw."""
        return self.scale * contrast(small)

    def forward(self, noisy: Tensor, time: Tensor, small: Tensor) -> Tensor:
        """The detail `[N, DETAILS, h, w]` that stands behind `noisy` of that shape at the times `[N]` in [0, 1), for the picture
        `small` `[N, 3, h, w]` in [0, 1]."""
        usual = split(F.interpolate(small, scale_factor=2.0, mode="bicubic"))[1] / self.spread(small)
        waves = torch.cos(math.pi * time[:, None] * torch.arange(WAVES, device=time.device))
        when = self.time(waves)
        fine = self.fine(self.enter(torch.cat([noisy, usual, 2 * small - 1], 1)), when)
        coarse = self.down(fine)
        for block in self.coarse:
            coarse = block(coarse, when)
        fine = self.last(fine + F.pixel_shuffle(self.up(coarse), 2), when)
        # Bicubic interpolation is right where nothing is to be seen; what is learnt is the rest.
        return usual + self.leave(F.silu(fine)).float()


def contrast(small: Tensor) -> Tensor:
    """The range of a colour among a pixel and its eight neighbours, the largest of the three: `[N, 1, h, w]` of pictures
    `[N, 3, h, w]`; two levels of 8 bits at least."""
    span = F.max_pool2d(small, 3, 1, 1) + F.max_pool2d(-small, 3, 1, 1)
    return span.amax(1, keepdim=True).clamp_min(2 / 255)


class Block(nn.Module):
    """Two convolutions beside what goes through unchanged; the time scales and shifts what lies between them."""

    def __init__(self, width: int, told: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.told = nn.Linear(told, 2 * width)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor, when: Tensor) -> Tensor:
        scale, shift = self.told(when)[:, :, None, None].chunk(2, 1)
        inside = self.first(F.silu(x)) * (1 + scale) + shift
        return x + self.second(F.silu(inside))
