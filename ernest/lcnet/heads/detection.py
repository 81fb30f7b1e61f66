"""A detector in the manner of PicoDet (arXiv 2111.00902, and PaddleDetection for what it became with PP-LCNet).

- features of a PP-LCNet at strides 8, 16, 32
- a neck that carries what is coarse down and what is fine up again, and adds stride 64, all in separable 5x5 blocks
- at every point of every map: how likely each class is, how far the four sides of the object are, and how well the
  two agree; the score of a class is the geometric mean of its likeliness and the agreement
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ernest.lcnet.architecture import Architecture
from ernest.lcnet.heads.boxes import Detections, nms
from ernest.lcnet.heads.layers import as_type_of, conv, separable, trunk

STRIDES = (8, 16, 32, 64)

RARE = 0.01
"""How likely a class is held to be anywhere before training: nearly all points show none (arXiv 1708.02002, section 4.1)."""

CANDIDATES = 1000
"""Of one picture, the surest pairs of box and class that go into non-maximum suppression."""


@dataclass(frozen=True)
class DetectorArchitecture:
    """All that defines a detector. The defaults are PicoDet-S.

    `width` is that of the neck and of the head, `layers` the number of separable layers before each prediction. A side
    of a box is at most `bins` - 1 strides away from its point. Raises ValueError, which names the field.
    """

    classes: int = 80
    backbone: Architecture = field(default_factory=lambda: Architecture(scale=0.75))
    width: int = 96
    layers: int = 2
    bins: int = 8

    def __post_init__(self) -> None:
        for name, least in {"classes": 1, "width": 1, "layers": 1, "bins": 2}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least}, got {getattr(self, name)}")


PICODET: Mapping[str, DetectorArchitecture] = MappingProxyType(
    {
        "xs": DetectorArchitecture(backbone=Architecture(scale=0.35), width=96, layers=2),
        "s": DetectorArchitecture(backbone=Architecture(scale=0.75), width=96, layers=2),
        "m": DetectorArchitecture(backbone=Architecture(scale=1.5), width=128, layers=4),
        "l": DetectorArchitecture(backbone=Architecture(scale=2.0), width=160, layers=4),
    }
)
"""The four published sizes, for the 80 classes of COCO."""


@dataclass(frozen=True)
class Predictions:
    """A detector's raw outputs for N pictures at all P points of its maps.

    `scores` `[N, P, classes]` lie between 0 and 1. `distances` `[N, P, 4, bins]` are logits over whole numbers of
    strides to the left, upper, right and lower side. `points` `[P, 2]` are pixels (x, y), `strides` `[P]` pixels too.
    """

    scores: Tensor
    distances: Tensor
    points: Tensor
    strides: Tensor

    def boxes(self) -> Tensor:
        """`[N, P, 4]`: each side at its expected distance (arXiv 2006.04388, eq. 5)."""
        bins = torch.arange(self.distances.shape[-1], dtype=self.distances.dtype, device=self.distances.device)
        sides = self.distances.softmax(-1) @ bins * self.strides[:, None]
        return torch.cat((self.points - sides[..., :2], self.points + sides[..., 2:]), -1)


class Detector(nn.Module):
    """Pictures `[N, C, H, W]` of any size to `Predictions`; `detect` makes boxes of them.

    Normalise pictures as for the backbone (`normalise_pictures`). Raises ValueError for another number of channels.
    """

    def __init__(self, architecture: DetectorArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.backbone = trunk(architecture.backbone)
        width, levels = architecture.width, len(STRIDES)
        self.neck = Neck(self.backbone.feature_channels[2:], width)
        self.heads = nn.ModuleList(
            LevelHead(width, architecture.layers, architecture.classes, architecture.bins) for _ in range(levels)
        )

    def forward(self, images: Tensor) -> Predictions:
        maps = self.neck(self.backbone.features(images)[2:])
        predictions = [head(one) for head, one in zip(self.heads, maps, strict=True)]
        grids = [_points(one, stride) for one, stride in zip(maps, STRIDES, strict=True)]
        strides = [grid.new_full((len(grid),), stride) for grid, stride in zip(grids, STRIDES, strict=True)]
        scores, distances = (torch.cat(part, 1) for part in zip(*predictions, strict=True))
        return Predictions(scores, distances, torch.cat(grids), torch.cat(strides))

    @torch.no_grad()
    def detect(self, images: Tensor, score: float = 0.025, overlap: float = 0.6, most: int = 100) -> list[Detections]:
        """The objects of every picture, boxes in its pixels: at most `most`, each surer than `score`.

        Of boxes of one class that share more than `overlap`, the surest is kept. Leaves training mode.
        """
        self.eval()
        predictions = self(as_type_of(self, images))
        height, width = images.shape[2:]
        limits = predictions.points.new_tensor((width, height, width, height))
        boxes = predictions.boxes().clamp(min=0).minimum(limits)
        return [_best(one, scores, score, overlap, most) for one, scores in zip(boxes, predictions.scores, strict=True)]


class Neck(nn.Module):
    """Maps of strides 8, 16, 32 to maps of strides 8, 16, 32, 64, all of one width (LC-PAN).

    Top-down each map is joined with the coarser one, doubled in size; bottom-up with the finer one, halved. The new
    coarsest map is the sum of two halved ones: of what came in, and of what goes out at stride 32.
    """

    def __init__(self, channels: tuple[int, ...], width: int) -> None:
        super().__init__()
        steps = range(len(channels) - 1)
        self.reduce = nn.ModuleList(conv(one, width) for one in channels)
        self.down = nn.ModuleList(_merge(width) for _ in steps)
        self.up = nn.ModuleList(_merge(width) for _ in steps)
        self.shrink = nn.ModuleList(separable(width, width, 2) for _ in steps)
        self.top_in = separable(width, width, 2)
        self.top_out = separable(width, width, 2)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        maps = [reduce(one) for reduce, one in zip(self.reduce, features, strict=True)]
        inner = [maps[-1]]
        for merge, finer in zip(self.down, reversed(maps[:-1]), strict=True):
            doubled = F.interpolate(inner[0], finer.shape[2:], mode="nearest")
            inner.insert(0, merge(torch.cat((doubled, finer), 1)))
        out = [inner[0]]
        for merge, shrink, coarser in zip(self.up, self.shrink, inner[1:], strict=True):
            out.append(merge(torch.cat((shrink(out[-1]), coarser), 1)))
        return [*out, self.top_in(maps[-1]) + self.top_out(out[-1])]


class LevelHead(nn.Module):
    """Predictions at the points of one map: scores `[N, P, classes]`, logits of distances `[N, P, 4, bins]`."""

    def __init__(self, width: int, layers: int, classes: int, bins: int) -> None:
        super().__init__()
        self.bins = bins
        self.tower = nn.Sequential(*[separable(width, width) for _ in range(layers)])
        self.gate = nn.Conv2d(width, width, 1)
        self.mix = conv(width, width)
        self.kind = _last(width, classes, -math.log(1 / RARE - 1))
        self.distance = _last(width, 4 * bins, 0.0)
        self.align = nn.Sequential(conv(width, 1, 5), conv(1, 1, activation=None))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        shared = self.tower(x)
        gated = self.mix(shared * torch.sigmoid(self.gate(shared.mean((2, 3), keepdim=True))))
        # The root of a product of sigmoids, by logarithms: its gradient stays finite where both are small.
        scores = (0.5 * (F.logsigmoid(self.kind(gated)) + F.logsigmoid(self.align(shared)))).exp()
        distances = self.distance(gated).flatten(2).unflatten(1, (4, self.bins))
        return scores.flatten(2).transpose(1, 2), distances.permute(0, 3, 1, 2)


def _merge(width: int) -> nn.Sequential:
    return nn.Sequential(separable(2 * width, 2 * width), separable(2 * width, width))


def _last(width: int, out: int, bias: float) -> nn.Conv2d:
    """A layer of predictions, which begin near `bias` everywhere."""
    layer = nn.Conv2d(width, out, 1)
    if not layer.weight.is_meta:  # as in draw_weight
        nn.init.normal_(layer.weight, std=0.01)
    layer.bias = nn.Parameter(torch.full((out,), bias))
    return layer


def _points(of: Tensor, stride: int) -> Tensor:
    """The pixels (x, y) that the cells of a map stand for, row by row: `[H * W, 2]`."""
    y, x = (torch.arange(side, dtype=of.dtype, device=of.device) + 0.5 for side in of.shape[2:])
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1) * stride


def _best(boxes: Tensor, scores: Tensor, least: float, overlap: float, most: int) -> Detections:
    """From all boxes `[P, 4]` and scores `[P, classes]` of one picture."""
    points, labels = (scores > least).nonzero(as_tuple=True)
    sure = scores[points, labels]
    sure, order = sure.topk(min(CANDIDATES, len(sure)))
    boxes, labels = boxes[points[order]], labels[order]
    best = nms(boxes, sure, labels, overlap)[:most]
    return Detections(boxes[best], sure[best], labels[best])
