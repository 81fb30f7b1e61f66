"""Sums gradients over the processes of one machine in memory that they share, in a fraction of what sockets take."""

import mmap
import os
import secrets
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.distributed as dist
from torch import Tensor

from ernest.training.launch import RENDEZVOUS

MARK = 16
"""Bytes at the front, by which a process knows that it has found the right memory."""


class SharedSum:
    """Sums tensors of `numbers` float32 in all over processes, each of which takes a share of every tensor; all of them get the
    same bits.

    The memory belongs to no file: it is gone with the last process, however that ends.
    """

    def __init__(self, memory: mmap.mmap, numbers: int, rank: int, world: int) -> None:
        self.rank, self.world = rank, world
        self.slots = torch.frombuffer(memory, dtype=torch.float32, offset=MARK).view(world - 1, numbers)
        """Of each share: what the other processes have of it, in their order; its sum takes the place of the first."""

    def __call__(self, tensors: Sequence[Tensor]) -> None:
        """Sums the tensors, which lie without gaps, where they lie."""
        dist.barrier()  # nobody reads the sums of the time before any more
        parts = [part for number, part in self._parts(tensors) if number == self.rank]
        for number, (share, slots) in self._parts(tensors):
            if number != self.rank:
                slots[self.rank - (self.rank > number)].copy_(share)
        dist.barrier()
        for share, slots in parts:
            for other in slots:
                share.add_(other)
            slots[0].copy_(share)
        dist.barrier()
        for number, (share, slots) in self._parts(tensors):
            if number != self.rank:
                share.copy_(slots[0])

    def _parts(self, tensors: Sequence[Tensor]) -> list[tuple[int, tuple[Tensor, Tensor]]]:
        """Which process sums it, the share, and its place `[world - 1, numbers]` in the memory."""
        parts, start = [], 0
        for tensor in tensors:
            flat = tensor.view(-1)
            bounds = [len(flat) * number // self.world for number in range(self.world + 1)]
            for number, (begin, end) in enumerate(pairwise(bounds)):
                parts.append((number, (flat[begin:end], self.slots[:, start + begin : start + end])))
            start += len(flat)
        return parts


def share_sums(numbers: int) -> SharedSum | None:
    """Memory for sums of so many numbers, where several processes train and all of them are on one machine that has it."""
    if not dist.is_initialized() or dist.get_world_size() == 1 or not _on_one_machine():
        return None
    rank, world = dist.get_rank(), dist.get_world_size()
    size = MARK + 4 * numbers * (world - 1)
    memory = _make(size) if rank == 0 else None
    told = torch.zeros(3 + MARK, dtype=torch.long)
    if memory is not None:
        told = torch.tensor([1, os.getpid(), memory[0], *memory[1][:MARK]])
    dist.broadcast(told, 0)
    if rank and told[0]:
        memory = _find(int(told[1]), int(told[2]), bytes(told[3:].tolist()), size)
    found = torch.tensor(int(memory is not None))
    dist.all_reduce(found, dist.ReduceOp.MIN)
    if memory is not None:
        os.close(memory[0])
    return SharedSum(memory[1], numbers, rank, world) if memory is not None and found else None


def _on_one_machine() -> bool:
    """As our launcher, or torchrun, says."""
    return RENDEZVOUS in os.environ or os.environ.get("LOCAL_WORLD_SIZE") == os.environ.get("WORLD_SIZE", "1")


def _make(size: int) -> tuple[int, mmap.mmap] | None:
    """Memory with a name that nobody guesses at its front, as a file that is in no folder."""
    try:
        file = os.memfd_create("ernest")
        os.ftruncate(file, size)
        memory = mmap.mmap(file, size)
    except (OSError, AttributeError):  # a system that has none
        return None
    memory[:MARK] = secrets.token_bytes(MARK)
    return file, memory


def _find(process: int, number: int, mark: bytes, size: int) -> tuple[int, mmap.mmap] | None:
    """The memory that another process has opened as file `number`."""
    try:
        file = os.open(f"/proc/{process}/fd/{number}", os.O_RDWR)
        memory = mmap.mmap(file, size)
    except (OSError, ValueError):
        return None
    if memory[:MARK] == mark:
        return file, memory
    os.close(file)
    return None
