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


def flat_gradients(model: nn.Module) -> Tensor:
    """Gradients of all parameters as views of one tensor, which is summed over processes, measured and scaled in one go.

    They are there from the start, zero where a batch does not use a parameter: AdamW passes over a missing gradient, and a run
    that was resumed would miss other ones than the unbroken run.
    """
    parameters = list(model.parameters())
    flat = torch.zeros(sum(p.numel() for p in parameters), device=parameters[0].device)
    for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter)
    return flat


def sum_gradients(flat: Tensor) -> None:
    """In place, over processes; modalities or layers that a process did not meet add nothing."""
    if dist.is_initialized():
        dist.all_reduce(flat)


def total(value: Tensor) -> Tensor:
    """The sum over processes."""
    if dist.is_initialized():
        value = value.detach().clone()
        dist.all_reduce(value)
    return value
