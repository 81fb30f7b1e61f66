"""Interfaces of the visual tokenizer and the audio codec: encode, decode, features, and the sizes of each.

The network is sized by these numbers, and data, generation and evaluation use these methods; another tokenizer that has them
can take the place of the ones here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from ernest.tokenizers.bitwise_quantiser import MultiScaleBits


@dataclass(frozen=True)
class VisualSpec:
    """The sizes of a tokenizer of pictures and videos."""

    size: tuple[int, int]
    """Height and width of a frame, in pixels."""
    frame_rate: float | None
    """Frames per second of a video, in Hz; None where each frame is coded alone, so that any rate will do."""
    temporal_stride: int
    """Frames that one latent stands for."""
    scales: tuple[tuple[int, int], ...]
    """Rows and columns of cells, from the coarsest scale to the finest."""
    bits: int
    """Bits of a cell."""
    grid: tuple[int, int]
    """Rows and columns of `features`."""
    feature_channels: int


@dataclass(frozen=True)
class AudioSpec:
    """The sizes of a codec of sounds."""

    sample_rate: int
    """Samples per second, in Hz."""
    frame_rate: float
    """Frames of codes per second, in Hz."""
    levels: int
    """Codes of a frame, from the one that says most to the one that says least."""
    codebook: int
    """Values that a code can take, from 0."""


@runtime_checkable
class VisualTokenizer(Protocol):
    """Frames `[N, 3, *size]` in [0, 1] to latents, whose bits the network makes, and back."""

    @property
    def spec(self) -> VisualSpec: ...

    @property
    def quantiser(self) -> MultiScaleBits:
        """From latents to bits, scale by scale, and from bits to sums of scales."""
        ...

    def encode(self, frames: Tensor) -> Tensor:
        """Latents `[N, bits, *scales[-1]]`."""
        ...

    def decode(self, total: Tensor) -> Tensor:
        """Frames from sums of scales `[N, bits, *scales[-1]]`."""
        ...

    def features(self, frames: Tensor) -> Tensor:
        """Feature maps of given frames, which the network's encoder reads: `[N, feature_channels, *grid]`."""
        ...


@runtime_checkable
class AudioCodec(Protocol):
    """Waves float32 `[samples]` to integer codes and back."""

    @property
    def spec(self) -> AudioSpec: ...

    def encode(self, waves: Sequence[np.ndarray]) -> list[Tensor]:
        """Codes `[ceil(frame_rate · seconds), levels]` of each wave."""
        ...

    def decode(self, codes: Sequence[Tensor]) -> list[np.ndarray]:
        """A wave for each `[frames, levels]`."""
        ...
