"""Shape bucketing: changing row counts are rounded up to few sizes, so that few kernels have to be prepared.

On a CPU the library behind bfloat16 products prepares a kernel for every new shape, which takes a millisecond and a megabyte:
longer than the product itself. Counts of targets, cells and pictures are therefore rounded up to a coarse grid.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def round_up(count: int, grain: int = 16, per_octave: int = 4) -> int:
    """The least number on the grid that is not below `count`: multiples of `grain`, then `per_octave` even steps from each power
    of two to the next."""
    step = max(grain, (1 << (max(count, 1) - 1).bit_length()) // (2 * per_octave))
    return -(-count // step) * step


def pad_to_bucket(rows: Tensor, grain: int = 16, per_octave: int = 4) -> Tensor:
    """`rows` `[n, ...]` padded with rows of zeros to the next bucket size; unchanged where no gradients are taken."""
    missing = round_up(len(rows), grain, per_octave) - len(rows) if torch.is_grad_enabled() else 0
    return F.pad(rows, (0, 0) * (rows.dim() - 1) + (0, missing)) if missing else rows


class BucketedLinear(nn.Linear):
    """A linear layer for a changing number of rows `[n, inputs]`."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(pad_to_bucket(input))[: len(input)]
