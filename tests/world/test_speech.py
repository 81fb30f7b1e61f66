"""Spoken words: the same clip whatever was spoken before, held-out draws apart, names and lengths as told."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from ernest.world import speech as making
from ernest.world.speech import UNHEARD_VOICES, VOICES, WORDS, speech
from ernest.world.split import HELD_OUT

CLIPS = """
import hashlib
from ernest.world.speech import speech
print(hashlib.sha256(b"".join(speech(5, index).wave.tobytes() for index in range(12))).hexdigest())
"""


def test_a_clip_does_not_depend_on_what_was_spoken_before() -> None:
    forwards = [speech(0, index) for index in range(40)]
    backwards = [speech(0, index) for index in reversed(range(40))][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        assert np.array_equal(one.wave, other.wave)
        assert (one.word, one.voice, one.rate, one.pitch) == (other.word, other.voice, other.rate, other.pitch)
    assert len({clip.wave.tobytes() for clip in forwards}) == 40


def test_another_process_speaks_the_same() -> None:
    here = hashlib.sha256(b"".join(speech(5, index).wave.tobytes() for index in range(12))).hexdigest()
    there = subprocess.run([sys.executable, "-c", CLIPS], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


def test_seed_and_index_both_matter() -> None:
    clips = {speech(seed, index).wave.tobytes() for seed in (0, 1) for index in (0, 1, HELD_OUT, HELD_OUT + 1)}
    assert len(clips) == 8


def test_held_out_clips_take_rates_and_pitches_that_no_training_clip_takes() -> None:
    def cells(first: int) -> set[tuple[int, int]]:
        rng = np.random.default_rng(first % 97)
        return {making._rate_and_pitch(rng, held_out=first >= HELD_OUT) for _ in range(3000)}

    training, held_out = cells(0), cells(HELD_OUT)
    assert not training & held_out
    assert len(held_out) > 500
    spoken = speech(0, HELD_OUT + 3)
    assert (spoken.rate // 6 + spoken.pitch // 5) % 5 == 0
    spoken = speech(0, HELD_OUT - 3)
    assert (spoken.rate // 6 + spoken.pitch // 5) % 5 != 0


def test_at_another_rate_the_same_is_said() -> None:
    """Twice the samples, and below 4 kHz the same sound."""
    low, high = (speech(0, 3, sample_rate=rate) for rate in (8000, 16000))
    assert (low.word, low.voice, low.rate, low.pitch) == (high.word, high.voice, high.rate, high.pitch)
    assert abs(len(high.wave) - 2 * len(low.wave)) < 100
    halved = making._resampled(high.wave, 16000)
    size = 1 << 14
    crossed = np.fft.irfft(np.fft.rfft(halved, size) * np.fft.rfft(low.wave, size).conj())
    assert crossed.max() > 0.98 * np.linalg.norm(halved) * np.linalg.norm(low.wave)


def test_clips_are_short_finite_and_equally_loud() -> None:
    clips = [speech(2, index) for index in range(40)]
    seconds = [len(clip.wave) / 8000 for clip in clips]
    assert 0.4 < np.mean(seconds) < 0.6
    assert 0.2 < min(seconds) < max(seconds) < 1.1
    for clip in clips:
        assert clip.wave.dtype == np.float32
        assert np.abs(clip.wave).max() <= 1
        loud = np.sqrt(np.mean(clip.wave**2))
        assert 0.03 < loud < 0.12
        assert not clip.wave[:60].any()
        assert not clip.wave[-60:].any()


def test_every_voice_has_a_name_and_a_sound_of_its_own() -> None:
    voices = VOICES + UNHEARD_VOICES
    assert len(VOICES) >= 24
    assert len(UNHEARD_VOICES) == 3
    assert len({voice.name for voice in voices}) == len({voice.file for voice in voices}) == len(voices)
    assert all(voice.name.isascii() and voice.name.islower() and voice.name.isalpha() for voice in voices)
    waves = {voice.name: making._synthesise(voice.file, "seven", 160, 50, 50) for voice in voices}
    spectra = {name: np.abs(np.fft.rfft(wave, 8000)) for name, wave in waves.items()}
    for name, spectrum in spectra.items():
        others = [np.abs(spectrum - other).sum() / spectrum.sum() for key, other in spectra.items() if key != name]
        assert min(others) > 0.1, name


def test_all_words_and_voices_are_drawn() -> None:
    assert len(WORDS) == len(set(WORDS)) == 20
    clips = [speech(0, index, voices=VOICES[:2], words=WORDS[:3]) for index in range(40)]
    assert {clip.word for clip in clips} == set(WORDS[:3])
    assert {clip.voice for clip in clips} == {voice.name for voice in VOICES[:2]}
    assert {speech(0, HELD_OUT + index, UNHEARD_VOICES).voice for index in range(20)} == {"uma", "victor", "wendy"}


def test_resampling_keeps_a_tone_and_removes_what_8_khz_cannot_hold() -> None:
    time = np.arange(11025) / 22050
    window = np.hanning(len(time))
    low, high = (window * np.sin(2 * np.pi * frequency * time) for frequency in (1000, 6000))
    kept = making._resampled(low + high, 22050)
    at = np.arange(len(kept)) / 8000
    expected = np.interp(at, time, window) * np.sin(2 * np.pi * 1000 * at)
    assert np.abs(kept - expected).max() < 1e-3


def test_a_voice_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match="no voice 'gmw/nobody'"):
        making._synthesise("gmw/nobody", "one", 160, 50, 50)
