"""Splits a picture into one of half the size and the detail that it lacks, joins the two again, and rounds with care for both.

The picture of half the size is the mean of each block of 2 x 2 pixels, and the detail the other three of Haar's coefficients. So
whatever detail is put to a picture, that picture is what remains when the larger one is made small again.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

DETAILS = 9
"""Channels of the detail: three coefficients of each colour."""
_HAAR = ((1, 1, 1, 1), (1, -1, 1, -1), (1, 1, -1, -1), (1, -1, -1, 1))
"""The mean of the four pixels of a block, line by line, and what is more left, above, and on the falling diagonal."""


def split(frames: Tensor) -> tuple[Tensor, Tensor]:
    """The picture of half the size `[N, 3, h, w]` and the detail `[N, DETAILS, h, w]` of one `[N, 3, 2 h, 2 w]`."""
    blocks = F.pixel_unshuffle(frames, 2).unflatten(1, (3, 4))
    bands = torch.einsum("kp,ncphw->nckhw", _haar(frames) / 4, blocks)
    return bands[:, :, 0], bands[:, :, 1:].flatten(1, 2)


def join(small: Tensor, detail: Tensor) -> Tensor:
    """The inverse of `split`: a picture `[N, 3, 2 h, 2 w]`, in which the mean of each block is the pixel of `small`."""
    bands = torch.cat([small[:, :, None], detail.unflatten(1, (3, 3))], 2)
    return F.pixel_shuffle(torch.einsum("kp,nckhw->ncphw", _haar(small), bands).flatten(1, 2), 2)


def join_in_range(small: Tensor, detail: Tensor) -> Tensor:
    """As `join`, of a picture in [0, 1]: the detail of a block is made less, as a whole, until its pixels lie there too."""
    difference = F.pixel_unshuffle(join(torch.zeros_like(small), detail), 2).unflatten(1, (3, 4))
    most, least = difference.amax(2).clamp_min(1e-12), difference.amin(2).clamp_max(-1e-12)
    # m + s d lies in [0, 1] for all four d of the block where s <= (1 - m) / max d and s <= m / -min d.
    share = torch.minimum((1 - small) / most, small / -least).clamp(0, 1)
    return F.pixel_shuffle((small[:, :, None] + share[:, :, None] * difference).flatten(1, 2), 2).clamp(0, 1)


def round_to_means(frames: Tensor, means: Tensor) -> Tensor:
    """Levels uint8 `[N, height, width, 3]` of frames `[N, 3, height, width]` in [0, 1], none more than one level away, of which
    each block has the mean `means`, uint8 `[N, h, w, 3]`, exactly.

    The frames must have these means, up to the rounding of their numbers. What rounding down leaves of a block is given to the
    pixels that have lost most by it, as seats are to parties.
    """
    factor = frames.shape[-1] // means.shape[2]
    levels = (F.pixel_unshuffle(frames, factor) * 255).unflatten(1, (3, factor * factor))
    down = levels.floor().clamp(0, 255)
    left = means.movedim(-1, 1).to(frames) * factor * factor - down.sum(2)
    rank = (levels - down).argsort(dim=2, descending=True, stable=True).argsort(dim=2)
    whole = F.pixel_shuffle((down + (rank < left[:, :, None])).flatten(1, 2), factor)
    return whole.to(torch.uint8).movedim(1, -1)


def means(pixels: Tensor, factor: int) -> Tensor:
    """The mean of each block of `factor` x `factor` pixels: `[N, 3, h / factor, w / factor]` of `[N, 3, h, w]`."""
    return F.avg_pool2d(pixels, factor)


def _haar(like: Tensor) -> Tensor:
    return torch.tensor(_HAAR, dtype=like.dtype, device=like.device)
