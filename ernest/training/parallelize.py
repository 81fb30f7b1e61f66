"""What a recipe's `[parallel]` does to a network before its training, in one visible order: experts are dealt out, matrices cut,
activations checkpointed, then the rest is sharded. The network itself knows of one device."""

from functools import partial

from torch.utils.checkpoint import checkpoint

from ernest.config.parallel import ParallelConfig
from ernest.model.network import Ernest
from ernest.training.experts import deal_out_experts
from ernest.training.mesh import Mesh
from ernest.training.sharding import shard
from ernest.training.tensor import cut_matrices


def parallelize(model: Ernest, parallel: ParallelConfig, device: str | None = None) -> Ernest:
    """The same network, with its parameters under their names; of some a process holds a part. One without weights says on what
    kind of `device` they will lie."""
    mesh = Mesh(parallel, device or next(model.parameters()).device.type)
    if parallel.expert > 1:
        deal_out_experts(model, mesh)
    if parallel.tensor > 1:
        cut_matrices(model, mesh)
    if parallel.checkpoint_activations:
        checkpoint_activations(model)
    if parallel.shard > 1:
        shard(model, mesh)
    return model


def checkpoint_activations(model: Ernest) -> None:
    """Each block of the backbone keeps its input alone, and is computed once more in the backward pass; nothing else changes."""
    for block in model.backbone.blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
