"""Attention written out, PyTorch's own and a loop agree; so do norms; the cache changes nothing."""

import numpy as np
import pytest
import torch
from torch import nn

from ernest.config.tables import ModelConfig
from ernest.model import native
from ernest.model.attention import Attention, Spans, as_bias, attend, attend_explicitly, attend_within, visible
from ernest.model.cache import Cache, Places
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


def packed_rows(rows: int, length: int, longest: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Documents of 1 to `longest` positions, groups of a few, and padding at the end of rows: documents and groups."""
    generator = torch.Generator().manual_seed(seed)
    document, group = torch.full((rows, length), -1), torch.zeros(rows, length, dtype=torch.long)
    for row in range(rows):
        start = number = 0
        while True:
            end = start + int(torch.randint(1, longest + 1, (1,), generator=generator))
            if end > length:
                break
            document[row, start:end] = number
            group[row, start:end] = (torch.rand(end - start, generator=generator) < 0.6).long().cumsum(0)
            start, number = end, number + 1
    return document, group


@pytest.mark.skipif(not native.usable(), reason="no C++ compiler")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("config", "length", "longest"),
    [
        (CONFIG, 70, 25),
        (ModelConfig(width=40, heads=2, kv_heads=1, qk_norm=False), 90, 60),
        (ModelConfig(width=24, heads=2, kv_heads=2), 33, 2),
        (ModelConfig(width=128, heads=2, kv_heads=1), 150, 150),
    ],
)
def test_documents_one_by_one_are_the_mask_with_gradients(config, length, longest, dtype):
    """The compiled form against norm, rotation and masked attention written out."""
    torch.manual_seed(0)
    document, group = packed_rows(3, length, longest)
    valid = (document >= 0)[..., None]
    attention, x = Attention(config), torch.randn(3, length, config.width)
    for norm in (attention.query_norm, attention.key_norm):
        if norm is not None:
            nn.init.uniform_(norm.weight, 0.5, 2)
    gradient = torch.randn_like(x) * valid
    angles = rotary_angles(torch.rand(3, length, 3) * 50, config.head_dim, config.rope_base)
    spans, results = visible(document, group, torch.ones(1)), []
    assert isinstance(spans, Spans)
    for mask in (spans, as_bias(allowed(document, group, document, group), dtype)):
        at = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            y = attention(at, angles, mask)
        assert y.dtype == dtype
        x_grad, *grads = torch.autograd.grad(y, [at, *attention.parameters()], gradient.to(dtype))
        results.append((y.detach() * valid, x_grad * valid, *grads))
    for found, wanted in zip(*results, strict=True):
        assert float((found - wanted).norm() / wanted.norm()) < (1e-5 if dtype == torch.float32 else 0.02)


@pytest.mark.usefixtures("either_way")
def test_attention_within_rows_is_attention_without_a_mask():
    qkv = torch.randn(5, 19, 3 * 24, generator=torch.Generator().manual_seed(0))
    results = []
    for function in (lambda x: attend_within(x, 3), three_heads):
        at = qkv.clone().requires_grad_()
        y = function(at)
        (y * torch.linspace(-1, 2, 24)).sum().backward()
        results.append((y.detach(), at.grad))
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def three_heads(qkv: torch.Tensor) -> torch.Tensor:
    q, k, v = (part.unflatten(-1, (3, 8)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
    return attend_explicitly(q, k, v).transpose(1, 2).flatten(2)


def test_rows_whose_documents_lie_in_pieces_take_the_mask():
    """Kernels take a document in one piece whose groups rise; any other gets a mask, which takes whatever comes."""
    group = torch.tensor([[0, 1, 2, 3]])
    for document, groups in (([[0, 1, 1, 0]], group), ([[0, 0, 0, 0]], group.flip(1))):
        assert torch.is_tensor(visible(torch.tensor(document), groups, torch.ones(1)))
    with torch.no_grad():
        assert torch.is_tensor(visible(torch.tensor([[0, 0, 1, 1]]), group, torch.ones(1)))


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
            places = Places(np.arange(B), np.full(B, start), np.full(B, length), np.full(B * length, end))
            caches, mask = cache.layers(places)
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

    def places(starts: list[int], counts: list[int]) -> Places:
        """In slots that are neither in order nor without gaps; each position sees what came before it, and itself."""
        ends = [start + np.arange(1, count + 1) for start, count in zip(starts, counts, strict=True)]
        return Places(np.array([2, 0]), np.array(starts), np.array(counts), np.concatenate(ends))

    caches, mask = cache.layers(places([0, 0], lengths))
    attention(x[:, :width], tuple(a[:, :width] for a in angles), mask, caches[0])
    parts, held = [], list(lengths)
    for count in steps:
        at = torch.tensor(held)[:, None] + torch.arange(count)
        take = lambda values, at=at: values.gather(1, at[..., None].expand(-1, -1, values.shape[-1]))
        caches, mask = cache.layers(places(held, [count] * B))
        parts.append(attention(take(x), tuple(take(a) for a in angles), mask, caches[0]))
        held = [length + count for length in held]
    together = torch.cat(parts, dim=1)
    for row in range(B):
        torch.testing.assert_close(together[row], alone(row), rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("shape", [(7, 32), (2, 3, 5, 44), (3, 7)])
def test_norm_equals_pytorchs(shape):
    torch.manual_seed(0)
    ours, theirs = RMSNorm(shape[-1], 1e-5), nn.RMSNorm(shape[-1], eps=1e-5)
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


@pytest.mark.usefixtures("either_way")
def test_norm_widens_what_is_narrow():
    x = torch.randn(4, 32).bfloat16().requires_grad_()
    y = RMSNorm(32, 1e-5)(x)
    assert y.dtype == torch.float32
    y.sum().backward()
    assert x.grad.dtype == torch.bfloat16
    narrow = RMSNorm(32, 1e-5)(x.float(), torch.bfloat16)
    torch.testing.assert_close(narrow, y.bfloat16())


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
