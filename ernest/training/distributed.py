"""The group of processes that train together, and the sums over it; one process needs none of this."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ernest.device import collective_backend
from ernest.training.cuts import held_parameters
from ernest.training.launch import RENDEZVOUS
from ernest.training.mesh import Holders
from ernest.training.progress import remark

TOLD_AFTER = 60.0
"""Seconds of waiting after which a process says for what."""


@contextmanager
def told_if_long(what: str) -> Iterator[None]:
    """Prints once `what` is waited for, if the block takes longer than `TOLD_AFTER`."""
    timer = threading.Timer(TOLD_AFTER, remark, (what,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def process_group() -> Iterator[tuple[int, int]]:
    """(rank, world): the group that the environment describes, ours (`launch`) or torchrun's, or a single process."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield 0, 1
        return
    meeting, rank = os.environ.get(RENDEZVOUS, "env://"), int(os.environ["RANK"])
    place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}" if meeting == "env://" else meeting
    try:
        with told_if_long(f"process {rank} of {world} waits at {place} for the others that WORLD_SIZE speaks of"):
            dist.init_process_group(collective_backend(), init_method=meeting, rank=rank, world_size=world)
    except (RuntimeError, ValueError) as error:  # nobody came, or another one listens there
        raise OSError(f"process {rank} of {world} met no others at {place}: {str(error).splitlines()[0]}") from error
    yield dist.get_rank(), world
    dist.destroy_process_group()  # after a failure the end of the process does: the others would hear of it before the reason


TOGETHER = 1 << 18
"""Gradients of fewer numbers are sent in one piece with others, several times faster than one by one; larger ones would only be
copied for it."""


def sum_gradients(model: nn.Module) -> list[Tensor]:
    """The gradients of all parameters, summed where they lie over the processes that hold the same ones.

    Raises RuntimeError where one is missing: AdamW would pass over it, a resumed run would miss other ones than the unbroken run,
    and processes would sum what does not belong together.
    """
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    if len(gradients) < len(list(model.parameters())):
        missing = next(name for name, parameter in model.named_parameters() if parameter.grad is None)
        raise RuntimeError(f"{missing} has no gradient: each part of the network must run, on no rows if need be")
    if dist.is_initialized() and not any(map(is_sharded, gradients)):  # those of sharded parameters have been summed
        for holders, own in _by_holders(model).items():
            if holders is None or holders.copies is not None:  # who holds a part has its gradient by the rows of all other parts'
                _sum(own, None if holders is None else holders.copies)
    return gradients


def gradient_norm(model: nn.Module) -> float:
    """The norm of the gradients of all parameters, as one process has it. All processes must ask for it."""
    (_, shared), *cut = _by_holders(model).items()
    norm = whole(nn.utils.get_total_norm(shared))
    if not cut:
        return float(norm)
    square = norm**2
    for holders, own in cut:
        of_parts = whole(nn.utils.get_total_norm(own)) ** 2
        assert holders is not None
        dist.all_reduce(of_parts, group=holders.group)
        square += of_parts
    return float(square.sqrt())


def _by_holders(model: nn.Module) -> dict[Holders | None, list[Tensor]]:
    """Gradients of the parameters that all processes hold, under None, then of those that are cut, by their holders."""
    held = held_parameters(model)
    found: dict[Holders | None, list[Tensor]] = {None: []}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            found.setdefault(held[name].holders if name in held else None, []).append(parameter.grad)
    return found


def _sum(gradients: Sequence[Tensor], group: "dist.ProcessGroup | None") -> None:
    for large in (gradient for gradient in gradients if gradient.numel() >= TOGETHER):
        dist.all_reduce(large, group=group)
    small = [gradient for gradient in gradients if gradient.numel() < TOGETHER]
    if not small:
        return
    flat = torch.cat([gradient.reshape(-1) for gradient in small])
    dist.all_reduce(flat, group=group)
    for gradient, part in zip(small, flat.split([gradient.numel() for gradient in small]), strict=True):
        gradient.copy_(part.view_as(gradient))


def total(value: Tensor, times: int = 1) -> Tensor:
    """The sum over processes, of which so many each time count the same."""
    if dist.is_initialized():
        value = value.detach().clone()
        dist.all_reduce(value)
    return value if times == 1 else value / times


def is_sharded(value: Tensor) -> bool:
    """Whether this process holds a part of it: a DTensor, told by its method, since importing the class takes long."""
    return hasattr(value, "full_tensor")


def whole(value: Tensor) -> Tensor:
    """A tensor as it is in one process. All processes must ask for a sharded one."""
    return value.full_tensor() if is_sharded(value) else value  # pyright: ignore[reportAttributeAccessIssue]
