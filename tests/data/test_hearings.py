"""Sounds as they might also have been heard: what changes, by how much at most, and that it is the same each time."""

import numpy as np
import pytest

from ernest.data.hearings import heard_length, heard_otherwise

NUMBERS = range(1, 40)


def heard(wave: np.ndarray, rate: int) -> list[np.ndarray]:
    return [heard_otherwise(wave, rate, number) for number in NUMBERS]


@pytest.mark.parametrize("rate", [8000, 16000, 24000])
def test_hearings_differ_in_pitch_length_and_loudness(rate):
    """A tone of 1000 Hz and one second is as much lower as it is longer, behind silence; some lie under noise."""
    tone = (0.4 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)).astype(np.float32)
    stretches, amplitudes, silences = [], [], []
    for wave in heard(tone, rate):
        spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
        stretches.append(1000 / (spectrum.argmax() * rate / len(wave)))
        amplitudes.append(np.abs(wave[rate // 5 : rate // 2]).max())
        silences.append(len(wave) / rate - stretches[-1])
    assert 0.84 < min(stretches) < 0.93
    assert 1.07 < max(stretches) < 1.19
    assert min(amplitudes) < 0.3 < 0.5 < max(amplitudes) <= 1
    assert -0.005 < min(silences) < 0.03 < 0.05 < max(silences) < 0.085
    noises = [np.diff(wave[rate // 5 :]).std() for wave in heard(np.full(rate, 0.1, np.float32), rate)]
    assert 0.25 < np.mean([noise > 1e-3 for noise in noises]) < 0.75


def test_a_hearing_follows_from_the_sound_and_its_number():
    rng = np.random.default_rng(0)
    one, other = rng.uniform(-1, 1, (2, 3000)).astype(np.float32)
    first = heard(one, 8000)
    assert all(np.array_equal(a, b) for a, b in zip(first, heard(one.copy(), 8000), strict=True))
    assert len({wave.tobytes() for wave in [*first, *heard(other, 8000)]}) == 2 * len(NUMBERS)


def test_lengths_are_known_before_they_are_heard():
    rng = np.random.default_rng(1)
    for samples in [1, 2, *rng.integers(3, 30000, 20)]:
        wave, rate, number = (
            rng.uniform(-1, 1, samples).astype(np.float32),
            int(rng.choice([8000, 16000, 24000])),
            int(samples) % 9,
        )
        made = heard_otherwise(wave, rate, number)
        assert made.dtype == np.float32
        assert len(made) == heard_length(wave, rate, number)
        assert np.abs(made).max() <= 1


def test_silence_stays_silent():
    assert not any(wave.any() for wave in heard(np.zeros(800, np.float32), 8000))
