"""The quantiser keeps its promises on random smooth latents (ERNIE 5.0 §2.2.1, self-correction §2.2.3)."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.tokenizers.bitwise_quantiser import MultiScaleBits

SIZES = tuple((side, side) for side in (1, 2, 3, 4, 6, 8))


def smooth(n: int, bits: int, seed: int = 0) -> Tensor:
    """Random latents in which neighbours are alike, with unit variance: `[n, bits, 8, 8]`."""
    noise = torch.randn(n, bits, 8, 8, generator=torch.Generator().manual_seed(seed))
    x = F.avg_pool2d(F.pad(noise, (1, 1, 1, 1), "circular"), 3, 1) + 0.2 * noise
    return x / x.std()


def quantiser(bits: int = 16, sizes: tuple[tuple[int, int], ...] = SIZES) -> MultiScaleBits:
    """As the specification has it before training: nothing learned, every direction of length one."""
    made = MultiScaleBits(bits, sizes)
    torch.nn.init.ones_(made.gain)
    return made


def rms(a: Tensor, b: Tensor) -> float:
    return (a - b).square().mean().sqrt().item()


def wrong_path(q: MultiScaleBits, latent: Tensor, bit_flip_rate: Tensor, generator: torch.Generator) -> Tensor:
    """The sum when later scales go by the residuals of the clean walk, deaf to the flips before them."""
    clean = torch.zeros_like(latent)
    total = torch.zeros_like(latent)
    for k in range(len(q.sizes)):
        bits = q.down(latent - clean, k).flatten(2).transpose(1, 2) > 0
        clean = clean + q.lookup(bits, k)
        total = total + q.lookup(bits ^ (torch.rand(bits.shape, generator=generator) < bit_flip_rate[:, k, None, None]), k)
    return total


@torch.no_grad()
def test_no_flips_is_teacher_forcing() -> None:
    q, latent = quantiser(), smooth(8, 16)
    plain = q.history(latent)
    unflipped = q.history(latent, q.draw_flips(torch.zeros(8, len(SIZES)), torch.Generator().manual_seed(1)))
    for name in ("inputs", "bits", "total"):
        assert torch.equal(getattr(plain, name), getattr(unflipped, name))
    assert torch.allclose(q(latent).total, plain.total, atol=1e-5)


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("sizes", [SIZES, tuple((side, side) for side in (1, 2, 4, 8))])
@torch.no_grad()
def test_later_scales_mend_flipped_bits(bits: int, sizes: tuple[tuple[int, int], ...]) -> None:
    q, latent = quantiser(bits, sizes), smooth(64, bits) / math.sqrt(bits)
    bit_flip_rate = 0.3 * torch.rand(64, len(sizes), generator=torch.Generator().manual_seed(2))
    bit_flip_rate[:, -1] = 0
    clean = rms(q.history(latent).total, latent)
    right = rms(q.history(latent, q.draw_flips(bit_flip_rate, torch.Generator().manual_seed(3))).total, latent)
    wrong = rms(wrong_path(q, latent, bit_flip_rate, torch.Generator().manual_seed(3)), latent)
    assert right <= 1.35 * clean
    assert right <= 0.75 * wrong


@torch.no_grad()
def test_a_flip_changes_later_targets_but_not_its_own() -> None:
    q, latent = quantiser(), smooth(8, 16)
    bit_flip_rate = torch.zeros(8, len(SIZES))
    bit_flip_rate[:, 1] = 0.3
    plain = q.history(latent)
    flipped = q.history(latent, q.draw_flips(bit_flip_rate, torch.Generator().manual_seed(1)))
    assert torch.equal(plain.bits[:, :5], flipped.bits[:, :5])
    assert not torch.equal(plain.bits[:, 5:14], flipped.bits[:, 5:14])
    assert torch.equal(plain.inputs[:, :5], flipped.inputs[:, :5])
    assert not torch.equal(plain.inputs[:, 5:14], flipped.inputs[:, 5:14])


@torch.no_grad()
def test_inputs_are_the_sum_of_the_earlier_scales_at_the_size_of_the_cell() -> None:
    q = quantiser(16, ((1, 1), (2, 2), (4, 4)))
    torch.nn.init.normal_(q.refine[1].weight, std=0.1, generator=torch.Generator().manual_seed(4))
    latent = F.avg_pool2d(smooth(3, 16), 2)
    path = q.history(latent)
    assert path.inputs.shape == path.bits.shape == (3, 21, 16) == (3, q.cells, 16)
    assert path.inputs[:, 0].count_nonzero() == 0
    first_two = q.lookup(path.bits[:, :1], 0) + q.lookup(path.bits[:, 1:5], 1)
    assert torch.allclose(path.inputs[:, 5:], first_two.flatten(2).transpose(1, 2), atol=1e-6)


@torch.no_grad()
def test_bits_round_trip() -> None:
    q, latent = quantiser(), smooth(4, 16)
    path = q.history(latent)
    assert torch.allclose(q.sum(path.bits), path.total, atol=1e-6)


@torch.no_grad()
def test_every_scale_reduces_the_error() -> None:
    q, latent = quantiser(), smooth(64, 16) / 4
    bits = q.history(latent).bits
    errors = [rms(q.sum(bits, k), latent) for k in range(1, len(SIZES) + 1)]
    assert errors == sorted(errors, reverse=True)


def test_gradients_pass_straight_through_the_signs() -> None:
    q = quantiser(16, ((4, 4),))
    latent = F.avg_pool2d(smooth(2, 16), 2).requires_grad_()
    weights = torch.randn(latent.shape, generator=torch.Generator().manual_seed(5))
    (q(latent).total * weights).sum().backward()
    cell = latent.detach().clone().requires_grad_()
    (F.normalize(cell, dim=1) * weights).sum().backward()
    assert latent.grad is not None
    assert cell.grad is not None
    assert torch.allclose(latent.grad, cell.grad, atol=1e-6)
    assert latent.grad.abs().sum() > 0


def test_entropy_prefers_sure_and_various_bits() -> None:
    q = quantiser(16, ((4, 4),))
    signs = torch.where(torch.rand(64, 16, 4, 4, generator=torch.Generator().manual_seed(6)) > 0.5, 1.0, -1.0)
    one_sided = torch.ones(64, 16, 4, 4)
    assert q(signs).entropy < q(one_sided).entropy - 0.5
    assert q(signs).commitment < 1e-6 < q(smooth(64, 16)[..., :4, :4]).commitment


def test_sizes_need_an_order() -> None:
    with pytest.raises(ValueError, match="from the coarsest to the finest"):
        MultiScaleBits(16, ((4, 4), (2, 2)))
