"""One of several processes that sum tensors in the memory that they share: `python -m tests.training.summed FOLDER`."""

import sys
from pathlib import Path

import torch

from ernest.storage import save_tensors
from ernest.training.distributed import process_group
from ernest.training.shared_memory import share_sums

SIZES = ((7, 5), (1000,), (3,), (0,))
TIMES = 3


def drawn(rank: int, time: int) -> list[torch.Tensor]:
    """What a process has to add, of which some is too short for all to have a share."""
    generator = torch.Generator().manual_seed(100 * time + rank)
    return [torch.randn(size, generator=generator) for size in SIZES]


if __name__ == "__main__":
    with process_group() as (rank, _):
        shared = share_sums(sum(one.numel() for one in drawn(0, 0)))
        assert shared is not None
        assert not any()
        found = {}
        for time in range(TIMES):
            tensors = drawn(rank, time)
            shared(tensors)
            found |= {f"{time} {number}": tensor for number, tensor in enumerate(tensors)}
        save_tensors(Path(sys.argv[1]) / f"{rank}.safetensors", found)
