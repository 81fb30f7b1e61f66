"""Chooses a sub-model by the importance of experts, and extracts it as an ordinary smaller network (ERNIE 5.0 §3.3, §6.4.2)."""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.config.submodel_size import SubModelSize
from ernest.model.backbone import Block
from ernest.model.experts import Experts
from ernest.model.network import Ernest
from ernest.model.submodel import SubModel, check_size, droppable, full
from ernest.sequence.batch import Batch


def choose(model: Ernest, importance: Tensor, size: SubModelSize) -> SubModel:
    """The sub-model of a size: layers are left out evenly spread, experts kept by their `importance` `[layers, experts]`.

    Raises ValueError for a size that the network cannot be cut to.
    """
    config, levels = model.config, model.spec.levels
    check_size(size, config, levels)
    everything, spare = full(config), droppable(config, levels)
    width = size.experts or config.experts
    removed = config.layers - (size.layers or config.layers)
    dropped = {spare[(2 * i + 1) * len(spare) // (2 * removed)] for i in range(removed)}
    best = importance.topk(width, dim=1).indices.sort(dim=1).values
    return SubModel(
        tuple(layer for layer in everything.layers if layer not in dropped),
        tuple(tuple(row) for row in best.tolist()),
        min(size.top_k or config.top_k, width),
    )


def kept_importance(importance: Tensor, submodel: SubModel) -> Tensor:
    """That of the layers and experts that a sub-model keeps, `[layers, experts]`."""
    return torch.stack([importance[layer, list(submodel.experts[layer])] for layer in submodel.layers])


@torch.no_grad()
def extract(model: Ernest, submodel: SubModel) -> Ernest:
    """The sub-model as a network of its own, with the logits of the masked parent.

    Raises ValueError where layers keep different numbers of experts, which no single network could hold.
    """
    counts = {len(submodel.experts[layer]) for layer in submodel.layers}
    if len(counts) > 1:
        raise ValueError(f"every layer must keep equally many experts to be extracted, got {sorted(counts)}")
    config = replace(model.config, layers=len(submodel.layers), experts=counts.pop(), top_k=submodel.top_k)
    small = Ernest(config, model.spec)
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("backbone.")}
    for new, old in enumerate(submodel.layers):
        index = torch.tensor(submodel.experts[old])
        for name, value in model.backbone.blocks[old].state_dict().items():
            pooled = name.startswith("moe.")
            state[f"backbone.blocks.{new}.{name}"] = value[index] if pooled else value
    small.load_state_dict(state)
    return small.eval().requires_grad_(False)


@torch.no_grad()
def expert_importance(model: Ernest, batches: Sequence[Batch]) -> Tensor:
    """The contribution of each expert, `[layers, experts]`: the sum over tokens of gate times the norm of the expert's output.

    Routing frequency would not do: the balance bias makes it nearly even (ERNIE 5.0 §6.4.2).
    """
    total = torch.zeros(model.config.layers, model.config.experts)
    was_training = model.training
    model.eval()
    for batch in batches:
        _measure(model, batch, total)
    model.train(was_training)
    return total


def _measure(model: Ernest, batch: Batch, total: Tensor) -> None:
    """Adds what the experts contribute on a batch to `total`; padding does not count."""
    handles = []
    for layer, block in enumerate(model.backbone.blocks):

        def measure(pool: Experts, inputs: tuple[Tensor, ...], _: object, layer: int = layer) -> None:
            total[layer] += _contributions(pool, inputs[0][batch.valid.flatten()].float())

        assert isinstance(block, Block)
        handles.append(block.moe.register_forward_hook(measure))
    model(batch)
    for handle in handles:
        handle.remove()


def _contributions(pool: Experts, x_TD: Tensor) -> Tensor:
    gate_Tk, expert_Tk = pool.router(x_TD)
    sums = []
    for expert in range(len(pool.w_gate_up)):
        token, slot = (expert_Tk == expert).nonzero(as_tuple=True)
        gate, up = (x_TD[token] @ pool.w_gate_up[expert]).chunk(2, dim=-1)
        norm = ((F.silu(gate) * up) @ pool.w_down[expert]).norm(dim=-1)
        sums.append((norm * gate_Tk[token, slot]).sum())
    return torch.stack(sums)
