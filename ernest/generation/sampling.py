"""Draws choices from logits, with temperature, top-p and classifier-free guidance."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """`temperature` 0 takes the likeliest; `top_p` keeps the likeliest choices that hold this share of probability; `guidance`
    g > 0 pushes away from the unconditioned model: l + g (l - l_unconditioned). The first frame of a video, which decides what
    it becomes, has a temperature of its own where `first_frame_temperature` is set."""

    temperature: float = 1.0
    top_p: float = 1.0
    guidance: float = 0.0
    first_frame_temperature: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("temperature", self.temperature), ("first_frame_temperature", self.first_frame_temperature)):
            if value is not None and value < 0:
                raise ValueError(f"{name} = {value} must not be negative")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p = {self.top_p} must lie in (0, 1]")
        if self.guidance < 0:
            raise ValueError(f"guidance = {self.guidance} must not be negative")


DEFAULTS = {
    "text": Sampling(temperature=0.0),
    "image": Sampling(temperature=0.4, guidance=1.5),
    "video": Sampling(temperature=0.6, first_frame_temperature=1.2),
    "audio": Sampling(temperature=0.8, top_p=0.9, guidance=1.0),
}
"""What works best for each kind in the demo."""


def at_frame(sampling: Sampling, frame: int) -> Sampling:
    """The sampling of the bits of a frame: the first frame of a video may have a temperature of its own."""
    if frame or sampling.first_frame_temperature is None:
        return sampling
    return replace(sampling, temperature=sampling.first_frame_temperature)


def apply_cfg(logits: Tensor, sampling: Sampling) -> Tensor:
    """Logits of the conditioned rows; under guidance the second half of the rows is unconditioned."""
    if not sampling.guidance:
        return logits
    conditioned, free = logits.chunk(2)
    return conditioned + sampling.guidance * (conditioned - free)


def choose_class(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """One class per row of `[..., classes]`."""
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    p = F.softmax(logits.float() / sampling.temperature, dim=-1)
    if sampling.top_p < 1:
        ordered, index = p.sort(dim=-1, descending=True)
        beyond = ordered.cumsum(dim=-1) - ordered > sampling.top_p
        p = torch.zeros_like(p).scatter(-1, index, ordered.masked_fill(beyond, 0.0))
    return torch.multinomial(p.flatten(0, -2), 1, generator=generator)[:, 0].view(logits.shape[:-1])


def choose_bits(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """Every bit on its own, bool; top-p settles a bit whose likelier value holds that share alone."""
    if sampling.temperature == 0:
        return logits > 0
    p = torch.sigmoid(logits.float() / sampling.temperature)
    if sampling.top_p < 1:
        p = torch.where(p >= sampling.top_p, 1.0, torch.where(p <= 1 - sampling.top_p, 0.0, p))
    return torch.rand(p.shape, generator=generator) < p
