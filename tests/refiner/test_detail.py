"""Detail: split and joined for any size, kept in range, and rounded so that the mean of every block stays what it was."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ernest.refiner.detail import DETAILS, join, join_in_range, round_to_means, split

SIDES = st.integers(1, 9)


def slow_split(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of one picture `[3, 2 h, 2 w]`, block by block."""
    small, detail = np.zeros((3, *(side // 2 for side in frame.shape[1:]))), np.zeros((9, *(s // 2 for s in frame.shape[1:])))
    for colour in range(3):
        for row, column in np.ndindex(small.shape[1:]):
            (a, b), (c, d) = frame[colour, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            small[colour, row, column] = (a + b + c + d) / 4
            detail[3 * colour : 3 * colour + 3, row, column] = [(a - b + c - d) / 4, (a + b - c - d) / 4, (a - b - c + d) / 4]
    return small, detail


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(shape))


@given(SIDES, SIDES, st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_what_is_split_is_joined_again(rows: int, columns: int, seed: int) -> None:
    frames = drawn(seed, 2, 3, 2 * rows, 2 * columns)
    small, detail = split(frames)
    assert torch.allclose(join(small, detail), frames, atol=1e-14)
    for found, expected in zip((small[1], detail[1]), slow_split(frames[1].numpy()), strict=True):
        assert np.allclose(found, expected, atol=1e-14)


@given(SIDES, SIDES, st.floats(0, 3), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_detail_in_range_leaves_every_mean(rows: int, columns: int, strength: float, seed: int) -> None:
    """Also beside black and white, where there is no room for any; where there is room for all, it is `join`."""
    small = drawn(seed, 2, 3, rows, columns).mul(1.4).sub(0.2).clamp(0, 1)
    detail = strength * (drawn(seed + 1, 2, DETAILS, rows, columns) - 0.5)
    frames = join_in_range(small, detail)
    assert 0 <= frames.min() <= frames.max() <= 1
    assert torch.allclose(split(frames)[0], small, atol=1e-12)
    plain = join(small, detail)
    if 0 <= plain.min() <= plain.max() <= 1:
        assert torch.allclose(frames, plain, atol=1e-12)


@given(SIDES, SIDES, st.sampled_from([1, 2, 3]), st.floats(0, 1), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_rounding_leaves_every_mean_exactly(rows: int, columns: int, doublings: int, strength: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    means = rng.choice([0, 1, 2, 100, 127, 253, 254, 255], (2, rows, columns, 3)).astype(np.uint8)
    frames = torch.from_numpy(means).movedim(-1, 1).float() / 255
    for _ in range(doublings):
        frames = join_in_range(frames, strength * torch.from_numpy(rng.normal(size=(2, DETAILS, *frames.shape[2:]))).float())
    pixels = round_to_means(frames, torch.from_numpy(means)).numpy()
    factor = 2**doublings
    blocks = pixels.astype(np.int64).reshape(2, rows, factor, columns, factor, 3)
    assert np.array_equal(blocks.sum((2, 4)), means.astype(np.int64) * factor**2)
    assert np.abs(pixels - 255.0 * frames.movedim(1, -1).numpy()).max() < 1.001
