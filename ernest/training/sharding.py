"""Deals a network out over processes with PyTorch's fully sharded data parallelism (FSDP2), and tells what a process holds of it.

Its imports take half a second, so they stand where a network is sharded.
"""

import warnings
from collections.abc import Iterable

import torch.distributed as dist
from torch import Tensor, nn

from ernest.device import HOST
from ernest.model.backbone import Block
from ernest.model.network import Ernest
from ernest.training.distributed import is_sharded
from ernest.training.experts import ExpertMesh, dealt_out, expert_mesh
from ernest.training.parts import Part, Place
from ernest.training.transfers import Gather, SumParts


def shard(model: Ernest, parts: int, device: str) -> None:
    """Deals every parameter out over `parts` processes, as often as there are so many. A block's weights are gathered while it
    runs, forward and backward; its gradients are summed, and each process keeps the part that is its own. Experts that are dealt
    out already are sharded among those processes that hold the same ones."""
    from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # Predictions are views of what their heads made, and nobody writes into them, which is what the warning is about.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    copies = dist.get_world_size() // parts
    mesh = init_device_mesh(device, (copies, parts), mesh_dim_names=("replicate", "shard"))
    every = mesh if copies > 1 else mesh["shard"]
    experts = expert_mesh(model)
    modules: list[tuple[nn.Module, DeviceMesh]] = []
    for block in model.backbone.blocks:
        assert isinstance(block, Block)
        if experts is not None:  # the router first: what it does not hold of the pool are the experts
            modules += [(block.moe.router, every), (block.moe, experts.holders)]
        modules.append((block, every))
    for module, processes in (*modules, (model, every)):  # the root last: what no block holds is its own
        sharded = fully_shard(module, mesh=processes)
        # Sums and no means: losses are divided by the counts of all processes. Gloo can do nothing but plain sums.
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)
        if device == HOST:
            sharded.set_custom_all_gather(Gather())  # pyright: ignore[reportArgumentType]
            sharded.set_custom_reduce_scatter(SumParts())  # pyright: ignore[reportArgumentType]


def lies_in_parts(model: nn.Module) -> bool:
    """Whether each process holds a part of the network, and not all of it."""
    return bool(dealt_out(model)) or any(map(is_sharded, model.parameters()))


def parts_of(model: nn.Module, tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Part]:
    """What this process holds of tensors by name, which are those of `model` or, behind a slash, moments of its parameters."""
    experts, first = dealt_out(model), not dist.is_initialized() or dist.get_rank() == 0
    return {name: _part(value.detach(), experts.get(name.partition("/")[0]), first) for name, value in tensors}


def _part(value: Tensor, mesh: ExpertMesh | None, first: bool) -> Part:
    """`value` as a part; of copies those of the first process, or of the first that holds these experts, are written."""
    own, start, shape, writes = value, [0] * value.dim(), [*value.shape], first
    if is_sharded(value):
        own, start, writes = _own_part(value)
    elif mesh is not None and shape:
        writes = mesh.is_first_copy
    if mesh is not None and shape:  # the steps of a moment are a number
        start[0] += mesh.number * shape[0]
        shape[0] *= mesh.parts
    return Part(own, Place(tuple(shape), tuple(start), tuple(own.shape)), writes)


def _own_part(value: Tensor) -> tuple[Tensor, list[int], bool]:
    """Of a sharded tensor what this process holds, where that begins, and whether it is the first copy."""
    from torch.distributed.tensor import DTensor, Shard

    assert isinstance(value, DTensor)
    start, first, coordinates = [0] * value.dim(), True, value.device_mesh.get_coordinate()
    assert coordinates is not None
    for axis, (placement, number) in enumerate(zip(value.placements, coordinates, strict=True)):
        if isinstance(placement, Shard):  # in parts of equal length, the last ones shorter or empty
            length = value.shape[placement.dim]
            start[placement.dim] = min(length, number * -(-length // value.device_mesh.size(axis)))
        else:
            first &= number == 0
    return value.to_local(), start, first
