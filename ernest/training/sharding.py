"""Deals a network out over processes with PyTorch's fully sharded data parallelism (FSDP2), and tells what a process holds of it.

Its imports take half a second, so they stand where a network is sharded.
"""

import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch.distributed as dist
from torch import Tensor, nn

from ernest.device import HOST
from ernest.model.network import Ernest
from ernest.training.cuts import Held, cut_modules, held_parameters, pieces
from ernest.training.distributed import is_sharded
from ernest.training.mesh import Mesh
from ernest.training.parts import Part, Place, piece_name
from ernest.training.transfers import Gather, SumParts

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


def shard(model: Ernest, mesh: Mesh) -> None:
    """Deals every parameter out over the processes of `shard`, as often as there are so many. A block's weights are gathered
    while it runs, forward and backward; its gradients are summed, and each process keeps the part that is its own. What is cut
    already is sharded among those processes that hold the same part."""
    from torch.distributed.fsdp import fully_shard

    # Predictions are views of what their heads made, and nobody writes into them, which is what the warning is about.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    for module, processes in _sharded_modules(model, mesh):
        sharded = fully_shard(module, mesh=processes)
        # Sums and no means: losses are divided by the counts of all processes. Gloo can do nothing but plain sums.
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)
        if mesh.device == HOST:
            sharded.set_custom_all_gather(Gather())  # pyright: ignore[reportArgumentType]
            sharded.set_custom_reduce_scatter(SumParts())  # pyright: ignore[reportArgumentType]


def _sharded_modules(model: Ernest, mesh: Mesh) -> Iterator[tuple[nn.Module, "DeviceMesh"]]:
    """Modules with the processes over which they are sharded, each behind those in it, whose parameters are not its own then."""
    every = mesh.holders().sharded
    for module, holders in cut_modules(model):
        yield from ((child, every) for child in module.children())  # a router, which all hold
        yield module, holders.sharded
    yield from ((block, every) for block in model.backbone.blocks)
    yield model, every


def lies_in_parts(model: nn.Module) -> bool:
    """Whether each process holds a part of the network, and not all of it."""
    return bool(held_parameters(model)) or any(map(is_sharded, model.parameters()))


def parts_of(model: nn.Module, tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Part]:
    """What this process holds of tensors by name, which are those of `model` or, behind a slash, moments of its parameters; of
    one that it holds several pieces of, each."""
    held, first = held_parameters(model), not dist.is_initialized() or dist.get_rank() == 0
    return {
        piece_name(name, number): part
        for name, value in tensors
        for number, part in enumerate(_parts(value.detach(), held.get(name.partition("/")[0]), first))
    }


def _parts(value: Tensor, held: Held | None, first: bool) -> list[Part]:
    """`value` as parts; of copies those of the first process, or of the first that holds the same, are written."""
    if not value.dim():  # the steps of a moment are a number
        return [Part(value, Place.of_whole(()), first)]
    own, start, writes = value, [0] * value.dim(), first if held is None else held.holders.is_first_copy
    if is_sharded(value):
        own, start, writes = _own_part(value)
    place = Place(tuple(value.shape), tuple(start), tuple(own.shape))
    return [Part(piece, where, writes) for piece, where in pieces(own, place, held.cuts if held else ())]


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
