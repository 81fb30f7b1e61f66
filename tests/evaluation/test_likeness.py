"""Measures of likeness against values by hand, and their order."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ernest.config.media import USUAL
from ernest.data.media import write_image
from ernest.evaluation.likeness import drawn_features, frechet, frechet_of_frames, mel_distance, psnr, ssim
from ernest.evaluation.sounds import HeardSounds, measure_sounds, periodicity_distance
from ernest.evaluation.tokenizers import bit_use, measure_tokenizer
from ernest.tokenizers import load
from ernest.tokenizers.standalone import SoundTokenizer, save_standalone
from ernest.training.standalone import decode_for
from tests.small import tokenizers

RNG = np.random.default_rng(0)


def smooth(count: int = 24, side: int = 32) -> np.ndarray:
    """Pictures of a few waves."""
    y, x = np.mgrid[:side, :side] / side
    waves = [np.sin(2 * np.pi * (a * x + b * y) + c) for a, b, c in RNG.uniform(0, 2, (count, 3))]
    return np.rint(127 * (1 + np.stack(waves)))[..., None].repeat(3, -1).astype(np.uint8)


def test_psnr_is_that_of_its_equation() -> None:
    black = np.zeros((2, 8, 8, 3), np.uint8)
    assert psnr(black, black) == 100
    assert psnr(black, black + np.uint8(51)) == pytest.approx(-10 * math.log10(0.04))


def test_ssim_of_constants_and_of_noise() -> None:
    """Of two constant pictures only the term of the means is left."""
    one, other = np.full((1, 16, 16, 3), 51, np.uint8), np.full((1, 16, 16, 3), 102, np.uint8)
    assert ssim(one, other) == pytest.approx((2 * 0.2 * 0.4 + 1e-4) / (0.04 + 0.16 + 1e-4), abs=1e-6)
    pictures = smooth()
    noisy = [np.clip(pictures + RNG.normal(0, level, pictures.shape), 0, 255).astype(np.uint8) for level in (5, 20, 60)]
    found = [ssim(pictures, pictures), *(ssim(pictures, one) for one in noisy)]
    assert found[0] == pytest.approx(1)
    assert found == sorted(found, reverse=True)
    assert ssim(pictures[:, :8, :8], pictures[:, :8, :8]) == pytest.approx(1), "smaller than a window"


def test_frechet_distance_of_gaussians() -> None:
    """`|m - n|² + Σ (√c - √d)²` where both covariances are diagonal; none between a set and itself."""
    torch.manual_seed(0)
    draws = torch.randn(200_000, 3)
    one, other = (
        draws * torch.tensor([1.0, 2.0, 3.0]),
        draws.flip(0) * torch.tensor([2.0, 2.0, 1.0]) + torch.tensor([0.0, 1.0, 0.0]),
    )
    assert frechet(one, other) == pytest.approx(1 + 1 + 4, rel=0.02)
    assert frechet(one, one) == pytest.approx(0, abs=1e-6)


def test_frechet_distance_of_pictures_grows_with_their_noise() -> None:
    pictures = smooth(64)
    features = drawn_features(pictures)
    noisy = [np.clip(pictures + RNG.normal(0, level, pictures.shape), 0, 255).astype(np.uint8) for level in (4, 16, 64)]
    found = [frechet_of_frames(pictures, one, features) for one in (pictures, *noisy)]
    assert found[0] < 1e-3 * found[1]
    assert found == sorted(found)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_mel_distance_of_level_and_pitch(rate: int) -> None:
    """Half as loud is 6 dB less where there is sound; a longer copy is cut."""
    noise = RNG.normal(0, 0.3, rate * 4 // 5).astype(np.float32)
    assert mel_distance([noise], [noise], rate) == 0
    assert mel_distance([noise], [np.pad(noise / 2, (0, 500))], rate) == pytest.approx(6.02, abs=0.15)


def test_periodicity_is_that_of_a_tone_and_of_noise() -> None:
    """A hum is as periodic at another pitch, and noise is not; what is quiet beside the rest counts for nothing."""
    time = np.arange(8000) / 8000
    hum, other, noise = np.sin(2 * np.pi * 150 * time), np.sin(2 * np.pi * 290 * time), RNG.normal(0, 0.5, 8000)
    assert periodicity_distance([hum, hum], [hum, other], 8000) < 0.05
    assert 0.5 < periodicity_distance([hum], [noise], 8000) < 1
    faint = np.concatenate([hum, 0.01 * hum])
    assert periodicity_distance([faint], [np.concatenate([hum, 0.01 * noise])], 8000) < 0.2


def test_bits_that_are_even_and_dead() -> None:
    bits = RNG.random((400, 21, 4)) < np.array([0.5, 0.3, 0.001, 1.0])
    used, even, dead = bit_use(bits)
    entropy = 1 - (0.3 * math.log2(0.3) + 0.7 * math.log2(0.7)) + 0.011
    assert used.value == pytest.approx(entropy, abs=0.02)
    assert (even.value, dead.value) == (1, 2)


def test_one_picture_and_silence_are_measured_as_far_as_they_can_be(tmp_path: Path) -> None:
    """One picture has no spread, and silence no tone."""
    bundle, waves = tokenizers(), [np.zeros(4000, np.float32)]
    save_standalone(tmp_path / "eyes", bundle.vision, USUAL, "tiny")
    save_standalone(tmp_path / "ears", bundle.audio, USUAL, "tiny")
    (tmp_path / "one").mkdir()
    write_image(tmp_path / "one/a.png", np.zeros((20, 30, 3), np.uint8))
    eyes, ears = load(tmp_path / "eyes"), load(tmp_path / "ears")
    assert isinstance(ears, SoundTokenizer)
    measured = measure_tokenizer(eyes, decode_for(eyes, tmp_path / "one", tmp_path / "decoded"), "one").measures
    sounds, _ = measure_sounds(ears, HeardSounds(waves, [[]]), None)
    names = {measure.name for measure in (*measured, *sounds)}
    assert {"PSNR", "mel distance"} <= names
    assert not names & {"Fréchet distance", "periodicity distance"}
    assert all(np.isfinite(measure.value) for measure in (*measured, *sounds))
