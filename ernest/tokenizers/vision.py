"""The vision tokenizer: turns a frame into cells of 16 bits each, 21 cells for 32 x 32 pixels, and back (ERNIE 5.0 §2.2.1).

A picture is a film of one frame. Of a film each frame is coded alone, or with a temporal stride groups of them are.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ernest.config.media import BITS, CELL, USUAL, scales_of
from ernest.tokenizers.bitwise_quantiser import MultiScaleBits, QuantiserOutput
from ernest.tokenizers.network_file import load_network, save_network
from ernest.tokenizers.spec import VisualSpec
from ernest.tokenizers.temporal import Compress, Expand, in_company, whole_groups

KIND = "a vision tokenizer"


Share = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From what is drawn from and what is named from to the same two; what becomes of their gradients is its own."""


def as_they_are(drawn: Tensor, named: Tensor) -> tuple[Tensor, Tensor]:
    """The tensors themselves: at what they share, both gradients add up."""
    return drawn, named


def to_frames(pixels: np.ndarray, device: torch.device | None = None) -> Tensor:
    """uint8 `[..., height, width, 3]` to float `[..., 3, height, width]` in [0, 1]."""
    return torch.from_numpy(np.require(pixels, requirements=["C", "W"])).to(device).movedim(-1, -3).float() / 255


def to_pixels(frames: Tensor) -> Tensor:
    """Float `[..., 3, height, width]` in [0, 1] to uint8 `[..., height, width, 3]`; what lies outside is clipped."""
    return (frames.clamp(0, 1) * 255).round().to(torch.uint8).movedim(-3, -1)


@dataclass(frozen=True)
class VisionTokenizerConfig:
    """Sizes of the tokenizer; the finest scale has one cell for every 8x8 pixels."""

    size: int | tuple[int, int] = USUAL.height
    """Pixels on a side of a frame, or its height and width."""
    bits: int = BITS
    scales: tuple[int, ...] | tuple[tuple[int, int], ...] = ()
    """Cells on a side of each scale, or their rows and columns, from the coarsest to the finest; by default from a single cell
    on, twice as many from each to the next."""
    width: int = 64
    classes: int = 15
    """How many classes the semantic branch can tell apart; only training uses it."""
    stride: int = 1
    """Frames of a film, behind its first, that one latent stands for."""

    def __post_init__(self) -> None:
        if any(side < CELL or side % CELL for side in self.frame):
            raise ValueError(f"size: expected a multiple of {CELL} pixels from {CELL} on, got {self.size}")
        if self.stride < 1:
            raise ValueError(f"stride: expected at least 1 frame for a latent, got {self.stride}")
        # As pairs, and written out: what a file says of a tokenizer does not hang on today's defaults.
        object.__setattr__(self, "size", self.frame)
        object.__setattr__(self, "scales", self.sizes)
        height, width = self.frame
        if self.sizes[-1] != (height / CELL, width / CELL):
            raise ValueError(
                f"scales: the finest must be size / {CELL} = {height / CELL:g} x {width / CELL:g} cells, got {self.sizes[-1]}"
            )

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width of a frame."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of each scale."""
        return tuple((one, one) if isinstance(one, int) else one for one in self.scales) or scales_of(self.frame)

    @property
    def finest(self) -> int:
        """Cells of the finest scale."""
        rows, columns = self.sizes[-1]
        return rows * columns


