"""Turns a latent frame into bits, scale by scale from coarse to fine, and bits back into a latent (ERNIE 5.0 §2.2.1).

Every scale codes what the scales before it left over. A cell of a scale is a direction on the unit sphere in `bits`
dimensions, of which only the signs are kept.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ernest.device import HOST


@dataclass(frozen=True)
class BitHistory:
    """The residual loop of one latent, scale by scale.

    Cells are in scale order, row by row; `cells` is the sum of all height * width.

    inputs: `[N, cells, bits]`, the sum of all earlier scales at the size of the cell's scale (zeros for the first)
    bits:   bool `[N, cells, bits]`, the true bits given those inputs: what a model has to predict
    total:  `[N, bits, height, width]`, the sum of all scales: what the decoder draws
    """

    inputs: Tensor
    bits: Tensor
    total: Tensor


@dataclass(frozen=True)
class QuantiserOutput:
    """The result of one pass with gradients, and the loss terms of its bits.

    total:   `[N, bits, height, width]`, the sum of all scales
    coarse:  `[N, bits, height, width]`, the same without the finest scale
    entropy: scalar, to be made small: the doubt about single bits less the variety of each bit in the batch
    commitment: scalar, mean squared distance between what a cell is and what was kept of it
    """

    total: Tensor
    coarse: Tensor
    entropy: Tensor
    commitment: Tensor


class MultiScaleBits(nn.Module):
    """The quantiser, with a learned refinement after up-sampling and a learned gain for every scale."""

    def __init__(self, bits: int, sizes: tuple[tuple[int, int], ...]) -> None:
        super().__init__()
        heights, widths = zip(*sizes, strict=True)
        if list(heights) != sorted(heights) or list(widths) != sorted(widths):
            raise ValueError(f"sizes: expected (height, width) from the coarsest to the finest, got {sizes}")
        self.bits, self.sizes = bits, sizes
        refinements = [nn.Conv2d(bits, bits, 3, 1, 1) for _ in sizes]
        for convolution in refinements:
            nn.init.zeros_(convolution.weight)
            nn.init.zeros_(cast(Tensor, convolution.bias))
        self.refine = nn.ModuleList(refinements)
        # A direction has length 1, a normalised latent about sqrt(bits); residuals shrink from scale to scale.
        # On the host: for a power of a tensor without memory, PyTorch imports its compiler, which takes as long as itself.
        self.gain = nn.Parameter(math.sqrt(bits) * 0.6 ** torch.arange(len(sizes), device=HOST))

    @property
    def cells(self) -> int:
        """Cells of one frame, over all scales."""
        return sum(height * width for height, width in self.sizes)

    def down(self, x: Tensor, k: int) -> Tensor:
        """Area average of `[N, bits, height, width]` to the size of scale `k`."""
        if x.shape[2:] == self.sizes[k]:
            return x
        return F.adaptive_avg_pool2d(x, self.sizes[k])

    def up(self, q: Tensor, k: int) -> Tensor:
        """The contribution of directions `[N, bits, h, w]` of scale `k` to the sum, at the finest size.

        PyTorch convolves one image in another order of sums than several, which all get the same bits: one goes in twice, so that
        what a frame gets does not depend on its company.
        """
        if self.sizes[k] != self.sizes[-1]:
            q = F.interpolate(q, self.sizes[-1], mode="bicubic", align_corners=False)
        refined = self.refine[k](q.expand(2, *q.shape[1:]))[:1] if len(q) == 1 else self.refine[k](q)
        return (q + refined) * self.gain[k]

    def lookup(self, bits: Tensor, k: int) -> Tensor:
        """The contribution of bits `[N, h*w, bits]` of scale `k` to the sum: `[N, bits, height, width]`."""
        height, width = self.sizes[k]
        signs = (bits.to(self.gain.dtype) * 2 - 1) / math.sqrt(self.bits)
        return self.up(signs.transpose(1, 2).unflatten(2, (height, width)), k)

    def forward(self, latent: Tensor, bit_flip_rate: float = 0.0, generator: torch.Generator | None = None) -> QuantiserOutput:
        """The residual loop of ERNIE 5.0 §2.2.1 with straight-through gradients, for `[N, bits, height, width]`.

        `bit_flip_rate` turns a share of the bits over, so that a decoder learns to live with a wrong one.
        """
        total = coarse = torch.zeros_like(latent)
        entropy = commitment = latent.new_zeros(())
        for k in range(len(self.sizes)):
            cell = F.normalize(self.down(latent - total, k), dim=1)
            q = ((cell > 0).to(cell.dtype) * 2 - 1) / math.sqrt(self.bits)
            entropy = entropy + _entropy(cell)
            commitment = commitment + F.mse_loss(cell, q) * self.bits
            if bit_flip_rate > 0:
                q = torch.where(torch.rand(q.shape, generator=generator, device=q.device) < bit_flip_rate, -q, q)
            coarse, total = total, total + self.up(cell + (q - cell).detach(), k)
        return QuantiserOutput(total, coarse, entropy / len(self.sizes), commitment / len(self.sizes))

    def draw_flips(self, rates: Tensor, generator: torch.Generator) -> Tensor:
        """Bool `[N, cells, bits]`: which bits of N frames are turned over, each with the probability `rates` `[N, scales]` of its
        frame and scale. Draws scale by scale."""
        frames = len(rates)
        cells = [height * width for height, width in self.sizes]
        draws = torch.rand(frames * self.cells * self.bits, generator=generator, device=rates.device)
        parts = draws.split([frames * count * self.bits for count in cells])
        turned = [part.view(frames, -1, self.bits) < rates[:, k, None, None] for k, part in enumerate(parts)]
        return torch.cat(turned, 1)

    @torch.no_grad()
    def history(self, latent: Tensor, flips: Tensor | None = None) -> BitHistory:
        """The history that teaches a model to go on from its own mistakes.

        Bits of `flips` `[N, cells, bits]` are turned over before they enter the sum, so that later scales are asked to mend the
        sum as it is; the bits of the scale itself stay the true ones.
        """
        inputs, targets, total = [], [], torch.zeros_like(latent)
        turned = None if flips is None else flips.split([height * width for height, width in self.sizes], dim=1)
        for k in range(len(self.sizes)):
            inputs.append(self.down(total, k).flatten(2).transpose(1, 2))
            bits = self.down(latent - total, k).flatten(2).transpose(1, 2) > 0
            targets.append(bits)
            total = total + self.lookup(bits if turned is None else bits ^ turned[k].contiguous(), k)
        return BitHistory(torch.cat(inputs, 1), torch.cat(targets, 1), total)

    @torch.no_grad()
    def retrace(self, bits: Tensor) -> BitHistory:
        """The history of frames whose bits `[N, cells, bits]` a model has chosen."""
        inputs, total = [], bits.new_zeros(len(bits), self.bits, *self.sizes[-1], dtype=self.gain.dtype)
        for k, part in enumerate(bits.split([height * width for height, width in self.sizes], dim=1)):
            inputs.append(self.down(total, k).flatten(2).transpose(1, 2))
            total = total + self.lookup(part, k)
        return BitHistory(torch.cat(inputs, 1), bits, total)

    def sum(self, bits: Tensor, scales: int | None = None) -> Tensor:
        """The sum of the first `scales` scales (all by default) of bits `[N, cells, bits]`: `[N, bits, height, width]`."""
        parts = bits.split([height * width for height, width in self.sizes], dim=1)
        summands = [self.lookup(part, k) for k, part in enumerate(parts[:scales])]
        return torch.stack(summands).sum(0)


def _entropy(cell: Tensor) -> Tensor:
    """Mean entropy of single bits less the entropy of their mean, for unit directions `[N, bits, h, w]`, in nats.

    Low when every bit is sure and, over the batch, as often set as not (ERNIE 5.0 §2.2.1 after BSQ).
    """
    p = torch.sigmoid(4 * math.sqrt(cell.shape[1]) * cell)
    return _binary_entropy(p).mean() - _binary_entropy(p.mean((0, 2, 3))).mean()


def _binary_entropy(p: Tensor) -> Tensor:
    return -(p * torch.log(p + 1e-6) + (1 - p) * torch.log(1 - p + 1e-6))
