"""Given sounds as they might also have been heard, so that a model learns from few recordings what they have in common."""

from zlib import crc32

import numpy as np

from ernest.data.sounds import resampled

STRETCH = 0.16
"""Natural logarithm of by how much a sound is longer, and lower, or shorter, and higher, at most."""
LATER = 0.08
"""Seconds by which it begins later, at most."""
LOUDNESS = 0.7
"""Natural logarithm of by how much it is louder or softer, at most."""
NOISY = 0.5
"""Share of hearings with white noise, whose amplitude is between 10^-1.5 and 10^-.5 of the sound's."""


def heard_otherwise(wave: np.ndarray, rate: int, number: int) -> np.ndarray:
    """Hearing `number` of `wave` float32 `[samples]`, of `rate` Hz: faster and higher or slower and lower, later, louder or
    softer, half of them under noise. It is a function of the sound and the number, whoever makes it."""
    rng = _generator(wave, number)
    to, later = _timing(rng, rate)
    heard = np.pad(resampled(wave, rate, to), (later, 0)) * np.exp(rng.uniform(-LOUDNESS, LOUDNESS))
    if rng.random() < NOISY:
        amplitude = np.sqrt(np.square(heard).mean()) * 10 ** -rng.uniform(0.5, 1.5)
        heard = heard + amplitude * rng.standard_normal(len(heard))
    return heard.clip(-1, 1).astype(np.float32)


def heard_length(wave: np.ndarray, rate: int, number: int) -> int:
    """The samples of that hearing."""
    to, later = _timing(_generator(wave, number), rate)
    return later + max(1, round(len(wave) * to / rate))


def _generator(wave: np.ndarray, number: int) -> np.random.Generator:
    return np.random.default_rng((crc32(np.ascontiguousarray(wave).data), number))


def _timing(rng: np.random.Generator, rate: int) -> tuple[int, int]:
    """The rate at which its samples are taken, in hundredths of `rate`, and the silent samples before them."""
    stretch, later = np.exp(rng.uniform(-STRETCH, STRETCH)), rng.uniform(0, LATER)
    return rate // 100 * round(100 * stretch), int(later * rate)
