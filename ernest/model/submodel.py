"""A sub-model is a value: which layers, which experts, which top-k (ERNIE 5.0 §3.3)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ernest.config.submodel_size import SubModelSize
from ernest.config.tables import ElasticConfig, ModelConfig
from ernest.device import HOST

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class SubModel:
    """Layers that run, experts that may be chosen in every layer, and how many of them per token.

    `experts[layer]` lists expert numbers, in rising order; layers that do not run keep their entry.
    """

    layers: tuple[int, ...]
    experts: tuple[tuple[int, ...], ...]
    top_k: int


def full(config: ModelConfig) -> SubModel:
    """The sub-model that leaves nothing out."""
    everyone = tuple(range(config.experts))
    return SubModel(tuple(range(config.layers)), (everyone,) * config.layers, config.top_k)


def check(submodel: SubModel, config: ModelConfig, levels: int) -> None:
    """Raises ValueError for a sub-model that no network of these sizes, with `levels` audio heads, has."""
    needed = set(range(config.layers)) - set(droppable(config, levels))
    if not needed <= set(submodel.layers) <= set(range(config.layers)):
        raise ValueError(
            f"submodel.layers = {submodel.layers}: expected {sorted(needed)}, which all have, and others below {config.layers}"
        )
    if len(submodel.experts) != config.layers:
        raise ValueError(f"submodel.experts: expected those of {config.layers} layers, got {len(submodel.experts)}")
    for layer, experts in enumerate(submodel.experts):
        if len(set(experts)) < len(experts) or not set(experts) <= set(range(config.experts)):
            raise ValueError(f"submodel.experts[{layer}] = {experts}: expected different ones below {config.experts}")
    most = min(config.top_k, *(len(submodel.experts[layer]) for layer in submodel.layers))
    if not 1 <= submodel.top_k <= most:
        raise ValueError(f"submodel.top_k = {submodel.top_k}: expected 1 to {most}, of those that it keeps")


def check_size(size: SubModelSize, config: ModelConfig, levels: int) -> None:
    """Raises ValueError for a size that no network of these sizes, with `levels` audio heads, can be cut to. Imports no torch."""
    least = config.layers - len(droppable(config, levels))
    if size.layers is not None and not least <= size.layers <= config.layers:
        fixed = f"the first and the {levels} with audio heads stay"
        raise ValueError(f"layers = {size.layers}: this network can run {least} to {config.layers} ({fixed})")
    if size.experts is not None and not 1 <= size.experts <= config.experts:
        raise ValueError(f"experts = {size.experts}: this network has 1 to {config.experts}")
    if size.top_k is not None and not 1 <= size.top_k <= config.top_k:
        raise ValueError(f"top_k = {size.top_k}: this network was trained with 1 to {config.top_k}")


def droppable(config: ModelConfig, levels: int) -> tuple[int, ...]:
    """Layers that a sub-model may leave out: not the first, and none of the `levels` top layers that carry an audio head."""
    return tuple(range(1, config.layers - levels))


def draw(config: ModelConfig, levels: int, elastic: ElasticConfig, rng: "np.random.Generator") -> SubModel:
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
    """The sub-models of the rows of a batch. What decides which products are taken is known without asking a device.

    `running[layer]` lists the rows that run a layer, None is all of them; `sizes` are the rows' k and `top_k` the same as a
    tensor `[rows]`; `experts` bool `[rows, layers, experts]` are those that may be chosen, None where every row has all of them.
    """

    running: tuple[tuple[int, ...] | None, ...]
    experts: "Tensor | None"
    sizes: tuple[int, ...]
    top_k: "Tensor"

    @property
    def most(self) -> int:
        """The largest k."""
        return max(self.sizes, default=1)

    def of_rows(self, rows: tuple[int, ...], index: "Tensor") -> "SubModels":
        """Some rows, listed on the host and on the device, of which each runs whatever layer is asked for."""
        experts = None if self.experts is None else self.experts[index]
        return replace(self, experts=experts, sizes=tuple(self.sizes[row] for row in rows), top_k=self.top_k[index])


def stack(submodels: Sequence[SubModel], config: ModelConfig, device: "torch.device | None" = None) -> SubModels:
    """One sub-model per row."""
    import torch

    device = device or torch.device(HOST)
    experts = torch.zeros(len(submodels), config.layers, config.experts, dtype=torch.bool, device=HOST)
    for row, submodel in enumerate(submodels):
        for layer, ids in enumerate(submodel.experts):
            experts[row, layer, list(ids)] = True
    rows_of = [tuple(row for row, one in enumerate(submodels) if layer in one.layers) for layer in range(config.layers)]
    running = tuple(None if len(rows) == len(submodels) else rows for rows in rows_of)
    sizes = tuple(submodel.top_k for submodel in submodels)
    masks = None if bool(experts.all()) else experts.to(device)
    return SubModels(running, masks, sizes, torch.tensor(sizes, device=device))
