"""Attention shared by all modalities, with a cache for generation.

Shapes: B rows, S positions (queries), C positions (keys, cached ones first), G query heads, K key heads, d head width.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ernest.config.recipe import ModelConfig
from ernest.model.norm import RMSNorm
from ernest.sequence.positions import rotate


@dataclass
class LayerCache:
    """Keys and values `[B, K, C, d]` of one layer, written in place as positions arrive. Rows hold `length` `[B]` positions each;
    `end` bounds them all, and is known without asking a device."""

    keys: Tensor
    values: Tensor
    length: Tensor
    end: int = 0

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Writes `[B, K, S, d]` behind what each row holds; returns the keys and values up to the longest row's new end."""
        count = keys.shape[2]
        index = (self.length[:, None] + torch.arange(count, device=keys.device))[:, None, :, None].expand_as(keys)
        self.keys.scatter_(2, index, keys.to(self.keys.dtype))
        self.values.scatter_(2, index, values.to(self.values.dtype))
        self.length, self.end = self.length + count, self.end + count
        return self.keys[:, :, : self.end], self.values[:, :, : self.end]

    def cut(self, length: Tensor, end: int) -> None:
        """Forgets what stands behind `length` `[B]`, of which `end` is the largest."""
        self.length, self.end = length, end


class Attention(nn.Module):
    """Grouped-query attention with Uni-RoPE and normalised queries and keys."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.qkv = nn.Linear(config.width, (config.heads + 2 * config.kv_heads) * config.head_dim, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.query_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None
        self.key_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor], mask: Tensor, cache: LayerCache | None = None) -> Tensor:
        """`x` `[B, S, width]`, `angles` of `[B, S, d / 2]`, `mask` `[B, S, C]`, bool or what `as_bias` makes of it."""
        heads = [self.heads * self.head_dim] + [self.kv_heads * self.head_dim] * 2
        q, k, v = (part.unflatten(-1, (-1, self.head_dim)) for part in self.qkv(x).split(heads, dim=-1))
        q, k, v = self._turn(q, self.query_norm, angles), self._turn(k, self.key_norm, angles), v.transpose(1, 2)
        if cache is not None:
            k, v = cache.extend(k, v)
        return self.out(attend(q, k, v, mask).transpose(1, 2).flatten(2))

    def _turn(self, x: Tensor, norm: RMSNorm | None, angles: tuple[Tensor, Tensor]) -> Tensor:
        """Heads `[B, S, G, d]`, normalised and rotated by their positions, as `[B, G, S, d]`."""
        if norm is not None:
            return norm.rotated(x, *angles)
        cos, sin = (angle[:, None] for angle in angles)
        return rotate(x.transpose(1, 2), cos, sin).to(x.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias) v; queries `[B, G, S, d]`, keys and values `[B, K, C, d]`, `mask` `[B, S, C]`, bool or a
    bias.

    Training in bfloat16 on a CPU takes the written-out form: PyTorch's own backward is two to ten times slower there.
    """
    if q.dtype == torch.bfloat16 and q.is_cpu and torch.is_grad_enabled():
        return attend_explicitly(q, k, v, mask)
    bias = None if mask is None else mask[:, None]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, enable_gqa=q.shape[1] != k.shape[1])


def attend_explicitly(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """The same in batched products. Query heads that share keys are joined along the positions, so that nothing is repeated."""
    B, G, S, d = q.shape
    K, C = k.shape[1:3]
    joined, turned = (q * d**-0.5).reshape(B * K, G // K * S, d), k.reshape(B * K, C, d).transpose(1, 2)
    scores = torch.bmm(joined, turned)
    if mask is not None:
        scores.view(B, G, S, C).add_(as_bias(mask, q.dtype)[:, None])
    return (scores.softmax(dim=-1) @ v.reshape(B * K, C, d)).view(B, G, S, d)


def as_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """The bias that `mask` adds to scores: 0 where it allows, minus infinity elsewhere. A bias passes unchanged, so that a stack
    of layers can make it once."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, -torch.inf) if mask.dtype == torch.bool else mask


def new_cache(config: ModelConfig, rows: int, length: int, device: torch.device, dtype: torch.dtype) -> list[LayerCache]:
    """An empty cache of every layer."""
    shape = rows, config.kv_heads, length, config.head_dim
    none = torch.zeros(rows, dtype=torch.long, device=device)

    def empty() -> Tensor:
        return torch.zeros(shape, device=device, dtype=dtype)

    return [LayerCache(empty(), empty(), none) for _ in range(config.layers)]
