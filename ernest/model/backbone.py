"""The trunk: layers that know no modality."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ernest.config.recipe import ModelConfig
from ernest.model.attention import Attention, LayerCache
from ernest.model.experts import Experts
from ernest.model.norm import RMSNorm
from ernest.model.submodel import SubModels


@dataclass(frozen=True)
class Routing:
    """What restricts and counts the choice of experts: masks per row, tokens that count, and a place to note choices."""

    submodels: SubModels | None = None
    valid: Tensor | None = None
    expert_ids: list[Tensor] | None = None


class Block(nn.Module):
    """Attention and experts, each on normalised input and added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width, config.norm_eps)
        self.attention = Attention(config)
        self.moe_norm = RMSNorm(config.width, config.norm_eps)
        self.moe = Experts(config.width, config.experts, config.expert_width, config.top_k)

    def forward(
        self,
        x: Tensor,
        angles: tuple[Tensor, Tensor],
        mask: Tensor,
        layer: int,
        routing: Routing,
        cache: LayerCache | None = None,
    ) -> Tensor:
        x = x + self.attention(self.attention_norm(x), angles, mask, cache)
        positions = x.shape[1]
        submodels = routing.submodels
        allowed = top_k = None
        if submodels is not None:
            top_k = submodels.top_k.repeat_interleave(positions)
            if submodels.experts is not None:
                allowed = submodels.experts[:, layer].repeat_interleave(positions, dim=0)
        valid = None if routing.valid is None else routing.valid.flatten()
        y = self.moe(self.moe_norm(x).flatten(0, 1), valid, allowed, top_k, routing.expert_ids)
        return x + y.view_as(x)


class Backbone(nn.Module):
    """All layers. Rows whose sub-model leaves a layer out pass it by."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))

    def forward(
        self,
        x: Tensor,
        angles: tuple[Tensor, Tensor],
        mask: Tensor,
        routing: Routing,
        after_layer: Callable[[int, Tensor], Tensor],
        caches: list[LayerCache] | None = None,
    ) -> Tensor:
        """`x` `[rows, positions, width]`; `after_layer(layer, x)` is where audio heads read and codes are fed back."""
        for layer, block in enumerate(self.blocks):
            active = None if routing.submodels is None else routing.submodels.layers[:, layer]
            cache = None if caches is None else caches[layer]
            if active is None or bool(active.all()):
                x = block(x, angles, mask, layer, routing, cache)
            elif bool(active.any()):
                x = self._some_rows(block, x, angles, mask, layer, routing, active)
            x = after_layer(layer, x)
        return x

    def _some_rows(
        self,
        block: nn.Module,
        x: Tensor,
        angles: tuple[Tensor, Tensor],
        mask: Tensor,
        layer: int,
        routing: Routing,
        active: Tensor,
    ) -> Tensor:
        rows = active.nonzero()[:, 0]
        submodels, valid = routing.submodels, routing.valid
        assert submodels is not None
        experts = None if submodels.experts is None else submodels.experts[rows]
        some = SubModels(submodels.layers[rows], experts, submodels.top_k[rows])
        less = Routing(some, None if valid is None else valid[rows], routing.expert_ids)
        y = block(x[rows], (angles[0][rows], angles[1][rows]), mask[rows], layer, less)
        return x.index_copy(0, rows, y.to(x.dtype))


def init_matrices(module: nn.Module, layers: int) -> None:
    """Normal weights: 0.6 / sqrt(inputs) for what reads the residual stream, smaller by sqrt(2 layers) for what writes to it."""
    for name, parameter in module.named_parameters():
        if parameter.dim() < 2:
            continue
        if name.endswith(("attention.out.weight", "moe.w_down")):
            std = 0.03 / (2 * layers) ** 0.5 * (2.0 if name.endswith("w_down") else 1.0)
        elif name.endswith("moe.w_gate_up"):
            std = 0.6 / parameter.shape[1] ** 0.5
        else:
            std = 0.6 / parameter.shape[-1] ** 0.5
        with torch.no_grad():
            parameter.normal_(0.0, std)
