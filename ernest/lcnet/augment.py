"""More pictures from the ones there are."""

import torch
import torch.nn.functional as F
from torch import Tensor


def bend(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture of `[N, C, H, W]` turned, sheared, scaled and smoothly bent at random: other hands write the same sign.

    How strongly differs by picture, from not at all to about a pixel and a half in 32. What moves in from outside
    continues the border.
    """
    n, _, height, width = images.shape
    strength = torch.rand(n, 1, 1, generator=generator)
    matrix = torch.eye(2) + 0.08 * strength * torch.randn(n, 2, 2, generator=generator)
    knots = 0.06 * strength[..., None] * torch.randn(n, 2, 5, 5, generator=generator)
    shift = F.interpolate(knots, (height, width), mode="bicubic", align_corners=True).movedim(1, -1)
    grid = F.affine_grid(F.pad(matrix, (0, 1)), [n, 1, height, width], align_corners=False) + shift
    return F.grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=False).clamp(0, 1)
