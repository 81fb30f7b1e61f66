"""Attention shared by all modalities, with a cache for generation.

Shapes: B rows, S positions (queries), C positions (keys, cached ones first), G query heads, K key heads, d head width.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ernest.config.sizes import BLOCK
from ernest.config.tables import ModelConfig
from ernest.device import HOST
from ernest.model import native
from ernest.model.cache import LayerCache
from ernest.model.norm import RMSNorm
from ernest.sequence.mask import Sight, allowed
from ernest.sequence.positions import rotate

Angles = tuple[Tensor, Tensor]
"""The cosines and the sines by which positions turn queries and keys, `[B, S, d / 2]` each."""
NOTHING = None, None, None
"""What is lost from view where all is seen."""


@dataclass(frozen=True)
class Spans:
    """The mask of packed rows as what each position may see, int32 columns `[B, S]`: from `begin`, the first position of its
    document, to one before `end`; a `begin` of -1 is padding, which sees nothing. `size` is at least the numbers that the scores
    of one head take. `lost` are the group of each position and its sight, int32 `[B, S]` each, where some are lost from view."""

    begin: Tensor
    end: Tensor
    size: int
    lost: tuple[Tensor | None, ...] = NOTHING

    def __getitem__(self, rows: Tensor) -> "Spans":
        lost = (part if part is None else part[rows] for part in self.lost)
        return Spans(self.begin[rows], self.end[rows], self.size, tuple(lost))


def visible(document: Tensor, group: Tensor, x: Tensor, sight: Sight | None = None) -> Tensor | Spans:
    """What positions of packed rows `[B, S]` may attend to: spans where the kernels of training take them and numbers of the type
    of `x`, else a mask."""
    if native.usable(x) and document.is_cpu:
        begin, end = (torch.empty(document.shape, dtype=torch.int32, device=HOST) for _ in range(2))
        size = native.call("spans", *document.shape, document.contiguous(), group.contiguous(), begin, end)
        if size >= 0:
            lost = NOTHING if sight is None else tuple(part.int() for part in (group, sight.gone, sight.back))
            return Spans(begin, end, size, lost)
    return allowed(document, group, document, group, sight)


class Attention(nn.Module):
    """Grouped-query attention with Uni-RoPE and normalised queries and keys."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.qkv = nn.Linear(config.width, (config.heads + 2 * config.kv_heads) * config.head_dim, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.query_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None
        self.key_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None

    def forward(self, x: Tensor, angles: Angles, mask: Tensor | Spans, cache: LayerCache | None = None) -> Tensor:
        """`x` `[B, S, width]`, `angles` of `[B, S, d / 2]`, `mask` `[B, S, C]`, bool or what `as_bias` makes of it, or spans."""
        heads = [self.heads * self.head_dim] + [self.kv_heads * self.head_dim] * 2
        if isinstance(mask, Spans):
            norms = (self.query_norm, self.key_norm) if self.query_norm is not None and self.key_norm is not None else None
            return self.out(attend_spans(self.qkv(x), mask, self.heads, self.kv_heads, angles, norms))
        q, k, v = (part.unflatten(-1, (-1, self.head_dim)) for part in self.qkv(x).split(heads, dim=-1))
        q, k, v = self._turn(q, self.query_norm, angles), self._turn(k, self.key_norm, angles), v.transpose(1, 2)
        if cache is not None:
            k, v = cache.extend(k, v)
        return self.out(attend(q, k, v, mask).transpose(1, 2).flatten(2))

    def _turn(self, x: Tensor, norm: RMSNorm | None, angles: Angles) -> Tensor:
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


class _AttendSpans(torch.autograd.Function):
    """Norms, rotation and attention at once, document by document (source/attention.h); threads take a document each."""

    @staticmethod
    def forward(
        ctx: Any,
        qkv: Tensor,
        query_weight: Tensor | None,
        key_weight: Tensor | None,
        angles: Angles | tuple[None, None],
        spans: Spans,
        sizes: tuple[int, int, int],
        eps: float,
    ) -> Tensor:
        rows, length, _ = qkv.shape
        queries, _, width = sizes
        ctx.leading = int(qkv.dtype == torch.bfloat16), rows, length, *sizes
        inputs = qkv, query_weight, key_weight, *angles
        shares = torch.empty(queries * spans.size, dtype=torch.float32, device=HOST)
        out = qkv.new_empty(rows, length, queries * width)
        seen = spans.begin, spans.end, *spans.lost
        native.call("attend", torch.get_num_threads(), *ctx.leading, *inputs, eps, *seen, shares, out)
        ctx.save_for_backward(*inputs, shares)
        ctx.spans, ctx.eps = spans, eps
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor):  # type: ignore[override]
        *inputs, shares = ctx.saved_tensors
        qkv, *weights = inputs[:3]
        grads = [None if weight is None else torch.zeros_like(weight) for weight in weights]
        out, spans = torch.empty_like(qkv), ctx.spans
        leading = torch.get_num_threads(), *ctx.leading
        native.call("attend_back", *leading, *inputs, ctx.eps, spans.begin, spans.end, shares, grad.contiguous(), out, *grads)
        return out, *grads, None, None, None, None


def attend_spans(
    qkv: Tensor,
    spans: Spans,
    heads: int,
    kv_heads: int,
    angles: Angles | None = None,
    norms: tuple[RMSNorm, RMSNorm] | None = None,
) -> Tensor:
    """`qkv` `[B, S, (G + 2 K) d]`, the heads of queries, keys and values side by side, to `[B, S, G d]`; queries and keys are
    normalised by `norms` and turned by `angles`, where there are any."""
    sizes = heads, kv_heads, qkv.shape[-1] // (heads + 2 * kv_heads)
    weights = (None, None) if norms is None else tuple(norm.weight for norm in norms)
    eps = 0.0 if norms is None else norms[0].eps
    turns = (None, None) if angles is None else tuple(angle.contiguous() for angle in angles)
    return _AttendSpans.apply(qkv.contiguous(), *weights, turns, spans, sizes, eps)


def attend_within(qkv: Tensor, heads: int) -> Tensor:
    """Attention of each row `[B, S, 3 G d]` to all of itself, `[B, S, G d]`."""
    if native.usable(qkv):
        rows, length, _ = qkv.shape
        begin = torch.zeros(rows, length, dtype=torch.int32, device=HOST)
        spans = Spans(begin, torch.full_like(begin, length), rows * length * (-(-length // BLOCK) * BLOCK))
        return attend_spans(qkv, spans, heads, heads)
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
    return attend(q, k, v).transpose(1, 2).flatten(2)


def as_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """The bias that `mask` adds to scores: 0 where it allows, minus infinity elsewhere. A bias passes unchanged, so that a stack
    of layers can make it once."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, -torch.inf) if mask.dtype == torch.bool else mask
