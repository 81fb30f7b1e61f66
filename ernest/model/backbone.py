"""The backbone: transformer layers that treat all modalities alike."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ernest.config.tables import ModelConfig
from ernest.device import compute_dtype
from ernest.model.attention import Angles, Attention, Spans
from ernest.model.cache import LayerCache
from ernest.model.experts import Experts, RouterOutput
from ernest.model.norm import RMSNorm
from ernest.model.submodel import SubModels


@dataclass(frozen=True)
class Routing:
    """Restrictions on the choice of experts, row by row: sub-models; which tokens `[rows, positions]` are counted, None for none;
    and experts chosen before, `[layers, rows, positions, k]`, to be taken again."""

    submodels: SubModels | None = None
    valid: Tensor | None = None
    replay: Tensor | None = None

    def of_rows(self, rows: tuple[int, ...], index: Tensor) -> "Routing":
        submodels = None if self.submodels is None else self.submodels.of_rows(rows, index)
        valid = None if self.valid is None else self.valid[index]
        return Routing(submodels, valid, None if self.replay is None else self.replay[:, index])


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
        angles: Angles,
        mask: Tensor | Spans,
        layer: int,
        routing: Routing,
        cache: LayerCache | None = None,
    ) -> tuple[Tensor, RouterOutput]:
        x = x + self.attention(self.attention_norm(x, compute_dtype(x)), angles, mask, cache)
        rows, positions, _ = x.shape
        submodels = routing.submodels
        allowed = top_k = k = None
        if submodels is not None:
            top_k, k = submodels.top_k.repeat_interleave(positions), submodels.most
            if submodels.experts is not None:
                allowed = submodels.experts[:, layer].repeat_interleave(positions, dim=0)
        valid = None if routing.valid is None else routing.valid.flatten()
        replay = None if routing.replay is None else routing.replay[layer].flatten(0, 1)[:, :k]
        y, router_output = self.moe(self.moe_norm(x).flatten(0, 1), valid, allowed, top_k, k, replay)
        return x + y.view_as(x), replace(router_output, expert_ids=router_output.expert_ids.unflatten(0, (rows, positions)))


class Backbone(nn.Module):
    """All layers. Rows whose sub-model leaves a layer out pass it by; the layer runs all the same, on no rows if need be, so that
    processes with other rows do the same work in the same order."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))

    def forward(
        self,
        x: Tensor,
        angles: Angles,
        mask: Tensor | Spans,
        routing: Routing,
        after_layer: Callable[[int, Tensor], Tensor],
        caches: list[LayerCache] | None = None,
    ) -> tuple[Tensor, RouterOutput]:
        """`x` `[rows, positions, width]`; `after_layer(layer, x)` is where audio heads read and codes are fed back.

        What the routers did comes back for all layers, `[layers, ...]`; -1 is no expert.
        """
        done = []
        for layer, block in enumerate(self.blocks):
            running = None if routing.submodels is None else routing.submodels.running[layer]
            cache = None if caches is None else caches[layer]
            if running is None:
                x, router_output = block(x, angles, mask, layer, routing, cache)
            else:
                x, router_output = _some_rows(block, x, angles, mask, layer, routing, running, cache)
            x = after_layer(layer, x)
            done.append(router_output)
        loads = [router_output.load for router_output in done if router_output.load is not None]
        return x, RouterOutput(
            torch.stack([router_output.expert_ids for router_output in done]), torch.stack(loads) if loads else None
        )


def _some_rows(
    block: nn.Module,
    x: Tensor,
    angles: Angles,
    mask: Tensor | Spans,
    layer: int,
    routing: Routing,
    running: tuple[int, ...],
    cache: LayerCache | None,
) -> tuple[Tensor, RouterOutput]:
    """The block for the rows whose sub-model has this layer; the others stay as they are, with experts -1."""
    assert routing.submodels is not None
    rows = torch.tensor(running, dtype=torch.long, device=x.device)
    here = angles[0][rows], angles[1][rows]
    y, router_output = block(
        x[rows], here, mask[rows], layer, routing.of_rows(running, rows), None if cache is None else cache.of_rows(rows)
    )
    ids = router_output.expert_ids
    expert_ids = ids.new_full((len(x), ids.shape[1], routing.submodels.most), -1)
    expert_ids[rows, :, : ids.shape[2]] = ids
    return x.index_copy(0, rows, y.to(x.dtype)), replace(router_output, expert_ids=expert_ids)


def draw_as_constructed(module: nn.Module) -> None:
    """Draws every parameter anew from the distribution of its constructor, in the order of construction."""
    reset = getattr(module, "init_weights", None) or getattr(module, "reset_parameters", None)
    for part in module.children() if reset is None else ():
        draw_as_constructed(part)
    if reset is not None:
        reset()


def init_matrices(module: nn.Module, layers: int) -> None:
    """Normal weights, by their standard deviation: 0.6 / sqrt(inputs) for what reads the residual stream; for what writes to it
    0.03 / sqrt(2 layers), since so many add up there, and twice that for experts."""
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
