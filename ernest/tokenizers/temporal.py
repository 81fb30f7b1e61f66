"""Time in the vision tokenizer: behind the first frame of a film, which is coded as a picture, `stride` frames share a latent.

The layers here are causal convolutions over time, with strides (ERNIE 5.0 §2.2.1; VideoAR, 2601.05966, §4.1): a latent hangs on
the frames of its group and the one before them, and frames on their latent and the one before it. They are put into a tokenizer
of pictures that is trained, and add nothing to a film of one frame, before and after their own training: its bits stay those of
the picture. Their last layers begin at zero, so that at first a latent is that of its group's last frame, and the features of
frames lie evenly between those of two latents.

Shapes: N films of 1 + k · stride frames and of 1 + k latents, C channels, h x w cells.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ernest.config.media import latent_count


def whole_groups(frames: Tensor, stride: int) -> Tensor:
    """A film `[frames, ...]` whose last frame is repeated until its last group is whole."""
    missing = 1 + (latent_count(len(frames), stride) - 1) * stride - len(frames)
    return torch.cat([frames, frames[-1:].expand(missing, *frames.shape[1:])]) if missing else frames


class Compress(nn.Module):
    """Features of frames `[N, 1 + k · stride, C, h, w]` to those of latents `[N, 1 + k, C, h, w]`: of a group's last frame, and
    what a convolution over stride + 1 frames in steps of stride adds."""

    def __init__(self, width: int, stride: int, block: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.stride = stride
        self.mix = _mixing((stride + 1) * width, width, width, block)

    def forward(self, x: Tensor) -> Tensor:
        last = x[:, :: self.stride]
        if last.shape[1] == 1:
            return last
        stacked = x.unfold(1, self.stride + 1, self.stride).movedim(-1, 2).flatten(2, 3)
        added = in_company(self.mix, stacked.flatten(0, 1)).unflatten(0, stacked.shape[:2])
        return torch.cat([last[:, :1], last[:, 1:] + added], 1)


class Expand(nn.Module):
    """Features of latents `[N, 1 + k, C, h, w]` to those of frames `[N, 1 + k · stride, C, h, w]`: evenly from one latent to the
    next, and what a transposed convolution over two latents adds to each frame of the group."""

    def __init__(self, width: int, stride: int, block: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.stride = stride
        self.mix = _mixing(2 * width, width, stride * width, block)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] == 1:
            return x
        before, after = x[:, :-1], x[:, 1:]
        pairs = torch.cat([before, after], 2)
        added = in_company(self.mix, pairs.flatten(0, 1)).unflatten(0, pairs.shape[:2]).unflatten(2, (self.stride, -1))
        share = torch.arange(1, self.stride + 1, device=x.device, dtype=x.dtype)[:, None, None, None] / self.stride
        between = torch.lerp(before[:, :, None], after[:, :, None], share)
        return torch.cat([x[:, :1], (between + added).flatten(1, 2)], 1)


def in_company(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`layer` of `[N, ...]`, where a single one goes in twice: PyTorch convolves it in another order of sums than several, and
    what it gets must not hang on its company."""
    return layer(x.expand(2, *x.shape[1:]))[:1] if len(x) == 1 else layer(x)


def _mixing(given: int, width: int, made: int, block: Callable[[int], nn.Module]) -> nn.Sequential:
    last = nn.Conv2d(width, made, 3, 1, 1)
    nn.init.zeros_(last.weight)
    if last.bias is not None:
        nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Conv2d(given, width, 3, 1, 1), nn.SiLU(), block(width), nn.SiLU(), last)
