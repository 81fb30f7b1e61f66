"""ShuffleNetV2 (arXiv 1807.11164), which timm does not have: for its latency only."""

import torch
from torch import Tensor, nn

WIDTHS = {"shufflenetv2_x0.5": (24, 48, 96, 192, 1024), "shufflenetv2_x1.0": (24, 116, 232, 464, 1024)}
DEPTHS = (4, 8, 4)


class ShuffleNetV2(nn.Sequential):
    """Images `[N, 3, H, W]` to logits `[N, 1000]`."""

    def __init__(self, name: str) -> None:
        first, *stages, last = WIDTHS[name]
        layers: list[nn.Module] = [_conv(3, first, 3, 2), nn.MaxPool2d(3, 2, 1)]
        for width, depth in zip(stages, DEPTHS, strict=True):
            layers += [Unit(first, width, 2), *(Unit(width, width, 1) for _ in range(depth - 1))]
            first = width
        super().__init__(*layers, _conv(first, last, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, 1000))


class Unit(nn.Module):
    """Half the channels pass by, or, with a stride, a second branch takes them along; then both halves are shuffled."""

    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        half = out // 2
        inner = width if stride == 2 else half
        self.stride = stride
        self.left = nn.Sequential(_depthwise(width, 2), _conv(width, half, 1)) if stride == 2 else nn.Identity()
        self.right = nn.Sequential(_conv(inner, half, 1), _depthwise(half, stride), _conv(half, half, 1))

    def forward(self, x: Tensor) -> Tensor:
        left, right = (x, x) if self.stride == 2 else x.chunk(2, 1)
        y = torch.cat((self.left(left), self.right(right)), 1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def _conv(width: int, out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(width, out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU())


def _depthwise(width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False), nn.BatchNorm2d(width))
