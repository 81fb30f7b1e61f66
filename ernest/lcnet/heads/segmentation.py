"""Segmentation: a class for every pixel, from the features of a PP-LCNet, by one of two decoders.

- `DeepLab`: DeepLabV3+ (arXiv 1802.02611) as arXiv 2109.15099, section 4.4, uses it, with an output stride of 32
- `LiteSeg`: the decoder of PP-LiteSeg (arXiv 2204.02681), two to three times less work for the same backbone
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ernest.lcnet.architecture import Architecture
from ernest.lcnet.heads.layers import as_type_of, conv, trunk

Decoder = Literal["liteseg", "deeplab"]

STRIDE = 32
"""Pictures are padded to multiples of it, so that every map covers them exactly."""


@dataclass(frozen=True)
class SegmenterArchitecture:
    """All that defines a segmenter. Raises ValueError, which names the field."""

    classes: int = 19
    backbone: Architecture = field(default_factory=Architecture)
    decoder: Decoder = "liteseg"

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise ValueError(f"classes: expected at least 2, with what is none of the others, got {self.classes}")
        if self.decoder not in get_args(Decoder):
            raise ValueError(f"decoder: expected one of {', '.join(get_args(Decoder))}, got {self.decoder}")


class Segmenter(nn.Module):
    """Pictures `[N, C, H, W]` of any size to logits `[N, classes, H, W]`.

    Normalise pictures as for the backbone (`normalise_pictures`). Raises ValueError for another number of channels.
    """

    def __init__(self, architecture: SegmenterArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.backbone = trunk(architecture.backbone)
        decoder = DeepLab if architecture.decoder == "deeplab" else LiteSeg
        self.decoder = decoder(self.backbone.feature_channels, architecture.classes)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        padded = F.pad(images, (0, -width % STRIDE, 0, -height % STRIDE))
        logits = self.decoder(self.backbone.features(padded))
        return _resized(logits, padded.shape[2:])[..., :height, :width]

    @torch.no_grad()
    def segment(self, images: Tensor) -> Tensor:
        """The likeliest class of every pixel: int64 `[N, H, W]`. Leaves training mode."""
        self.eval()
        return self(as_type_of(self, images)).argmax(1)


class DeepLab(nn.Module):
    """DeepLabV3+: the coarsest map seen at several widths and as a whole, joined with the map at stride 4.

    Five views of 256 channels: pointwise, separable 3x3 at dilations 6, 12 and 18, and the mean of the map. Logits
    at stride 4.
    """

    def __init__(
        self, channels: Sequence[int], classes: int, width: int = 256, rates: tuple[int, ...] = (6, 12, 18), low: int = 48
    ) -> None:
        super().__init__()
        top = channels[4]
        self.views = nn.ModuleList([_conv(top, width), *[_separable(top, width, rate) for rate in rates]])
        self.mean = _conv(top, width)
        self.project = nn.Sequential(_conv(width * (len(rates) + 2), width), nn.Dropout(0.1))
        self.low = _conv(channels[1], low)
        self.join = nn.Sequential(_separable(width + low, width), _separable(width, width), nn.Conv2d(width, classes, 1))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        top, low = features[4], self.low(features[1])
        mean = self.mean(top.mean((2, 3), keepdim=True)).expand(-1, -1, *top.shape[2:])
        seen = self.project(torch.cat([*[view(top) for view in self.views], mean], 1))
        return self.join(torch.cat((_resized(seen, low.shape[2:]), low), 1))


class LiteSeg(nn.Module):
    """PP-LiteSeg: the coarsest map in context, joined with the maps at strides 32, 16 and 8. Logits at stride 8.

    The context is the sum of the map's means over 1x1, 2x2 and 4x4 regions. A small network decides for each pixel
    how much it takes from the finer and how much from the coarser map.
    """

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        context: int = 128,
        regions: tuple[int, ...] = (1, 2, 4),
        widths: tuple[int, int, int] = (32, 64, 128),
        last: int = 32,
    ) -> None:
        super().__init__()
        self.regions = regions
        self.context = nn.ModuleList(_conv(channels[4], context) for _ in regions)
        self.mix = _conv(context, context, 3)
        coarse_to_fine = [(channels[4], context, widths[2]), (channels[3], widths[2], widths[1])]
        coarse_to_fine.append((channels[2], widths[1], widths[0]))
        self.fusions = nn.ModuleList(Fusion(*widths) for widths in coarse_to_fine)
        self.last = nn.Sequential(_conv(widths[0], last, 3), nn.Conv2d(last, classes, 1, bias=False))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        top = features[4]
        pooled = [
            _resized(context(F.adaptive_avg_pool2d(top, regions)), top.shape[2:])
            for regions, context in zip(self.regions, self.context, strict=True)
        ]
        y = self.mix(torch.stack(pooled).sum(0))
        for fusion, finer in zip(self.fusions, (features[4], features[3], features[2]), strict=True):
            y = fusion(y, finer)
        return self.last(y)


class Fusion(nn.Module):
    """Joins a coarse map `[N, width, h, w]` with a finer one `[N, channels, H, W]`, to `[N, out, H, W]`.

    Per pixel a · finer + (1 - a) · coarser, where a comes from the means and the maxima over the channels of both.
    """

    def __init__(self, channels: int, width: int, out: int) -> None:
        super().__init__()
        self.finer = _conv(channels, width, 3)
        self.attend = nn.Sequential(_conv(4, 2, 3), conv(2, 1, 3, activation=None))
        self.out = _conv(width, out, 3)

    def forward(self, coarse: Tensor, finer: Tensor) -> Tensor:
        finer = self.finer(finer)
        coarse = _resized(coarse, finer.shape[2:])
        seen = [reduced for one in (finer, coarse) for reduced in (one.mean(1, keepdim=True), one.amax(1, keepdim=True))]
        attention = torch.sigmoid(self.attend(torch.cat(seen, 1)))
        return self.out(finer * attention + coarse * (1 - attention))


def _conv(width: int, out: int, kernel: int = 1) -> nn.Sequential:
    return conv(width, out, kernel, activation="relu")


def _separable(width: int, out: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(conv(width, width, 3, dilation=dilation, groups=width, activation=None), _conv(width, out))


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)
