"""A sub-model is a value: which layers, which experts, which top-k (ERNIE 5.0 §3.3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ernest.config.recipe import ElasticConfig, ModelConfig


@dataclass(frozen=True)
class SubModel:
    """Layers that run, experts that may be chosen in every layer, and how many of them per token.

    `experts[layer]` lists expert numbers, in rising order; layers that do not run keep their entry.
    """

    layers: tuple[int, ...]
    experts: tuple[tuple[int, ...], ...]
    top_k: int


def full(config: ModelConfig) -> SubModel:
    everyone = tuple(range(config.experts))
    return SubModel(tuple(range(config.layers)), (everyone,) * config.layers, config.top_k)


def droppable(config: ModelConfig, levels: int) -> tuple[int, ...]:
    """Layers that a sub-model may leave out: not the first, and none of the `levels` top layers that carry an audio head."""
    return tuple(range(1, config.layers - levels))


def draw(config: ModelConfig, levels: int, elastic: ElasticConfig, rng: np.random.Generator) -> SubModel:
    """One sub-model: a random set of droppable layers goes, a random half of the experts of each layer stays, k shrinks."""
    model = full(config)
    layers, experts, top_k = model.layers, model.experts, model.top_k
    spare = droppable(config, levels)
    depth, width, sparsity = rng.random(3)
    if depth >= elastic.full_depth and spare:
        gone = rng.permutation(spare)[: rng.integers(1, len(spare) + 1)]
        layers = tuple(layer for layer in layers if layer not in gone)
    if width >= elastic.full_width and config.experts >= 2:
        half = max(config.experts // 2, config.top_k)
        experts = tuple(tuple(sorted(rng.permutation(config.experts)[:half].tolist())) for _ in range(config.layers))
    if sparsity >= elastic.full_sparsity and top_k > 1:
        top_k = int(rng.integers(1, top_k))
    return SubModel(layers, experts, top_k)


@dataclass(frozen=True)
class SubModels:
    """The sub-models of the rows of a batch as masks: `layers` bool `[rows, layers]`, `experts` bool `[rows, layers, experts]`
    or None where every row has all of them, `top_k` int `[rows]`."""

    layers: Tensor
    experts: Tensor | None
    top_k: Tensor


def stack(submodels: Sequence[SubModel], config: ModelConfig, device: torch.device | None = None) -> SubModels:
    """Masks of one sub-model per row."""
    layers = torch.zeros(len(submodels), config.layers, dtype=torch.bool)
    experts = torch.zeros(len(submodels), config.layers, config.experts, dtype=torch.bool)
    for row, submodel in enumerate(submodels):
        layers[row, list(submodel.layers)] = True
        for layer, chosen in enumerate(submodel.experts):
            experts[row, layer, list(chosen)] = True
    top_k = torch.tensor([submodel.top_k for submodel in submodels])
    masks = None if bool(experts.all()) else experts.to(device)
    return SubModels(layers.to(device), masks, top_k.to(device))
