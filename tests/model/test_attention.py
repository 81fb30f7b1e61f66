"""Attention written out, PyTorch's own and a loop agree; so do norms; the cache changes nothing."""

import pytest
import torch
from torch import nn

from ernest.config.recipe import ModelConfig
from ernest.model.attention import Attention, attend, attend_explicitly
from ernest.model.cache import Cache
from ernest.model.norm import RMSNorm
from ernest.sequence.mask import allowed
from ernest.sequence.positions import rotary_angles, rotate

CONFIG = ModelConfig(width=64, heads=4, kv_heads=2)
B, S, D = 2, 24, CONFIG.head_dim


def packed_mask() -> torch.Tensor:
    """Two documents and padding in each row, groups of several positions among them."""
    document = torch.tensor([[0] * 10 + [1] * 10 + [-1] * 4, [0] * 5 + [1] * 19])
    group = torch.tensor([[*range(6), 6, 6, 6, 6, *range(10), 0, 0, 0, 0], [*range(5), 0, 1, *[2] * 8, *range(3, 12)]])
    return allowed(document, group, document, group)


def inputs(dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (B, 4, S, D), (B, 2, S, D), (B, 2, S, D)
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def loop(q, k, v, mask):
    """One query of one head at a time."""
    rows = []
    for b in range(B):
        for g in range(4):
            key, value = k[b, g // 2], v[b, g // 2]
            for s in range(S):
                seen = torch.ones(S, dtype=torch.bool) if mask is None else mask[b, s]
                rows.append((key[seen] @ q[b, g, s] / D**0.5).softmax(dim=0) @ value[seen])
    return torch.stack(rows).view(B, 4, S, D)


def with_gradients(function, tensors, mask):
    y = function(*tensors, mask)
    return y.detach(), *torch.autograd.grad((y.float() * torch.linspace(-1, 2, D)).sum(), tensors)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("function", [attend, attend_explicitly])
def test_equals_the_loop_with_gradients(function, masked):
    mask = packed_mask() if masked else None
    for found, wanted in zip(with_gradients(function, inputs(), mask), with_gradients(loop, inputs(), mask), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_bfloat16_stays_near_with_gradients():
    narrow = with_gradients(attend, inputs(torch.bfloat16), packed_mask())
    wide = with_gradients(attend, inputs(), packed_mask())
    for found, wanted in zip(narrow, wide, strict=True):
        assert found.dtype == torch.bfloat16
        assert float((found.float() - wanted).norm() / wanted.norm()) < 0.02


def layer() -> Attention:
    torch.manual_seed(0)
    made = Attention(CONFIG)
    with torch.no_grad():
        made.query_norm.weight.uniform_(0.5, 2)
        made.key_norm.weight.uniform_(0.5, 2)
    return made


def test_cache_equals_no_cache():
    """Group after group, as generation walks."""
    torch.manual_seed(1)
    attention, x = layer(), torch.randn(B, S, CONFIG.width)
    place = torch.arange(S, dtype=torch.float64)[None, :, None].expand(B, S, 3)
    angles = rotary_angles(place, D, CONFIG.rope_base)
    group = torch.tensor([*range(8), *[8] * 6, *range(9, 19)])[None].expand(B, S)
    document = torch.zeros_like(group)
    whole = attention(x, angles, allowed(document, group, document, group))
    cache = Cache(CONFIG, x.device, x.dtype)
    parts, start = [], 0
    with torch.no_grad():
        for length in group[0].unique_consecutive(return_counts=True)[1].tolist():
            end = start + length
            now = document[:, start:end], group[:, start:end]
            caches = cache.write(range(B), [start] * B, *(part.contiguous() for part in now))
            mask = allowed(*now, *cache.seen(caches, B))
            here = angles[0][:, start:end], angles[1][:, start:end]
            parts.append(attention(x[:, start:end], here, mask, caches[0]))
            start = end
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_rows_of_different_lengths_in_one_cache_are_as_if_alone():
    """Rows hold 3 and 9 positions, their prompts padded to one width; both go on by 2 and by 5, each behind its own."""
    torch.manual_seed(1)
    attention, lengths, steps, width = layer(), [3, 9], [2, 5], 9
    x = torch.randn(B, width + sum(steps), CONFIG.width)
    place = torch.arange(x.shape[1], dtype=torch.float64)[None, :, None].expand(B, -1, 3)
    angles = rotary_angles(place, D, CONFIG.rope_base)

    def alone(row: int) -> torch.Tensor:
        end = lengths[row] + sum(steps)
        mask = torch.ones(end, end, dtype=torch.bool).tril()[None]
        return attention(x[row : row + 1, :end], tuple(a[row : row + 1, :end] for a in angles), mask)[0, lengths[row] :]

    cache = Cache(CONFIG, x.device, x.dtype)
    slots = [2, 0]  # neither in order nor without gaps
    here = torch.arange(width).expand(B, width)
    caches = cache.write(slots, [0] * B, torch.where(here < torch.tensor(lengths)[:, None], 0, -1), here.contiguous())
    attention(x[:, :width], tuple(a[:, :width] for a in angles), here[:, :, None] >= here[:, None], caches[0])
    parts, held = [], list(lengths)
    for count in steps:
        at = torch.tensor(held)[:, None] + torch.arange(count)
        take = lambda values, at=at: values.gather(1, at[..., None].expand(-1, -1, values.shape[-1]))  # noqa: E731
        document = torch.zeros_like(at)
        caches = cache.write(slots, held, document, at)
        mask = allowed(document, at, *cache.seen(caches, B))
        parts.append(attention(take(x), tuple(take(a) for a in angles), mask, caches[0]))
        held = [length + count for length in held]
    together = torch.cat(parts, dim=1)
    for row in range(B):
        torch.testing.assert_close(together[row], alone(row), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(7, 32), (2, 3, 5, 32)])
def test_norm_equals_pytorchs(shape):
    torch.manual_seed(0)
    ours, theirs = RMSNorm(32, 1e-5), nn.RMSNorm(32, eps=1e-5)
    with torch.no_grad():
        ours.weight.uniform_(0.5, 2)
        theirs.weight.copy_(ours.weight)
    x, gradient = torch.randn(shape), torch.randn(shape)
    results = []
    for norm in (ours, theirs):
        at = x.clone().requires_grad_()
        y = norm(at)
        y.backward(gradient)
        results.append((y.detach(), at.grad, norm.weight.grad))
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_norm_widens_what_is_narrow():
    x = torch.randn(4, 32).bfloat16().requires_grad_()
    y = RMSNorm(32, 1e-5)(x)
    assert y.dtype == torch.float32
    y.sum().backward()
    assert x.grad.dtype == torch.bfloat16


def test_rotated_norm_is_the_norm_and_then_the_rotation():
    torch.manual_seed(0)
    norm, x, gradient = RMSNorm(D, 1e-5), torch.randn(B, S, 4, D), torch.randn(B, 4, S, D)
    nn.init.uniform_(norm.weight, 0.5, 2)
    cos, sin = rotary_angles(torch.rand(B, S, 3) * 20, D, CONFIG.rope_base)
    results = []
    for turn in (norm.rotated, lambda x, cos, sin: rotate(norm(x).transpose(1, 2), cos[:, None], sin[:, None])):
        at, norm.weight.grad = x.clone().requires_grad_(), None
        y = turn(at, cos, sin)
        y.backward(gradient)
        results.append((y.detach(), at.grad, norm.weight.grad))
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
