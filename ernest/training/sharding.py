"""Deals a network out over processes, and puts it together again, with PyTorch's fully sharded data parallelism (FSDP2).

Its imports take half a second, so they stand where a network is sharded.
"""

import warnings
from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ernest.model.backbone import Block
from ernest.model.network import Ernest
from ernest.training.distributed import is_sharded, whole
from ernest.training.experts import dealt_out, expert_mesh


def shard(model: Ernest, parts: int) -> None:
    """Deals every parameter out over `parts` processes, as often as there are so many. A block's weights are gathered while it
    runs, forward and backward; its gradients are summed, and each process keeps the part that is its own. Experts that are dealt
    out already are sharded among those processes that hold the same ones."""
    from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # Predictions are views of what their heads made, and nobody writes into them, which is what the warning is about.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    copies = dist.get_world_size() // parts
    mesh = init_device_mesh(next(model.parameters()).device.type, (copies, parts), mesh_dim_names=("replicate", "shard"))
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


def gather(model: nn.Module, tensors: Iterable[tuple[str, Tensor]], keep: bool = True) -> dict[str, Tensor]:
    """Whole tensors by name, of parameters of `model` or, behind a slash, of their moments. All processes must ask for them, one
    tensor after the other; who does not `keep` them has none."""
    experts, kept = dealt_out(model), {}
    for name, part in tensors:
        value, mesh = whole(part), experts.get(name.partition("/")[0])
        if mesh is not None and value.dim():  # the steps of a moment are a number
            value = mesh.gather(value)
        if keep:
            kept[name] = value
    return kept


def deal_out(model: nn.Module, tensors: Mapping[str, Tensor], parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Whole tensors, which every process has, dealt out as those of `parts` are that have the same name and shape."""
    experts, dealt = dealt_out(model), {}
    for name, value in tensors.items():
        mesh = experts.get(name.partition("/")[0])
        own = value if mesh is None or not value.dim() else mesh.own(value)
        dealt[name] = _like(own, parts.get(name))
    return dealt


def _like(value: Tensor, part: Tensor | None) -> Tensor:
    if part is None or not is_sharded(part) or part.shape != value.shape:
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(part, DTensor)
    return distribute_tensor(value, part.device_mesh, part.placements, src_data_rank=None)


def put_together(model: Ernest) -> Ernest:
    """A network of one process with the weights of one in parts. All processes must ask for it."""
    with torch.device("meta"):
        alone = Ernest(model.config, model.spec)
    alone.load_state_dict(gather(model, model.state_dict().items()), assign=True)
    return alone.train(model.training)
