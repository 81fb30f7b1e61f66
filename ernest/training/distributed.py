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

    Raises RuntimeError where one is missing: AdamW would pass over it, a resumed run would miss other ones than the unbroken run,
    and processes would sum what does not belong together.
    """
    parameters = list(model.parameters())
    gradients = [parameter.grad.reshape(-1) for parameter in parameters if parameter.grad is not None]
    if len(gradients) < len(parameters):
        missing = next(name for name, parameter in model.named_parameters() if parameter.grad is None)
        raise RuntimeError(f"{missing} has no gradient: each part of the network must run, on no rows if need be")
    flat = torch.cat(gradients)
    if dist.is_initialized():
        dist.all_reduce(flat)
    for parameter, part in zip(parameters, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        parameter.grad = part.view_as(parameter)
    return flat


def total(value: Tensor) -> Tensor:
    """The sum over processes."""
    if dist.is_initialized():
        value = value.detach().clone()
        dist.all_reduce(value)
    return value
