"""Features that are kept are, to the last bit, those that would be made anew, and no more of them stay than may."""

import numpy as np
import pytest
import torch

from ernest.data.features import FeatureCache
from ernest.tokenizers.vision import VisionTokenizer, VisionTokenizerConfig, to_frames


@pytest.fixture(scope="module")
def vision() -> VisionTokenizer:
    torch.manual_seed(0)
    return VisionTokenizer(VisionTokenizerConfig()).eval().requires_grad_(False)


def frames(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)


def convolved(cache: FeatureCache, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames the tokenizer is asked for, call by call."""
    asked, stages = [], cache.vision.stages
    monkeypatch.setattr(cache.vision, "stages", lambda given: asked.append(len(given)) or stages(given))
    return asked


def test_features_are_the_same_bits_whoever_they_come_with(vision):
    """New ones, known ones, the same twice in a batch, a single new one among known ones, one alone."""
    every, cache, rng = frames(24), FeatureCache(vision), np.random.default_rng(1)
    for count in (1, 2, 5, 3, 1, 16, 24, 4, 7, 1, 2, 2, 24):
        some = every[rng.integers(len(every), size=count)]
        assert torch.equal(cache(some), vision.features(to_frames(some)))


def test_what_is_known_is_not_convolved_again(vision, monkeypatch):
    cache, every = FeatureCache(vision), frames(6)
    asked = convolved(cache, monkeypatch)
    cache(every[:4])
    cache(every[1:5])
    cache(every[:5])
    cache(every[[0, 5, 5, 0]])
    assert asked == [4, 2, 2]  # one new frame is convolved with a companion


def test_the_oldest_leave_where_the_limit_is_reached(vision, monkeypatch):
    of_one = 32 * 32 * 3 + 4 * (64 * 8 * 8 + 128 * 4 * 4)
    cache, every = FeatureCache(vision, limit=4 * of_one), frames(6)
    cache(every[:4])
    assert cache.size == 4 * of_one
    cache(every[[0, 1]])
    cache(every[4:])
    assert list(cache.known) == [every[number].tobytes() for number in (0, 1, 4, 5)]
    assert cache.size == 4 * of_one
    assert torch.equal(cache(every), vision.features(to_frames(every)))  # more than may stay at once
    assert cache.size == 4 * of_one
