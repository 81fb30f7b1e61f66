"""A refiner at work: pictures of its size and no other, exact when made small again, films that stand still where they do."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ernest.refiner.network import Refiner, RefinerConfig
from ernest.refiner.refine import follow_flow, refine, small_versions

RNG = np.random.default_rng(0)


def refiner(size: tuple[int, int] = (16, 24), scales: tuple[float, ...] = (0.2, 0.1)) -> Refiner:
    """Untrained, but with every weight in play."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Refiner(RefinerConfig(size, scales, width=8))
        for value in made.parameters():
            nn.init.normal_(value, std=0.1)
    return made.eval().requires_grad_(False)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.integers(1, 4), st.integers(0, 2**70))
@settings(max_examples=15, deadline=None)
def test_made_small_again_a_refined_picture_is_what_was_given(
    rows: int, columns: int, doublings: int, steps: int, seed: int
) -> None:
    """To the bit, after rounding, whatever the network says: consistency is no matter of training."""
    made = refiner((8 * rows, 8 * columns), (0.5,) * doublings)
    pixels = np.random.default_rng(seed).integers(0, 256, (2, 8 * rows, 8 * columns, 3), dtype=np.uint8)
    large = refine(made, pixels, seed, steps)
    factor = 2**doublings
    assert large.shape == (2, 8 * rows * factor, 8 * columns * factor, 3)
    blocks = large.astype(np.int64).reshape(2, 8 * rows, factor, 8 * columns, factor, 3)
    assert np.array_equal(blocks.sum((2, 4)), factor**2 * pixels.astype(np.int64))
    assert np.array_equal(small_versions(large, factor), pixels)
    assert blocks.std((2, 4)).max() > 1


@given(st.integers(0, 70), st.integers(0, 70))
@settings(max_examples=30, deadline=None)
def test_other_sizes_are_refused_in_one_line(height: int, width: int) -> None:
    if min(height, width) < 8 or height % 8 or width % 8:
        with pytest.raises(ValueError, match=r"size: expected multiples of 8 pixels, got"):
            RefinerConfig((height, width), (0.1,))
    elif (height, width) != (16, 24):
        with pytest.raises(ValueError, match=f"^pictures of {height} x {width} pixels: this refiner is one of 16 x 24$"):
            refine(refiner(), np.zeros((height, width, 3), np.uint8))


def test_what_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 \[height, width, 3\] or .*, got float64 \[16, 24, 3\]"):
        refine(refiner(), np.zeros((16, 24, 3)))
    with pytest.raises(ValueError, match="steps = 0: expected 1 to 4"):
        refine(refiner(), np.zeros((16, 24, 3), np.uint8), steps=0)
    with pytest.raises(ValueError, match="holds no refiner: `ernest refiner train` makes one"):
        Refiner.load(tmp_path)
    (tmp_path / "refiner.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"refiner\.safetensors"):
        Refiner.load(tmp_path)


def test_a_refiner_goes_through_its_folder(tmp_path: Path) -> None:
    made, pixels = refiner(), RNG.integers(0, 256, (16, 24, 3), dtype=np.uint8)
    made.save(tmp_path / "new")
    assert Refiner.load(tmp_path / "new").config == made.config
    assert np.array_equal(refine(Refiner.load(tmp_path / "new"), pixels, 3), refine(made, pixels, 3))
    assert not np.array_equal(refine(made, pixels, 3), refine(made, pixels, 4))


def test_what_stands_still_in_a_film_stays_still() -> None:
    film = np.repeat(RNG.integers(0, 256, (1, 16, 24, 3), dtype=np.uint8), 11, axis=0)
    film[:, :8] = RNG.integers(0, 256, (11, 8, 24, 3), dtype=np.uint8)
    film[:8] = film[0]
    large = refine(refiner(), film)
    assert np.array_equal(large[1:8], np.broadcast_to(large[0], large[1:8].shape))
    assert not np.array_equal(large[9], large[10])


def test_the_flow_goes_in_steps_of_euler() -> None:
    """Beside each step written out; and from any noise straight to detail that a network is sure of."""
    doubling = refiner().doublings[0]
    small, noise = torch.rand(2, 3, 16, 24), torch.randn(2, 9, 16, 24)
    expected = noise.double()
    for t in (0.0, 0.25, 0.5, 0.75):
        velocity = (doubling(expected.float(), torch.full((2,), t), small).double() - expected) / (1 - t)
        expected = expected + 0.25 * velocity
    assert torch.allclose(follow_flow(doubling, small, noise, 4).double(), expected, atol=1e-4)
    sure = torch.randn(2, 9, 16, 24)
    for steps in (1, 3, 10):
        assert torch.allclose(follow_flow(lambda z, t, small: sure, small, noise, steps), sure, atol=1e-5)
