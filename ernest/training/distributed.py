"""Data-parallel processes, started by PyTorch's own launcher; one process needs none of this."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 32), "MALLOC_TOP_PAD_": str(1 << 28)}
"""Keeps freed memory in the process: large tensors come and go every step, and fetching fresh pages costs a fifth of the time."""


def launch(module: str, arguments: list[str], processes: int) -> None:
    """Runs `python -m module arguments` in `processes` processes of one thread each, and waits.

    Raises RuntimeError if one fails; an interrupt is passed on to them.
    """
    environment = os.environ | ALLOCATOR | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", module, *arguments]
    if processes > 1:
        runner = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m", module]
        command = [sys.executable, *runner, *arguments]
    worker = subprocess.Popen(command, env=environment)
    try:
        code = worker.wait()
    except KeyboardInterrupt:
        worker.wait()
        raise
    if code:
        raise RuntimeError(f"{module} ended with exit status {code}")


@contextmanager
def process_group() -> Iterator[tuple[int, int]]:
    """(rank, world): the group that the launcher describes in the environment, or a single process."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield 0, 1
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
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
