"""Synthesise single spoken words with espeak-ng: twenty words, named voices, random speed and pitch.

The synthesiser comes as a shared library in the package `espeakng_loader` and is called directly. A clip is a
pure function of `(seed, index)`; from `HELD_OUT` on, speed and pitch come from cells of their plane that no
training clip uses.
"""

import ctypes
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ernest.config.media import MediaSpec
from ernest.world.split import HELD_OUT, generator

WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("red", "green", "blue", "yellow", "pink", "white"),
    *("top", "bottom", "left", "right"),
)


@dataclass(frozen=True)
class Voice:
    """A given name and the synthesiser's voice: an accent's file, and `+` a variant of the vocal tract."""

    name: str
    file: str


VOICES = (
    Voice("adam", "gmw/en-US"),
    Voice("anna", "gmw/en-US+f2"),
    Voice("ben", "gmw/en-US+m3"),
    Voice("carla", "gmw/en-US+f1"),
    Voice("diana", "gmw/en-US+f3"),
    Voice("frank", "gmw/en-US+m1"),
    Voice("henry", "gmw/en-US+m5"),
    Voice("rosa", "gmw/en-US-nyc+f5"),
    Voice("tony", "gmw/en-US-nyc+m7"),
    Voice("carl", "gmw/en"),
    Voice("mary", "gmw/en+f4"),
    Voice("peter", "gmw/en+m8"),
    Voice("emma", "gmw/en-GB-x-rp+f1"),
    Voice("kate", "gmw/en-GB-x-rp+f2"),
    Voice("james", "gmw/en-GB-x-rp+m2"),
    Voice("duncan", "gmw/en-GB-scotland"),
    Voice("fiona", "gmw/en-GB-scotland+f3"),
    Voice("ian", "gmw/en-GB-scotland+m4"),
    Voice("laura", "gmw/en-GB-x-gbclan+f5"),
    Voice("george", "gmw/en-GB-x-gbclan+m2"),
    Voice("simon", "gmw/en-GB-x-gbcwmd+m1"),
    Voice("tina", "gmw/en-029+f2"),
    Voice("marlon", "gmw/en-029+m1"),
    Voice("louis", "gmw/en-029+m6"),
)
UNHEARD_VOICES = (
    Voice("uma", "gmw/en-US+f4"),
    Voice("victor", "gmw/en-GB-x-gbcwmd+m5"),
    Voice("wendy", "gmw/en-029+f1"),
)
"""Voices that no training clip uses: what is heard from them tests whether words are known by more than their speakers."""


@dataclass(frozen=True)
class Utterance:
    """A clip and what it was made from: words a minute, pitch in 0..99.

    `wave` is float32 `[samples]` of 16 bits: whole 32768ths, which are the same on every processor.
    """

    wave: np.ndarray
    word: str
    voice: str
    rate: int
    pitch: int


