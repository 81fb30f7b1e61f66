"""The group of processes that train together, and the sums over it; one process needs none of this."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ernest.device import collective_backend
from ernest.training.launch import RENDEZVOUS


@contextmanager
def process_group() -> Iterator[tuple[int, int]]:
    """(rank, world): the group that the environment describes, ours (`launch`) or torchrun's, or a single process."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield 0, 1
        return
    meeting = os.environ.get(RENDEZVOUS, "env://")
    dist.init_process_group(collective_backend(), init_method=meeting, rank=int(os.environ["RANK"]), world_size=world)
    try:
        yield dist.get_rank(), world
    finally:
        dist.destroy_process_group()


def sum_gradients(model: nn.Module) -> Tensor:
    """The gradients of all parameters, summed over processes, as views of the one tensor that comes back: it is sent, measured
    and scaled in one go, several times faster than parameter by parameter.

    Every parameter has a gradient, if zero, whatever the batch held: AdamW never passes over one, and a resumed run is exact.
    """
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    flat = torch.cat([gradient.reshape(-1) for _, gradient in gradients if gradient is not None])
    if dist.is_initialized():
        dist.all_reduce(flat)
    sizes = [parameter.numel() for parameter, _ in gradients]
    for (parameter, _), part in zip(gradients, flat.split(sizes), strict=True):
        parameter.grad = part.view_as(parameter)
    return flat


def total(value: Tensor) -> Tensor:
    """The sum over processes."""
    if dist.is_initialized():
        value = value.detach().clone()
        dist.all_reduce(value)
    return value
