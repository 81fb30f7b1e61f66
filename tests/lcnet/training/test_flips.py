"""Whether pictures may be mirrored: digits may not, scenes without a direction may, and few pictures prove nothing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ernest.lcnet.training.flips import Mirrored, compare_mirrored, try_mirrored
from ernest.lcnet.training.listing import Listing


def scenes(count: int, seed: int, turned: bool) -> tuple[np.ndarray, np.ndarray]:
    """Two classes of slopes with noise: darker towards one side, which side being chance or, with `turned`, the class."""
    rng = np.random.default_rng(seed)
    targets = np.arange(count) % 2
    ramp = np.linspace(-60, 60, 16)[None, :, None]
    sides = 2 * targets - 1 if turned else rng.choice([-1, 1], count)
    marks = 0 if turned else 30 * targets[:, None, None, None] * np.tile([1, -1], 8)[:, None, None]
    levels = 128 + sides[:, None, None, None] * ramp + marks
    noise = rng.normal(0, 20, (count, 16, 16, 3))
    return np.clip(levels + noise, 0, 255).astype(np.uint8), targets


def test_arrows_may_not_be_mirrored() -> None:
    found = compare_mirrored(*scenes(100, 0, turned=True))
    assert found.hurts
    assert (found.count, found.plain, found.mirrored) == (100, 1.0, 0.0)


@pytest.mark.parametrize("seed", range(5))
def test_what_has_no_direction_may(seed: int) -> None:
    found = compare_mirrored(*scenes(100, seed, turned=False))
    assert not found.hurts
    assert min(found.plain, found.mirrored) > 0.95


@pytest.mark.parametrize("seed", range(5))
def test_noise_and_few_pictures_prove_nothing(seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (200, 8, 8, 1), dtype=np.uint8)
    assert not compare_mirrored(noise, np.arange(200) % 4).hurts
    assert not compare_mirrored(*scenes(6, seed, turned=True)).hurts
    assert not compare_mirrored(noise[:1], np.zeros(1, int)).hurts


def test_digits_may_not_be_mirrored() -> None:
    bunch = pytest.importorskip("sklearn.datasets").load_digits()
    found = compare_mirrored((bunch.images[:300, :, :, None] * 15.9).astype(np.uint8), bunch.target[:300])
    assert found.hurts
    assert found.plain > 0.9 > 0.5 > found.mirrored


def test_pictures_are_read_from_their_files(tmp_path: Path) -> None:
    levels, targets = scenes(60, 0, turned=True)
    files = tuple(tmp_path / f"{number}.png" for number in range(60))
    for file, level in zip(files, levels, strict=True):
        Image.fromarray(level).resize((40, 30)).save(file)
    files[3].write_text("no picture")
    found = try_mirrored(Listing(files, tuple(map(int, targets)), ("left", "right")))
    assert found.hurts
    assert found.count == 59
    assert try_mirrored(Listing((tmp_path / "gone",), (0,), ("a", "b"))) == Mirrored(0, 0.0, 0.0, False)
