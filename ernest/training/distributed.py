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


TOGETHER = 1 << 18
"""Gradients of fewer numbers are sent in one piece with others, several times faster than one by one; larger ones would only be
copied for it."""


def sum_gradients(model: nn.Module) -> list[Tensor]:
    """The gradients of all parameters, summed over processes where they lie.

    Raises RuntimeError where one is missing: AdamW would pass over it, a resumed run would miss other ones than the unbroken run,
    and processes would sum what does not belong together.
    """
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    if len(gradients) < len(list(model.parameters())):
        missing = next(name for name, parameter in model.named_parameters() if parameter.grad is None)
        raise RuntimeError(f"{missing} has no gradient: each part of the network must run, on no rows if need be")
    if dist.is_initialized():
        for large in (gradient for gradient in gradients if gradient.numel() >= TOGETHER):
            dist.all_reduce(large)
        small = [gradient for gradient in gradients if gradient.numel() < TOGETHER]
        flat = torch.cat([gradient.reshape(-1) for gradient in small])
        dist.all_reduce(flat)
        for gradient, part in zip(small, flat.split([gradient.numel() for gradient in small]), strict=True):
            gradient.copy_(part.view_as(gradient))
    return gradients


def total(value: Tensor) -> Tensor:
    """The sum over processes."""
    if dist.is_initialized():
        value = value.detach().clone()
        dist.all_reduce(value)
    return value
