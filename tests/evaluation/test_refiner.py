"""The measures of a refiner: each on pictures whose figure is known."""

from pathlib import Path

import numpy as np
import pytest

from ernest.evaluation import refiner as measures
from ernest.evaluation.refiner import bicubic, measure_refiner, sharpness, with_true_detail
from ernest.refiner.network import Refiner, RefinerConfig
from ernest.refiner.refine import small_versions


def test_sharpness_is_the_share_of_waves_that_the_small_picture_cannot_hold() -> None:
    """Of two waves across and one down, with energies of one, four and nine."""
    at = np.arange(64) / 64
    wave = lambda periods, size: size * np.cos(2 * np.pi * periods * at)
    drawn = 0.5 + wave(4, 0.05)[None, :] + wave(9, 0.1)[None, :] + wave(20, 0.15)[:, None]
    pixels = np.repeat(np.rint(255 * drawn)[None, :, :, None], 3, 3).astype(np.uint8)
    assert sharpness(pixels, 4) == pytest.approx(13 / 14, abs=0.003)
    assert sharpness(pixels, 2) == pytest.approx(9 / 14, abs=0.003)
    assert sharpness(bicubic(pixels[:, ::4, ::4], 4), 4) < 0.2


def test_true_detail_on_other_means_is_as_far_away_as_they_are() -> None:
    true = np.random.default_rng(0).integers(60, 200, (2, 16, 24, 3), dtype=np.uint8)
    small = small_versions(true, 4)
    made = with_true_detail(true, small + np.uint8(9), 4)
    assert np.array_equal(made, true + np.uint8(9))
    assert np.array_equal(with_true_detail(true, small, 4), true)


def test_a_refiner_is_measured_on_held_out_pictures_of_the_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained one: exact all the same, and the readers of the world read from its pictures what the small ones hold."""
    monkeypatch.setattr(measures, "COUNT", 6)
    monkeypatch.setattr(measures, "FILMS", 1)
    Refiner(RefinerConfig((16, 16), (0.02,), 8)).save(tmp_path)
    found = {one.name.partition(",")[0]: one for one in measure_refiner(tmp_path)}
    assert list(found) == ["PSNR", "consistency", "sharpness", "time a picture", "colour read", "place read", "videos lawful"]
    assert found["consistency"].refined == 100
    assert 25 < found["consistency"].bicubic < 60
    assert found["PSNR"].refined > 20
    assert (found["PSNR"].true or 0) > 50
    assert found["colour read"].refined == found["place read"].true == 1
    assert found["videos lawful"].true == 1
    assert str(found["colour read"]) == "colour read: refined 1, bicubic 1, true 1"
