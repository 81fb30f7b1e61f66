"""The judges learn what they are shown, keep it in a file, and are the same for the same seed."""

from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch

from ernest.verifiers.vision import (
    as_frames,
    classify,
    distort,
    load_digit_judge,
    load_family_judge,
    save,
    train_digit_judge,
    train_family_judge,
)


def stripes(step: int, n: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Four patterns over the whole picture, anywhere in their period: lying, standing and no stripes, and checks."""
    rng = np.random.default_rng((7, step))
    classes = rng.integers(4, size=n)
    rows, columns = np.indices((40, 40)) // 4 % 2 == 0
    patterns = np.stack([rows, columns, np.zeros_like(rows), rows ^ columns])
    pictures = rng.integers(40, size=(n, 32, 32, 3)).astype(np.uint8)
    for picture, c, (top, left) in zip(pictures, classes, rng.integers(8, size=(n, 2)), strict=True):
        picture[patterns[c, top : top + 32, left : left + 32]] = 220
    return pictures, classes


def drifts(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Videos of a bright square that goes right, down, or stays: classes 0, 1, 2."""
    rng = np.random.default_rng(seed)
    families = rng.integers(3, size=n)
    videos = rng.integers(40, size=(n, 9, 32, 32, 3)).astype(np.uint8)
    for video, family in zip(videos, families, strict=True):
        for t, frame in enumerate(video):
            right, down = (2 * t if family == 0 else 0), (2 * t if family == 1 else 0)
            frame[4 + down : 12 + down, 4 + right : 12 + right] = 220
    return videos, families


def guesses_at_random(count: int, chance: float) -> int:
    """So many of `count` guesses are right by chance at most, but for once in ten million times."""
    return int(scipy.stats.binom.isf(1e-7, count, chance))


def test_digit_judge_learns_and_survives_a_file(tmp_path: Path) -> None:
    seen: list[int] = []
    judge = train_digit_judge(stripes, steps=50, progress=lambda step, steps, metrics: seen.append(step))
    pictures, classes = stripes(10_000, 200)
    said = classify(judge, pictures)
    # Of 200 guesses at random, a quarter is right; more than 84 are so once in ten million times.
    assert (said == classes).sum() > guesses_at_random(200, 1 / 4)
    untaught = train_digit_judge(lambda step: (pictures, np.random.default_rng(step).permutation(classes)), steps=2)
    assert (classify(untaught, pictures) == classes).sum() < guesses_at_random(200, 1 / 4)
    assert seen == list(range(1, 51))
    save(judge, tmp_path / "digit.safetensors")
    assert np.array_equal(classify(load_digit_judge(tmp_path / "digit.safetensors"), pictures), said)
    with pytest.raises(ValueError, match="expected a family judge, found digit"):
        load_family_judge(tmp_path / "digit.safetensors")


def test_family_judge_learns_and_survives_a_file(tmp_path: Path) -> None:
    judge = train_family_judge(*drifts(100, 1), steps=40)
    videos, families = drifts(60, 2)
    said = classify(judge, videos)
    assert (said == families).mean() > 0.9
    save(judge, tmp_path / "family.safetensors")
    assert np.array_equal(classify(load_family_judge(tmp_path / "family.safetensors"), videos), said)


def test_same_seed_same_judge() -> None:
    first, again = (train_digit_judge(stripes, steps=2, seed=5) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_frames_and_distortion() -> None:
    pictures, _ = stripes(0, 4)
    frames = as_frames(pictures)
    assert frames.shape == (4, 3, 32, 32)
    assert frames[1, 2, 3, 4].item() == pytest.approx(pictures[1, 3, 4, 2] / 255)
    bent = distort(frames, torch.Generator().manual_seed(0))
    assert bent.shape == frames.shape
    # The picture stays itself: it moves by about a pixel, and does not turn into another.
    assert 0 < (bent - frames).abs().mean() < 0.5 * (frames - frames.roll(1, 0)).abs().mean()
