"""Next-frame-and-scale prediction written as nested loops (ERNIE 5.0 §2.2.3)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class ScaleInputs:
    """What each position after the begin symbol carries and, from the begin symbol on, which bits are asked for."""

    value: Tensor
    scale: Tensor
    frame: Tensor
    bits: Tensor


def scale_inputs(quantiser, bits: Tensor) -> ScaleInputs:
    """The inputs that bits `[frames, cells, bits]` lead to, position by position."""
    height, width = quantiser.sizes[-1]
    previous = torch.zeros(bits.shape[2], height, width)
    values, scales, finished = [], [], []
    for frame in bits:
        total = torch.zeros_like(previous)
        start = 0
        for k, (rows, columns) in enumerate(quantiser.sizes):
            if k > 0:
                so_far = F.adaptive_avg_pool2d(total, (rows, columns))
                before = F.adaptive_avg_pool2d(previous, (rows, columns))
                for y in range(rows):
                    for x in range(columns):
                        values.append(torch.cat([so_far[:, y, x], before[:, y, x]]))
                        scales.append(k)
            total = total + quantiser.lookup(frame[None, start : start + rows * columns], k)[0]
            start += rows * columns
        values.append(torch.cat([total.mean((1, 2)), torch.zeros(len(total))]))
        scales.append(0)
        finished.append(total.flatten())
        previous = total
    return ScaleInputs(torch.stack(values), torch.tensor(scales), torch.stack(finished), bits.flatten(0, 1).float())
