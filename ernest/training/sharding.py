"""Deals a network out over processes, and puts it together again, with PyTorch's fully sharded data parallelism (FSDP2).

Its imports take half a second, so they stand where a network is sharded.
"""

import warnings
from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor

from ernest.model.network import Ernest
from ernest.training.distributed import is_sharded, whole


def shard(model: Ernest, parts: int) -> None:
    """Deals every parameter out over `parts` processes, as often as there are so many. A block's weights are gathered while it
    runs, forward and backward; its gradients are summed, and each process keeps the part that is its own."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # Predictions are views of what their heads made, and nobody writes into them, which is what the warning is about.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    copies = dist.get_world_size() // parts
    mesh = init_device_mesh(next(model.parameters()).device.type, (copies, parts), mesh_dim_names=("replicate", "shard"))
    for module in (*model.backbone.blocks, model):  # the root last: what no block holds is its own
        sharded = fully_shard(module, mesh=mesh if copies > 1 else mesh["shard"])
        # Sums and no means: losses are divided by the counts of all processes. Gloo can do nothing but plain sums.
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)


def gather(tensors: Iterable[tuple[str, Tensor]], keep: bool = True) -> dict[str, Tensor]:
    """Whole tensors by name. All processes must ask for them, one tensor after the other; who does not `keep` them has none."""
    return {name: value for name, part in tensors if (value := whole(part)) is not None and keep}


def deal_out(tensors: Mapping[str, Tensor], parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Whole tensors, which every process has, dealt out as those of `parts` are that have the same name and shape."""
    return {name: _like(value, parts.get(name)) for name, value in tensors.items()}


def _like(value: Tensor, part: Tensor | None) -> Tensor:
    if part is None or not is_sharded(part) or part.shape != value.shape:
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(part, DTensor)
    return distribute_tensor(value, part.device_mesh, part.placements, src_data_rank=None)


def put_together(model: Ernest) -> Ernest:
    """A network of one process with the weights of a sharded one. All processes must ask for it."""
    with torch.device("meta"):
        alone = Ernest(model.config, model.spec)
    alone.load_state_dict(gather(model.state_dict().items()), assign=True)
    return alone.train(model.training)