def speech(
    seed: int,
    index: int,
    voices: tuple[Voice, ...] = VOICES,
    words: tuple[str, ...] = WORDS,
    sample_rate: int = MediaSpec.sample_rate,
) -> Utterance:
    """The clip `index` of the world `seed`: a word of `words` by a voice of `voices`, about half a second long.

    At every sample rate, of 22,050 Hz at most, it is said in the same way.
    """
    rng = generator(seed, index, "speech")
    voice, word = voices[rng.integers(len(voices))], words[rng.integers(len(words))]
    rate, pitch = _rate_and_pitch(rng, held_out=index >= HELD_OUT)
    wave = _trimmed(_synthesise(voice.file, word, rate, pitch, int(rng.integers(30, 71)), sample_rate), sample_rate)
    loudness = 0.08 * 10 ** (rng.uniform(-3, 3) / 20)
    wave = wave * (loudness / np.sqrt(np.mean(wave**2)))
    before, after = (samples * sample_rate // 8000 for samples in (rng.integers(80, 480), rng.integers(80, 240)))
    return Utterance(_in_16_bits(np.pad(wave, (before, after))), word, voice.name, rate, pitch)


def voice_sample(
    seed: int, index: int, voice: Voice, seconds: float = 3.0, sample_rate: int = MediaSpec.sample_rate
) -> np.ndarray:
    """The sample `index` of a voice: words of all speeds and pitches one after the other, float32 `[seconds · sample_rate]`.

    They are clips of worlds of their own, so that no sample holds the clip that is asked for with it.
    """
    length = round(seconds * sample_rate)
    words: list[np.ndarray] = []
    while sum(map(len, words)) < length:
        words.append(speech(1000 * (seed + 1) + len(words), index, (voice,), sample_rate=sample_rate).wave)
    return np.concatenate(words)[:length]


def _in_16_bits(wave: np.ndarray) -> np.ndarray:
    """A wave float64 in [-1, 1] rounded to whole 32768ths, float32: what differs between processors is far below these."""
    return np.rint(wave * 32768).clip(-32768, 32767).astype(np.int16).astype(np.float32) / np.float32(32768)


def _rate_and_pitch(rng: np.random.Generator, held_out: bool) -> tuple[int, int]:
    """Words a minute and pitch, from the fifth of their cells that is held out or from the rest."""
    while True:
        rate, pitch = int(rng.integers(125, 206)), int(rng.integers(25, 76))
        if ((rate // 6 + pitch // 5) % 5 == 0) == held_out:
            return rate, pitch


def _trimmed(wave: np.ndarray, sample_rate: int) -> np.ndarray:
    """Without the synthesiser's silence, but for 5 ms before and 10 ms after what is louder than a hundredth of the peak."""
    loud = np.flatnonzero(np.abs(wave) > 0.01 * np.abs(wave).max())
    return wave[max(0, loud[0] - sample_rate // 200) : loud[-1] + sample_rate // 100]


def _resampled(wave: np.ndarray, rate: int, to: int = MediaSpec.sample_rate) -> np.ndarray:
    """From `rate` to a lower one by cutting the spectrum: exact for a clip that begins and ends in silence."""
    block = rate // np.gcd(rate, to)
    wave = np.pad(wave, (0, -len(wave) % block))
    length = len(wave) * to // rate
    return np.fft.irfft(np.fft.rfft(wave)[: length // 2 + 1], length) * (length / len(wave))


_SYNCHRONOUS, _UTF8 = 2, 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_WAVE_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_one_at_a_time = threading.Lock()


def _synthesise(
    voice: str, word: str, rate: int, pitch: int, pitch_range: int, sample_rate: int = MediaSpec.sample_rate
) -> np.ndarray:
    """The word as float64 `[samples]`, trailing silence included.

    The synthesiser keeps hidden state from clip to clip (where the flutter of the pitch stands, which cycle of the
    glottis is the rough one, its random numbers), and no call of its interface resets it. So the library is
    loaded afresh for every clip and closed after it, which costs 2 ms.
    """
    pieces: list[np.ndarray] = []

    @_WAVE_CALLBACK
    def keep(samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            pieces.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
        return 0

    path, data, close = _library()
    with _one_at_a_time:
        library = ctypes.CDLL(path)
        try:
            sampled_at = library.espeak_Initialize(_SYNCHRONOUS, 0, data, 0)
            library.espeak_ng_SetRandSeed(ctypes.c_long(0))
            library.espeak_SetSynthCallback(keep)
            if library.espeak_SetVoiceByName(voice.encode()):
                raise ValueError(f"espeak-ng has no voice {voice!r}")
            for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, pitch_range)):
                library.espeak_SetParameter(parameter, value, 0)
            text = word.encode()
            library.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 1, 0, _UTF8, None, None)
            library.espeak_Terminate()
        finally:
            close(library._handle)
    return _resampled(np.concatenate(pieces) / 32768, sampled_at, sample_rate)


@cache
def _library() -> tuple[str, bytes, Any]:
    """The path of the synthesiser, that of its data, and the function that unloads a library."""
    import espeakng_loader

    close = ctypes.CDLL(None).dlclose
    close.argtypes = [ctypes.c_void_p]
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path().encode(), close
