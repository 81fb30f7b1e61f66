"""Spectrograms and the way back."""

import numpy as np
import pytest
import torch

from ernest.config.media import MediaSpec
from ernest.tokenizers.mel import FLOOR, SCALE, USUAL_MEL, MelSpec, griffin_lim, log_mel


def tone(frequency: float, seconds: float = 0.64, rms: float = 0.1) -> torch.Tensor:
    time = torch.arange(int(seconds * MediaSpec.sample_rate)) / MediaSpec.sample_rate
    return rms * 2**0.5 * torch.sin(2 * torch.pi * frequency * time)


def chirps(count: int) -> torch.Tensor:
    """Waves `[count, samples]` of rising harmonics, loud in the middle."""
    time = torch.arange(5120) / MediaSpec.sample_rate
    pitch = torch.arange(1, count + 1)[:, None] * 30.0 + 100
    phase = 2 * torch.pi * (pitch * time + 60 * time**2)
    voiced = sum(torch.sin(k * phase) / k for k in (1, 2, 3, 5, 8))
    return 0.1 * torch.as_tensor(voiced) * torch.sin(torch.pi * time / time[-1])


def test_silence_is_zero_and_a_tone_stands_at_its_own_band() -> None:
    assert log_mel(torch.zeros(3, 10 * USUAL_MEL.hop)).abs().max() < 1e-6
    peaks = [int(log_mel(tone(frequency))[16].argmax()) for frequency in (200, 400, 800, 1600, 3200)]
    mels = 2595 * np.log10(1 + np.array([200, 400, 800, 1600, 3200]) / 700)
    lowest, highest = 2595 * np.log10(1 + np.array([30, 3900]) / 700)
    expected = (mels - lowest) / (highest - lowest) * (USUAL_MEL.bands + 1) - 1
    assert np.abs(np.array(peaks) - expected).max() <= 1


def test_ten_times_the_amplitude_is_twenty_decibels_more() -> None:
    quiet, loud = log_mel(tone(700, rms=0.02)), log_mel(tone(700, rms=0.2))
    band = int(loud[16].argmax())
    assert float(loud[16, band] - quiet[16, band]) * SCALE == pytest.approx(20, abs=0.1)
    assert float(loud.min()) * SCALE + FLOOR >= FLOOR


def test_a_frame_every_twenty_milliseconds_whatever_the_shape() -> None:
    waves = torch.randn(2, 3, 12 * USUAL_MEL.hop)
    mel = log_mel(waves)
    assert mel.shape == (2, 3, 12, USUAL_MEL.bands)
    torch.testing.assert_close(mel[1, 2], log_mel(waves[1, 2]))


def test_silence_beyond_the_end_changes_no_earlier_frame() -> None:
    wave = torch.randn(12 * USUAL_MEL.hop) * 0.1
    longer = torch.nn.functional.pad(wave, (0, 8 * USUAL_MEL.hop))
    torch.testing.assert_close(log_mel(longer)[:12], log_mel(wave))


def test_a_wave_that_is_no_whole_number_of_hops_is_refused() -> None:
    with pytest.raises(ValueError, match="161 samples"):
        log_mel(torch.zeros(161))


def test_griffin_lim_finds_a_wave_of_the_same_spectrogram() -> None:
    mel = log_mel(chirps(4))
    waves = griffin_lim(mel, iterations=32)
    assert waves.shape == (4, 5120)
    first, last = (float((log_mel(griffin_lim(mel, n)) - mel).abs().mean()) * SCALE for n in (1, 32))
    assert last < 1.5
    assert last < 0.7 * first


def test_griffin_lim_of_a_clip_does_not_depend_on_its_batch() -> None:
    mel = log_mel(chirps(3))
    together, alone = griffin_lim(mel, 8), griffin_lim(mel[1:2], 8)
    torch.testing.assert_close(together[1:2], alone, atol=1e-3, rtol=0)
    torch.testing.assert_close(griffin_lim(mel, 8), together, atol=0, rtol=0)


def test_gradients_pass_whoever_asked_first():
    spec, waves = MelSpec(11_000), torch.ones(1, 8 * MelSpec(11_000).hop)
    with torch.inference_mode():
        log_mel(waves, spec)
    waves = torch.ones(1, 8 * spec.hop, requires_grad=True)
    log_mel(waves, spec).sum().backward()
    assert waves.grad is not None
