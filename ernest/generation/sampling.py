"""Draws choices from logits, row by row, with temperature, top-p and classifier-free guidance.

Shapes: R rows, each with a sampling and a stream of random numbers of its own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from hashlib import blake2b

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.device import HOST
from ernest.model.decoding import choose_classes

MOST_GUIDANCE = 1_000_000
"""Far beyond what changes anything, and far from the largest number that logits may be."""


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
            if value is not None and not 0 <= value < float("inf"):
                raise ValueError(f"{name} = {value} must be a number from 0 on")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p = {self.top_p} must lie in (0, 1]")
        if not 0 <= self.guidance <= MOST_GUIDANCE:
            raise ValueError(f"guidance = {self.guidance} must be a number from 0 to {MOST_GUIDANCE:,}")


DEFAULTS = {
    "text": Sampling(temperature=0.0),
    "image": Sampling(temperature=0.4, guidance=1.5),
    "video": Sampling(temperature=0.6, first_frame_temperature=1.2),
    "audio": Sampling(temperature=0.8, top_p=0.9, guidance=1.0),
}
"""What works best for each kind in the demo."""


def at_frame(sampling: Sampling, frame: int) -> Sampling:
    """The sampling of the bits of a frame: the first frame of a video may have a temperature of its own."""
    return sampling if frame or sampling.first_frame_temperature is None else _at_first_frame(sampling)


@lru_cache
def _at_first_frame(sampling: Sampling) -> Sampling:
    assert sampling.first_frame_temperature is not None
    return replace(sampling, temperature=sampling.first_frame_temperature)


class Stream:
    """The random numbers of one sample: a seed of any size, or several, and the number of the sample."""

    def __init__(self, seed: int | tuple[int, ...], sample: int) -> None:
        seeds = seed if isinstance(seed, tuple) else (seed,)
        spelled = ",".join(str(int(part)) for part in (*seeds, sample))
        self._seed = int.from_bytes(blake2b(spelled.encode(), digest_size=16).digest(), "little")
        self._seen = np.zeros(0)

    @cached_property
    def _rng(self) -> "np.random.Generator":
        """Numpy imports its random numbers where they are first named, which a command that draws none need not wait for."""
        return np.random.default_rng(self._seed)

    def random(self, shape: tuple[int, ...]) -> np.ndarray:
        """The next numbers from [0, 1)."""
        if not len(self._seen):
            return self._rng.random(shape)
        found = self.ahead(math.prod(shape)).reshape(shape)
        self.skip(found.size)
        return found

    def ahead(self, count: int) -> np.ndarray:
        """The next numbers, which come again."""
        if len(self._seen) < count:
            self._seen = np.concatenate([self._seen, self._rng.random(count - len(self._seen))])
        return self._seen[:count]

    def skip(self, count: int) -> None:
        """Numbers that were seen have been used."""
        self._seen = self._seen[count:]


@dataclass(frozen=True)
class Draws:
    """How R rows choose: what their samplings say, `[R]` each, and the streams that they draw from."""

    samplings: Sequence[Sampling]
    streams: Sequence[Stream]
    seen: np.ndarray | None = None
    """Numbers `[R]` for choices of one number each, in place of the next of the streams."""

    @cached_property
    def temperatures(self) -> np.ndarray:
        """Of each row `[R]`."""
        return np.array([sampling.temperature for sampling in self.samplings])

    @cached_property
    def shares(self) -> np.ndarray:
        """The top-p of each row `[R]`."""
        return np.array([sampling.top_p for sampling in self.samplings])

    @cached_property
    def guidances(self) -> np.ndarray:
        """The guidance of each row `[R]`."""
        return np.array([sampling.guidance for sampling in self.samplings])

    @property
    def greedy(self) -> bool:
        """Whether no row draws at random."""
        return not self.temperatures.any()

    def ahead(self, count: int) -> "Draws":
        """Of `count` choices of each row, in order, whose numbers count as used once the streams skip them."""
        seen = [
            np.zeros(count) if sampling.temperature == 0 else stream.ahead(count)
            for sampling, stream in zip(self.samplings, self.streams, strict=True)
        ]
        each = [n for n in range(len(self.samplings)) for _ in range(count)]
        return Draws([self.samplings[n] for n in each], [self.streams[n] for n in each], np.concatenate(seen))

    def uniform(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """Numbers from [0, 1), `[R, *shape]`; a greedy row leaves its stream alone."""
        if self.seen is not None:
            return torch.from_numpy(self.seen.reshape(-1, *shape)).to(device)
        drawn = [
            np.zeros(shape) if sampling.temperature == 0 else rng.random(shape)
            for sampling, rng in zip(self.samplings, self.streams, strict=True)
        ]
        return torch.from_numpy(np.stack(drawn)).to(device)


def apply_cfg(logits: Tensor, free: Tensor, draws: Draws) -> Tensor:
    """l + g (l - l_free) of conditioned and unconditioned logits `[R, ...]`."""
    return logits + _column(draws.guidances, logits) * (logits - free)


def _column(values: np.ndarray, like: Tensor) -> Tensor:
    """A number of each row, to go with logits `[R, ...]`."""
    return torch.from_numpy(values).to(like.device, like.dtype).view(-1, *(1,) * (like.dim() - 1))


def choose_class(logits: Tensor, draws: Draws, numbers: np.ndarray | None = None) -> tuple[Tensor, Tensor]:
    """One class of each row of `[R, classes]`, and the log-probability of that choice; `numbers` `[R]` from [0, 1) are the next
    of the streams, where none are given."""
    if numbers is None:
        numbers = np.zeros(len(logits)) if draws.greedy else draws.uniform((1,), torch.device(HOST)).numpy()
    found = choose_classes(logits, draws.temperatures, draws.shares, numbers)
    return found or _choose_class(logits, draws, torch.from_numpy(numbers.reshape(-1, 1)).to(logits.device))


def _choose_class(logits: Tensor, draws: Draws, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """The same without a kernel."""
    likeliest = logits.argmax(dim=-1)
    if draws.greedy:
        return likeliest, torch.zeros(len(logits), dtype=torch.float32, device=logits.device)
    wide = logits.double()
    temperature, top_p = _column(draws.temperatures, wide), _column(draws.shares, wide)
    greedy = temperature == 0
    # Below the largest, so that however low a temperature divides nothing to infinity twice.
    p = F.softmax((wide - wide.amax(dim=-1, keepdim=True)) / temperature.masked_fill(greedy, 1.0), dim=-1)
    if any(sampling.top_p < 1 for sampling in draws.samplings):
        ordered, index = p.sort(dim=-1, descending=True)
        beyond = ordered.cumsum(dim=-1) - ordered > top_p
        p = torch.zeros_like(p).scatter(-1, index, ordered.masked_fill(beyond, 0.0))
    below = p.cumsum(dim=-1)
    total = below[:, -1:]
    # The first class whose share of [0, total) holds the draw: a class without a share holds none.
    drawn = (below <= numbers * total).sum(dim=-1).clamp_max(logits.shape[-1] - 1)
    chosen = torch.where(greedy[:, 0], likeliest, drawn)
    log_p = (p / total).gather(1, chosen[:, None])[:, 0].log().float()
    return chosen, log_p.masked_fill(greedy[:, 0], 0.0)


def choose_bits(logits: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Every bit of `[R, cells, bits]` on its own, bool, and the log-probability of each; top-p settles a bit whose likelier
    value holds that share alone."""
    if draws.greedy:
        return logits > 0, torch.zeros(logits.shape, dtype=torch.float32, device=logits.device)
    wide = logits.double()
    temperature, top_p = _column(draws.temperatures, wide), _column(draws.shares, wide)
    greedy = temperature == 0
    p = torch.sigmoid(wide / temperature.masked_fill(greedy, 1.0))
    settled = (top_p < 1) & (torch.maximum(p, 1 - p) >= top_p)
    p = torch.where(settled, (p > 0.5).double(), p)
    bits = torch.where(greedy, logits > 0, draws.uniform(tuple(logits.shape[1:]), logits.device) < p)
    log_p = torch.where(bits, p, 1 - p).log().masked_fill(greedy, 0.0)
    return bits, log_p.float()