class VisionTokenizer(nn.Module):
    """Frames `[N, 3, height, width]` in [0, 1] to bits and back: pictures by `encode` and `decode`, films by `encode_film` and
    `decode_film`, which give for one frame what those give.

    The semantic branch names what a frame shows from its coarse scales alone: it is what makes the bits easy to
    predict from words.
    """

    def __init__(self, config: VisionTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        width, wide = config.width, 2 * config.width
        self.encoder = Encoder(width, wide)
        self.to_bits = nn.Conv2d(wide, config.bits, 1)
        # Without this normalisation the directions crowd together: 18 dB instead of 26, and a quarter of the bits unused.
        self.normalise = nn.BatchNorm2d(config.bits, affine=False, momentum=0.02)
        self.quantiser = MultiScaleBits(config.bits, config.sizes)
        self.semantic = nn.Sequential(
            nn.Flatten(), nn.Linear(config.bits * config.finest, 128), nn.SiLU(), nn.Linear(128, config.classes)
        )
        self.from_bits = nn.Sequential(
            nn.Conv2d(config.bits, wide, 3, 1, 1), Residual(wide), nn.SiLU(), nn.Conv2d(wide, 4 * width, 1), Spread(2)
        )
        self.decoder = nn.Sequential(
            Residual(width), Residual(width), nn.SiLU(),
            nn.Conv2d(width, 128, 3, 1, 1), Spread(4), nn.SiLU(), nn.Conv2d(8, 3, 3, 1, 1),
        )  # fmt: skip
        films = config.stride > 1
        self.compress = Compress(wide, config.stride, Residual) if films else None
        self.expand = Expand(wide, config.stride, Residual) if films else None

    @property
    def spec(self) -> VisualSpec:
        """No layer knows how long a frame lasts, so the frame rate is free."""
        config = self.config
        return VisualSpec(config.frame, None, config.stride, self.quantiser.sizes, config.bits, self.grid, self.feature_channels)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of `features`."""
        height, width = self.config.frame
        return height // 4, width // 4

    @property
    def feature_channels(self) -> int:
        return 3 * self.config.width

    def features(self, frames: Tensor) -> Tensor:
        """Feature maps of the convolutions, before quantisation: `[N, feature_channels, *grid]`.

        This is the CNN path of understanding (ERNIE 5.0 §2.2.2): the fine stage, and the coarse stage brought to its grid.
        """
        return self.join(*self.stages(frames))

    def stages(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """The fine stage `[N, width, *grid]` and the coarse one, half as many rows and columns of twice the channels."""
        self._check(frames)
        fine = self.encoder.stem(frames * 2 - 1)
        return fine, self.encoder.down(fine)

    def join(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """The stages as `features` has them."""
        return torch.cat([fine, F.interpolate(coarse, scale_factor=2.0)], 1)

    def encode(self, frames: Tensor) -> Tensor:
        """The latent that is quantised: `[N, bits, height / 8, width / 8]`. Raises ValueError for frames of another size."""
        self._check(frames)
        return self.latents(self.encoder(frames))

    def encode_film(self, frames: Tensor) -> Tensor:
        """The latents of a film `[frames, 3, height, width]`: `[1 + (frames - 1) / stride, bits, height / 8, width / 8]`, rounded
        up. A latent hangs on no frame behind its group. Raises ValueError for frames of another size."""
        if self.compress is None:
            return self.encode(frames)
        self._check(frames)
        coarse = in_company(self.encoder, whole_groups(frames, self.config.stride))
        return in_company(self.latents, self.compress(coarse[None])[0])

    def latents(self, coarse: Tensor) -> Tensor:
        """Of the coarse stage, `[N, bits, height / 8, width / 8]`."""
        return self.normalise(self.to_bits(coarse).float())

    def decode(self, total: Tensor) -> Tensor:
        """Frames `[N, 3, height, width]` in [0, 1] from the sum of scales `[N, bits, height / 8, width / 8]`."""
        return self.reconstruct(total).clamp(0, 1)

    def decode_film(self, total: Tensor) -> Tensor:
        """A film `[1 + (latents - 1) · stride, 3, height, width]` in [0, 1] from the sums of scales of its latents `[latents,
        bits, height / 8, width / 8]`. A frame hangs on no latent behind its own."""
        return self.decode(total) if self.expand is None else self.reconstruct_films(total[None])[0].clamp(0, 1)

    def reconstruct(self, total: Tensor) -> Tensor:
        """`decode` before the colours are clipped, so that training has a gradient everywhere."""
        return self.decoder(self.from_bits(total)) * 0.5 + 0.5

    def reconstruct_films(self, total: Tensor) -> Tensor:
        """The same of films `[N, latents, bits, height / 8, width / 8]`: `[N, frames, 3, height, width]`."""
        assert self.expand is not None
        hidden = in_company(self.from_bits[:2], total.flatten(0, 1)).unflatten(0, total.shape[:2])
        frames = self.expand(hidden)
        drawn = in_company(lambda x: self.decoder(self.from_bits[2:](x)), frames.flatten(0, 1))
        return drawn.unflatten(0, frames.shape[:2]) * 0.5 + 0.5

    def forward(
        self,
        frames: Tensor,
        quantised: float = 1.0,
        bit_flip_rate: float = 0.0,
        generator: torch.Generator | None = None,
        share: Share = as_they_are,
    ) -> tuple[Tensor, Tensor, QuantiserOutput, Tensor]:
        """Reconstruction, class logits of the coarse scales `[N, classes]`, the quantiser's own terms, and the mean of `features`
        over the grid `[N, feature_channels]`.

        `quantised` is how much of the latent goes through bits; the rest goes around them, for the first steps of
        training. `bit_flip_rate` is the share of bits turned over on the way. Where what is drawn and what is named part
        ways, in the encoder and in the quantiser, both go through `share`.
        """
        fine, coarse = self.stages(frames)
        pooled = torch.cat([fine.mean((2, 3)), coarse.mean((2, 3))], 1)
        coarse, pooled = share(coarse, pooled)
        latent = self.normalise(self.to_bits(coarse).float())
        code = self.quantiser(latent, bit_flip_rate, generator)
        total, told = share(torch.lerp(latent, code.total, quantised), code.coarse)
        logits = self.semantic(told)
        return self.reconstruct(total), logits, replace(code, coarse=told), pooled

    def _check(self, frames: Tensor) -> None:
        if frames.shape[-2:] != self.config.frame:
            actual, right = (" x ".join(map(str, size)) for size in (frames.shape[-2:], self.config.frame))
            raise ValueError(f"frames of {actual} pixels: this tokenizer is one of {right}")

    def save(self, path: str | Path) -> None:
        """Weights as safetensors, with the configuration in the header."""
        save_network(path, KIND, self, self.config)

    @classmethod
    def load(cls, path: str | Path, mapped: bool = False) -> "VisionTokenizer":
        """The tokenizer that `save` wrote, ready for use; ValueError, which names the file, if it holds something else."""
        return load_network(path, KIND, VisionTokenizerConfig, cls, mapped)


def inflate(tokenizer: VisionTokenizer, stride: int, seed: int = 0) -> VisionTokenizer:
    """A tokenizer of films from one of pictures: the same bits of every picture, and new layers over time, to be trained."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        films = VisionTokenizer(replace(tokenizer.config, stride=stride)).to(tokenizer.quantiser.gain.device)
    films.load_state_dict(tokenizer.state_dict(), strict=False)
    return films.train(tokenizer.training)


class Encoder(nn.Module):
    """Frames in [0, 1] to channels: `stem` on a grid of 4x4 pixels, `down` on one of 8x8."""

    def __init__(self, width: int, wide: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(Gather(4), nn.Conv2d(48, width, 3, 1, 1), Residual(width), nn.SiLU())
        self.down = nn.Sequential(nn.Conv2d(width, wide, 4, 2, 1), Residual(wide), nn.SiLU())

    def forward(self, frames: Tensor) -> Tensor:
        return self.down(self.stem(frames * 2 - 1))


class Residual(nn.Module):
    """`x + conv(silu(conv(silu(x))))`, with convolutions of 3x3."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class Gather(nn.Module):
    """Blocks of `side` x `side` pixels become channels: `[N, C, H, W]` to `[N, side * side * C, H / side, W / side]`."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        x = x.movedim(1, -1).reshape(n, height // self.side, self.side, width // self.side, self.side, channels)
        return x.transpose(2, 3).reshape(n, height // self.side, width // self.side, -1).movedim(-1, 1)


class Spread(nn.Module):
    """The inverse of `Gather`.

    Channels stay innermost in both, since PixelShuffle on channels-last memory took a tenth of training.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        x = x.movedim(1, -1).reshape(n, height, width, self.side, self.side, -1)
        return x.transpose(2, 3).reshape(n, height * self.side, width * self.side, -1).movedim(-1, 1)
