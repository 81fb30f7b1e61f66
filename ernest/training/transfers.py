"""Gathers and sums of parts over processes on gloo, by sends from one process to another.

Gloo's own reduce-scatter sums all that it is given in every process, of which each then keeps a part, and its all-gather passes
parts on around a ring: they take some three times the processor time of these (`python -m benchmarks --part scaling`). PyTorch's
sharding (FSDP2) takes any object that allocates what it exchanges and can be called so.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _Transfer:
    def allocate(self, size: Sequence[int | torch.SymInt], *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty(*size, dtype=dtype, device=device)


class Gather(_Transfer):
    """The parts of all processes of a group, one behind the other, in each of them."""

    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, group: dist.ProcessGroup, async_op: bool = False) -> None:
        parts = output_tensor.chunk(group.size())
        own = parts[group.rank()]
        if own.data_ptr() != input_tensor.data_ptr():
            own.copy_(input_tensor)
        exchange([own] * group.size(), parts, group)


class SumParts(_Transfer):
    """The sum over a group of processes, of which each keeps its part; added in the order of their ranks."""

    def __call__(
        self, output_tensor: Tensor, input_tensor: Tensor, group: dist.ProcessGroup, op: Any = None, async_op: bool = False
    ) -> None:
        parts, own = input_tensor.chunk(group.size()), group.rank()
        arrived = [part if rank == own else torch.empty_like(part) for rank, part in enumerate(parts)]
        exchange(parts, arrived, group)
        torch.add(arrived[0], arrived[1], out=output_tensor)
        for part in arrived[2:]:
            output_tensor += part


def exchange(sent: Sequence[Tensor], received: Sequence[Tensor], group: dist.ProcessGroup) -> None:
    """Sends `sent[i]` to the process of rank i of a group and receives `received[i]` from it; what is this one's own stays."""
    others = [rank for rank in range(group.size()) if rank != group.rank()]
    works = [dist.irecv(received[rank], group=group, group_src=rank) for rank in others]
    works += [dist.isend(sent[rank], group=group, group_dst=rank) for rank in others]
    for work in works:
        assert work is not None
        work.wait()
