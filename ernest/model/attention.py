"""Attention shared by all modalities, with a cache for generation.

Shapes: B rows, S positions (queries), C positions (keys, cached ones first), G query heads, K key heads, d head width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ernest.config.recipe import ModelConfig
from ernest.model.cache import LayerCache
from ernest.model.norm import RMSNorm
from ernest.sequence.positions import rotate


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
