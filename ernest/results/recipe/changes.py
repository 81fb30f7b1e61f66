"""What an ablation changes beyond its recipe: a part of trainer or network, replaced while a run is trained and measured.

None of these is a setting that a user could want, so they stand here and not in the engine.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ernest.config.tables import TrainingConfig
from ernest.data import collate as collating
from ernest.generation import choices
from ernest.generation.sampling import Draws, choose_bits
from ernest.model import encoder
from ernest.model.attention import attend_within
from ernest.model.encoder import PatchMerger
from ernest.model.heads import AudioHeads
from ernest.model.network import Ernest
from ernest.model.router import Router
from ernest.results.small_runs import replaced
from ernest.sequence.batch import Batch
from ernest.training import loop, makers
from ernest.training.build import build_network
from ernest.training.loss import MODALITIES, LossBalancer
from ernest.training.schedule import ScheduleValues, schedule_values

SKEWED, SKEW = 6, 8.0
"""So many experts of every layer begin with scores so many times as wide, which makes them the choice of most tokens."""


# ------------------------------------------------------------------ places


@contextmanager
def places(of: Callable[[Batch], Tensor]) -> Iterator[None]:
    """Batches whose places `[rows, length, 3]` are others, wherever `collate` is asked for one by its module or by a training."""
    collate = collating.collate

    def changed(*args: Any, **kwargs: Any) -> Batch:
        batch = collate(*args, **kwargs)
        return replace(batch, position=of(batch))

    with replaced(collating, "collate", changed), replaced(makers, "collate", changed):
        yield


def in_order(batch: Batch) -> Tensor:
    """The number of a position in its document, as ordinary rotary embedding has it."""
    begins = torch.ones_like(batch.valid)
    begins[:, 1:] = batch.document[:, 1:] != batch.document[:, :-1]
    column = torch.arange(begins.shape[1]).expand_as(begins)
    number = column - torch.where(begins, column, 0).cummax(dim=1).values
    return number.to(batch.position.dtype)[..., None].expand(-1, -1, 3)


def in_time(batch: Batch) -> Tensor:
    """Time alone: all cells of a frame stand at one place."""
    return batch.position[..., :1].expand(-1, -1, 3)


# ------------------------------------------------------------------ vision


def even_scales() -> Any:
    """Every cell of a frame counts the same, so that a scale weighs by its area."""

    def even(sizes: tuple[tuple[int, int], ...]) -> Tensor:
        cells = sum(height * width for height, width in sizes)
        return torch.full((cells,), 1 / cells)

    return replaced(collating, "scale_weights", even)


def flipped_draws(cells: int, rate: float, seed: int) -> Any:
    """Of the scale with so many cells, bits are turned over at this rate after they were drawn."""
    generator = torch.Generator().manual_seed(seed)

    def choose(logits: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        bits, log_p = choose_bits(logits, draws)
        if logits.shape[1] == cells:
            bits = bits ^ (torch.rand(bits.shape, generator=generator) < rate)
        return bits, log_p

    return replaced(choices, "choose_bits", choose)


def merger(kind: type[nn.Module]) -> Any:
    """Given pictures enter another way."""
    return replaced(encoder, "PatchMerger", kind)


class _OnePath(PatchMerger):
    """The merger over the patches of one path; the other and the gate get gradients of zero."""

    def attend(self, x: Tensor, silent: Tensor) -> Tensor:
        y = attend_within(self.qkv(self.norm(x)), self.heads)
        return self.output((x + self.out(y)).mean(dim=1)) + 0.0 * (silent.sum() + self.gate.sum())


class CnnAlone(_OnePath):
    """What the vision tokenizer sees."""

    def forward(self, cnn: Tensor, vit: Tensor) -> Tensor:
        return self.attend(self.project(cnn), vit)


class VitAlone(_OnePath):
    """What the ViT sees, which learns with the backbone."""

    def forward(self, cnn: Tensor, vit: Tensor) -> Tensor:
        return self.attend(vit, self.project(cnn))


class MlpMerger(nn.Module):
    """Both paths of all K patches side by side through a layer of GELU, as wide as the ViT, and to the backbone."""

    def __init__(self, features: int, vit_width: int, width: int) -> None:
        super().__init__()
        self.join = nn.ModuleDict({str(k): nn.Linear(k * (features + vit_width), vit_width) for k in (4, 16)})
        self.output = nn.Linear(vit_width, width)

    def forward(self, cnn: Tensor, vit: Tensor) -> Tensor:
        both = torch.cat([cnn, vit], dim=2)
        return self.output(nn.functional.gelu(self.join[str(both.shape[1])](both.flatten(1))))


# ------------------------------------------------------------------ sounds


def without_feedback() -> Any:
    """Codes of a frame are read along depth, and none is added before the next layer."""

    def step(self: AudioHeads, layer: int, x: Tensor, index: Tensor, choose: Callable[[int, Tensor], Tensor]) -> Tensor:
        level = layer - self.first_layer
        if level >= 0:
            choose(level, self.code_heads[level](self.code_norms[level](x.flatten(0, 1)[index])))
        return x

    return replaced(AudioHeads, "step", step)


# ------------------------------------------------------------------ training


def steady_balance() -> Any:
    """The bias of the routers keeps its speed to the end."""

    def steady(step: int, config: TrainingConfig) -> ScheduleValues:
        return replace(schedule_values(step, config), bias_speed=config.bias_speed)

    return replaced(loop, "schedule_values", steady)


def skewed_routers() -> Any:
    """Training begins with routers of which a few experts take most tokens."""

    def build(*args: Any, **kwargs: Any) -> Ernest:
        network = build_network(*args, **kwargs)
        with torch.no_grad():
            for module in network.modules():
                if isinstance(module, Router):
                    module.weight[:SKEWED] *= SKEW
        return network

    return replaced(loop, "build_network", build)


def equal_losses() -> Any:
    """The losses of all modalities weigh 1."""
    return replaced(LossBalancer, "weights", lambda self: dict.fromkeys(MODALITIES, 1.0))
