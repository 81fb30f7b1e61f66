"""Data-parallel processes, started by PyTorch's own launcher; one process needs none of this."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ernest.device import ALLOCATOR, collective_backend


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
    dist.init_process_group(collective_backend())
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
