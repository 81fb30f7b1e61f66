"""A program of two processes that fail one after the other, as `tests/training/test_distributed.py` starts it."""

import os
import sys
import time

import torch
import torch.distributed as dist

from ernest.training.distributed import process_group
from ernest.training.launch import worker


def fail_late(rank: int) -> None:
    """The process whose failure says nothing to a user is the first to end."""
    if rank == 0:
        raise RuntimeError("connection closed")
    time.sleep(0.3)
    raise OSError("the disk is full")


def leave_slowly(rank: int) -> None:
    """The first process waits for the second, which takes a while from its mistake to its end."""
    try:
        with process_group():
            if rank == 1:
                raise RuntimeError("the mistake")
            dist.all_reduce(torch.zeros(1))
    finally:
        time.sleep(0.3 * rank)


if __name__ == "__main__":
    with worker():
        {"fail_late": fail_late, "leave_slowly": leave_slowly}[sys.argv[1]](int(os.environ["RANK"]))
