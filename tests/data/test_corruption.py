"""Rates of flips: as they were where nothing grows, and as VideoAR's where they do; exact, and in their distribution."""

import numpy as np
import pytest
import torch

from ernest.config.tables import SequenceConfig
from ernest.data.corruption import MISHEARD, NEAR, draw_flips, flip_rates, misheard, near_codes
from ernest.tokenizers.bitwise_quantiser import MultiScaleBits

SIZES = ((1, 1), (2, 2), (4, 4))
VIDEOAR = SequenceConfig(bit_flip_rate=0.25, bit_flip_growth=0.01, bit_flip_inheritance=True)


def shares(frames: int, scales: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.rand(frames, scales, generator=torch.Generator().manual_seed(seed))


def test_without_growth_rates_and_flips_are_bit_for_bit_what_they_were():
    quantiser = MultiScaleBits(8, SIZES)
    for rate in (0.2, 0.3, 0.9):
        assert torch.equal(flip_rates(shares(9), SequenceConfig(bit_flip_rate=rate)), shares(9) * rate)
        drawn, plain = (torch.Generator().manual_seed(4) for _ in range(2))
        rates = torch.rand(5, 3, generator=plain) * rate
        rates[-1, -1] = 0.0
        flips = draw_flips(quantiser, 5, SequenceConfig(bit_flip_rate=rate), drawn)
        assert torch.equal(flips, quantiser.draw_flips(rates, plain))


@pytest.mark.parametrize("inheritance", [False, True])
@pytest.mark.parametrize("scales", [1, 3])
def test_rates_are_those_of_the_loop(inheritance, scales):
    config = SequenceConfig(bit_flip_rate=0.25, bit_flip_growth=0.06, bit_flip_inheritance=inheritance)
    drawn, before = shares(8, scales), 0.0
    found = flip_rates(drawn, config)
    for frame in range(8):
        for scale in range(scales):
            low, high = min(0.06 * frame, 0.5), min(0.25 + 0.06 * frame, 0.5)
            if inheritance and scale == 0 and frame:
                low = before
            before = low + float(drawn[frame, scale]) * (high - low)
            assert float(found[frame, scale]) == pytest.approx(before, abs=1e-6)


def test_rates_spread_evenly_between_ends_that_grow_with_time():
    """Of 4,000 films: frame f has rates from δ f to p_max + δ f; its first scale begins where the frame before ended."""
    config = SequenceConfig(bit_flip_rate=0.25, bit_flip_growth=0.01, bit_flip_inheritance=True)
    rates = torch.stack([flip_rates(shares(12, seed=seed), config) for seed in range(4000)])
    for frame in (0, 4, 11):
        low, high = 0.01 * frame, 0.25 + 0.01 * frame
        later = rates[:, frame, 1:]
        assert low - 1e-6 <= float(later.min()) < low + 0.005
        assert high - 0.005 < float(later.max()) <= high + 1e-6
        assert float(later.mean()) == pytest.approx((low + high) / 2, abs=0.003)
    assert bool((rates[:, 1:, 0] >= rates[:, :-1, -1]).all())
    # U(U(a, b), b + δ) has its mean three quarters of the way.
    assert float(rates[:, 1, 0].mean()) == pytest.approx((0.125 + 0.26) / 2, abs=0.003)


def test_growth_stops_where_bits_are_noise():
    rates = flip_rates(shares(200), VIDEOAR)
    assert float(rates.max()) <= 0.5
    assert float(rates[60:, 1].min()) > 0.3
    assert torch.equal(
        flip_rates(shares(200), SequenceConfig(bit_flip_rate=0.2, bit_flip_growth=1.0))[1:], torch.full((199, 3), 0.5)
    )


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ({"bit_flip_growth": -0.1}, r"sequence.bit_flip_growth = -0.1 must lie between 0 and 1"),
        ({"frame_mask_rate": 1.5}, r"sequence.frame_mask_rate = 1.5 must lie between 0 and 1"),
    ],
)
def test_rates_that_cannot_be_are_refused(setting, fault):
    with pytest.raises(ValueError, match=fault):
        SequenceConfig(**setting)


def test_codes_are_taken_for_those_of_the_nearest_entries():
    books = torch.randn(3, 40, 5, generator=torch.Generator().manual_seed(1))
    near = near_codes(books)
    assert near_codes(books) is near, "found anew for every batch"
    assert near.shape == (3, 40, NEAR)
    for level in range(3):
        for entry in range(40):
            far = (books[level] - books[level, entry]).square().sum(1)
            assert near[level, entry].tolist() == far.argsort()[1 : NEAR + 1].tolist()
    codes = np.random.default_rng(2).integers(0, 40, (60, 3)).astype(np.int16)
    shares, chosen = [], set()
    for seed in range(400):
        heard = misheard(codes, near, np.random.default_rng(seed))
        assert heard.dtype == codes.dtype
        assert np.array_equal(heard, misheard(codes, near, np.random.default_rng(seed)))
        frames, levels = np.nonzero(heard != codes)
        for frame, level in zip(frames, levels, strict=True):
            chosen.add(near[level, codes[frame, level]].tolist().index(heard[frame, level]))
        shares.append(len(frames) / codes.size)
    assert chosen == set(range(NEAR))
    assert np.mean(shares) == pytest.approx(MISHEARD / 2, abs=0.03)
    assert min(shares) < 0.02
    assert max(shares) > MISHEARD - 0.1
