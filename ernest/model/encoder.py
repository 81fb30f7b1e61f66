"""The encoder of given pictures and videos: CNN and ViT features merged by attention (ERNIE 5.0 §2.2.2).

Shapes: N clips, F frames of a clip (1 or 4), C channels, D width of the ViT, K = 4 F patches that become one token.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ernest.config.tables import ModelConfig
from ernest.config.tokenizer_spec import TokenizerSpec
from ernest.model.attention import attend_within
from ernest.model.backbone import draw_as_constructed
from ernest.sequence.batch import Patches
from ernest.sequence.bucketing import pad_to_bucket


class PatchMerger(nn.Module):
    """K patches of each path become one vector: project the CNN's to D, join both along the patch axis, attend over the 2K,
    take their mean, project to the backbone's width.

    The ViT's come through a gate that begins at zero (as ReZero's, arXiv 2003.04887): while the ViT still has to learn what to
    look for, what the frozen CNN sees is read as if it stood alone.
    """

    def __init__(self, features: int, vit_width: int, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(features, vit_width)
        self.gate = nn.Parameter(torch.zeros(vit_width))
        self.norm = nn.LayerNorm(vit_width)
        self.qkv = nn.Linear(vit_width, 3 * vit_width)
        self.out = nn.Linear(vit_width, vit_width)
        self.output = nn.Linear(vit_width, width)

    def forward(self, cnn: Tensor, vit: Tensor) -> Tensor:
        """`[tokens, K, features]` and `[tokens, K, D]` to `[tokens, width]`."""
        x = torch.cat([self.project(cnn), self.gate * vit], dim=1)
        y = attend_within(self.qkv(self.norm(x)), self.heads)
        return self.output((x + self.out(y)).mean(dim=1))


class VitBlock(nn.Module):
    """A transformer block of the ViT: attention and a GELU layer, each on normalised input `[N, patches, D]`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.out(attend_within(self.qkv(self.attention_norm(x)), self.heads))
        return x + self.mlp(self.mlp_norm(x))


class Encoder(nn.Module):
    """Given pictures and videos to tokens of the backbone. The CNN path is the vision tokenizer before its quantiser, frozen:
    its features come with the batch. The ViT is trained with the backbone."""

    def __init__(self, config: ModelConfig, spec: TokenizerSpec) -> None:
        super().__init__()
        self.patch, self.grid = spec.patch, spec.grid
        rows, columns = self.grid
        self.patch_embedding = nn.Linear(3 * self.patch**2, config.vit_width)
        self.position_embedding = nn.Parameter(torch.empty(rows * columns, config.vit_width))
        nn.init.normal_(self.position_embedding)
        self.blocks = nn.ModuleList(VitBlock(config.vit_width, 2) for _ in range(config.vit_layers))
        self.merger = PatchMerger(spec.features, config.vit_width, config.width)

    def init_weights(self) -> None:
        draw_as_constructed(self.patch_embedding)
        nn.init.normal_(self.position_embedding)
        draw_as_constructed(self.blocks)
        draw_as_constructed(self.merger)
        nn.init.zeros_(self.merger.gate)

    def forward(self, patches: Patches) -> Tensor:
        """Tokens `[N * merged patches, width]`, row by row of the merged grid, clip by clip."""
        tokens = len(patches.index)
        pixels, features = pad_to_bucket(patches.pixels, 4, 2), pad_to_bucket(patches.features, 4, 2)
        clips, frames = pixels.shape[:2]
        (rows, columns), channels = self.grid, 3 * self.patch**2
        patches_of = F.pixel_unshuffle(pixels.flatten(0, 1) * 2 - 1, self.patch)  # of no frames, PyTorch mistakes the shape
        x = patches_of.reshape(clips * frames, channels, rows * columns).transpose(1, 2)
        x = self.patch_embedding(x) + self.position_embedding
        for block in self.blocks:
            x = block(x)
        vit = x.transpose(1, 2).unflatten(2, self.grid)
        return self.merger(_blocks(features, clips, frames), _blocks(vit, clips, frames))[:tokens]


def _blocks(features: Tensor, clips: int, frames: int) -> Tensor:
    """Patches that become one token, side by side: `[tokens, K, channels]` from `[..., channels, rows, columns]` of frames."""
    *_, channels, rows, columns = features.shape
    split = features.reshape(clips, frames, channels, rows // 2, 2, columns // 2, 2)
    return split.permute(0, 3, 5, 1, 4, 6, 2).reshape(clips * rows * columns // 4, 4 * frames, channels)
