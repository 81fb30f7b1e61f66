"""The judges learn what they are shown, keep it in a file, and are the same for the same seed."""

from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from ernest.lcnet.network import PPLCNet, small_images
from ernest.sequence.record import Record, made
from ernest.tokenizers.vision import to_frames
from ernest.verifiers.training import as_teacher, distort, train_digit_judge, train_family_judge
from ernest.verifiers.vision import (
    FamilyNetwork,
    classify,
    load_digit_judge,
    load_family_judge,
    save,
    verify_digit,
    verify_family,
)
from ernest.world.video import FAMILIES


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


def assert_same_weights(loaded: nn.Module, saved: nn.Module) -> None:
    """To the bit, since a file keeps bits, and ready to judge."""
    assert not loaded.training
    assert loaded.state_dict().keys() == saved.state_dict().keys()
    assert all(torch.equal(value, saved.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_digit_judge_learns_and_survives_a_file(tmp_path: Path) -> None:
    """Four classes, so chance is a quarter; after 150 steps none of three seeds errs, after 50 some name but a third."""
    seen: list[int] = []
    judge = train_digit_judge(lambda step: stripes(step, 16), 150, progress=lambda step, steps, metrics: seen.append(step))
    pictures, classes = stripes(10_000, 200)
    said = classify(judge, pictures)
    assert (said == classes).mean() > 0.9
    # Of 200 guesses at random, a quarter is right; more than 84 are so once in ten million times.
    untaught = train_digit_judge(lambda step: (pictures, np.random.default_rng(step).permutation(classes)), steps=2)
    assert (classify(untaught, pictures) == classes).sum() < guesses_at_random(200, 1 / 4)
    assert seen == list(range(1, 151))
    save(judge, tmp_path / "digit.safetensors")
    assert_same_weights(load_digit_judge(tmp_path / "digit.safetensors"), judge)
    with pytest.raises(ValueError, match="expected a family judge, found digit"):
        load_family_judge(tmp_path / "digit.safetensors")


def test_family_judge_learns_and_survives_a_file(tmp_path: Path) -> None:
    judge = train_family_judge(*drifts(100, 1), steps=40)
    videos, families = drifts(60, 2)
    said = classify(judge, videos)
    assert (said == families).mean() > 0.9
    save(judge, tmp_path / "family.safetensors")
    assert_same_weights(load_family_judge(tmp_path / "family.safetensors"), judge)


def test_other_numbers_and_other_frames_are_refused() -> None:
    videos, _ = drifts(2, 0)
    judge = FamilyNetwork(9, 3)
    assert classify(judge, videos[:0]).shape == (0,)
    for wrong, message in (
        (videos / 255, "expected a numpy array uint8"),
        (videos[:, :5], "looks at videos of 9 frames, got uint8"),
    ):
        with pytest.raises(ValueError, match=message):
            classify(judge, wrong)


def test_same_seed_same_judge() -> None:
    """But for the rounding of products, which hangs on where memory lies: a thousandth of what another seed changes."""
    first, again, other = (
        torch.cat([p.flatten() for p in train_digit_judge(stripes, steps=2, seed=seed).parameters()]) for seed in (5, 5, 6)
    )
    assert (first - again).abs().mean() < 1e-3 * (first - other).abs().mean()


def test_a_teacher_is_a_copy_that_nothing_changes() -> None:
    network = PPLCNet(small_images(classes=10)).train()
    teacher = as_teacher(network)
    frames = torch.rand(4, 3, 32, 32, requires_grad=True)
    before = teacher.features(frames)
    before.sum().backward()
    assert frames.grad is not None
    assert network.training
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    for p in network.parameters():
        p.data.zero_()
    torch.testing.assert_close(teacher.features(frames), before)
    assert teacher.classes == 10


def test_frames_and_distortion() -> None:
    pictures, _ = stripes(0, 4)
    frames = to_frames(pictures)
    assert frames.shape == (4, 3, 32, 32)
    assert frames[1, 2, 3, 4].item() == pytest.approx(pictures[1, 3, 4, 2] / 255)
    bent = distort(frames, torch.Generator().manual_seed(0))
    assert bent.shape == frames.shape
    # The picture stays itself: it moves by about a pixel, and does not turn into another.
    assert 0 < (bent - frames).abs().mean() < 0.5 * (frames - frames.roll(1, 0)).abs().mean()


class Brightest(torch.nn.Module):
    """Takes how bright the first pixel is, in steps of a tenth, for the class."""

    def forward(self, media: torch.Tensor) -> torch.Tensor:
        classes = (10 * media.flatten(1)[:, 0]).round().long()
        return torch.nn.functional.one_hot(classes, 11)[:, :10].float()


def shaded(kind, shape: tuple[int, ...], tenths: float):
    return [made(kind, np.full(shape, round(25.5 * tenths), np.uint8))]


def test_a_digit_read_as_its_neighbour_does_not_pass() -> None:
    verify = verify_digit(Brightest())
    record = Record((made("text", "?"),), facts={"digit": 7})
    assert verify(record, shaded("image", (32, 32, 3), 7)).passed
    verdict = verify(record, shaded("image", (32, 32, 3), 8))
    assert (verdict.passed, verdict.parts) == (False, {"digit": 0.0})
    assert verdict.reason == "digit: expected 'seven', found 'eight'"
    assert not verify(record, shaded("video", (1, 32, 32, 3), 7)).passed
    assert not verify(record, []).passed


def test_a_video_of_another_family_does_not_pass() -> None:
    verify = verify_family(Brightest())
    record = Record((made("text", "?"),), facts={"family": FAMILIES[2]})
    assert verify(record, shaded("video", (9, 32, 32, 3), 2)).passed
    assert verify(record, shaded("video", (9, 32, 32, 3), 3)).reason == f"family: expected {FAMILIES[2]!r}, found {FAMILIES[3]!r}"
    moving = verify(record, shaded("video", (9, 32, 32, 3), len(FAMILIES)))
    assert (moving.passed, moving.reason) == (False, f"family: expected {FAMILIES[2]!r}, found None")
    assert not verify(record, []).passed
