"""Measures a codec of sounds: mel distance, periodicity, words that a judge mishears, beside Griffin and Lim's way back."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ernest.config.media import CODE_RATE, USUAL
from ernest.data.sounds import resampled
from ernest.evaluation.likeness import mel_distance
from ernest.evaluation.measured import SHOWN, Measure, Pair, speeds, spread, timed
from ernest.tokenizers.audio import ITERATIONS
from ernest.tokenizers.standalone import SoundTokenizer

MOST_SOUNDS = 100
"""What is measured at most; a judge hears `MOST_WORDS`."""
MOST_WORDS = 500
LAGS = (0.0025, 0.0125)
"""Seconds of the periods that are looked for: pitches of 80 to 400 Hz."""
QUIET = 0.1
"""Of the loudest frame of a sound: quieter ones have no pitch to be judged by."""


@dataclass(frozen=True)
class HeardSounds:
    """Waves float32 `[samples]`, and the texts that stand beside each."""

    waves: Sequence[np.ndarray]
    texts: Sequence[Sequence[str]]


def measure_sounds(tokenizer: SoundTokenizer, sounds: HeardSounds, judge: Path | None) -> tuple[list[Measure], list[Pair]]:
    """How like what comes back is to what went in, by the vocoder and by Griffin and Lim; what of the codes is used; how fast it
    is. `judge` is a trained judge of words."""
    some = spread(range(len(sounds.waves)), MOST_SOUNDS)
    waves = [sounds.waves[i] for i in some]
    rate, config = tokenizer.media.sample_rate, tokenizer.network.config
    seconds = sum(map(len, waves)) / rate
    codes, encoding = timed(lambda: [tokenizer.encode(wave) for wave in waves])
    decode = lambda levels, iterations: _back(tokenizer, waves, codes, levels, iterations)
    ways: dict[str, int | None] = {"": None, " by Griffin-Lim": ITERATIONS} if config.vocoder else {"": None}
    note = f"mean over {len(waves)} sounds, {seconds:.0f} s, back by {'the vocoder' if config.vocoder else 'Griffin-Lim'}"
    back = {way: timed(lambda steps=steps: decode(None, steps)) for way, steps in ways.items()}
    measures: list[Measure] = []
    for way, (rebuilt, _) in back.items():
        measures.append(Measure(f"mel distance{way}", mel_distance(waves, rebuilt, rate), "dB", "" if way else note))
        apart = periodicity_distance(waves, rebuilt, rate)
        if not math.isnan(apart):
            of_one = "" if way else "of 1: how much less, or more, of a tone"
            measures.append(Measure(f"periodicity distance{way}", apart, "", of_one))
    if judge is not None:
        measures += word_errors(tokenizer, sounds, judge, ways)
    for levels in range(1, config.levels):
        found = mel_distance(waves, decode(levels, None), rate)
        measures.append(Measure(f"mel distance of {levels} of {config.levels} codes", found, "dB"))
    together = np.concatenate(codes)
    measures += _code_use(together, config.codebook)
    size = tokenizer.bits_a_frame / 8 * CODE_RATE
    measures.append(Measure("a second of sound", size, "bytes", f"{2 * rate / size:,.0f} times smaller than 16 bits a sample"))
    spent = {"encoding": encoding} | {f"decoding{way}": found for way, (_, found) in back.items()}
    measures += speeds(seconds, spent, "one sound after the other", len(together), "frames of codes")
    shown = zip(waves[:SHOWN], back[""][0], strict=False)
    return measures, [Pair(wave, one, f"{mel_distance([wave], [one], rate):.1f} dB") for wave, one in shown]


def periodicity_distance(waves: Sequence[np.ndarray], others: Sequence[np.ndarray], rate: int) -> float:
    """Root of the mean squared difference of periodicity, over frames of 40 ms every 10 ms that are loud enough in the first of a
    pair: the highest autocorrelation, divided by the power, at the lags of a voice. 1 is a tone, 0 noise; nan where all is
    silent.

    After Morrison et al. (2110.10139, section 4.2), who take it from a network of pitch.
    """
    differences = []
    for wave, other in zip(waves, others, strict=True):
        length = min(len(wave), len(other))
        (loud, ours), (_, theirs) = (_periodicity(one[:length], rate) for one in (wave, other))
        differences.append((ours - theirs)[loud])
    together = np.concatenate(differences)
    return float(np.sqrt(np.mean(together**2))) if len(together) else math.nan


def _periodicity(wave: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Which frames are loud, and the periodicity of each."""
    size, hop = rate // 25, rate // 100
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave.astype(np.float64), size // 2), size)[::hop]
    frames = frames - frames.mean(1, keepdims=True)
    lags = range(round(LAGS[0] * rate), round(LAGS[1] * rate))
    products = [(frames[:, lag:] * frames[:, :-lag]).sum(1) for lag in lags]
    powers = [np.sqrt((frames[:, lag:] ** 2).sum(1) * (frames[:, :-lag] ** 2).sum(1)) + 1e-9 for lag in lags]
    level = np.sqrt((frames**2).mean(1))
    return level > QUIET * level.max(), (np.stack(products) / np.stack(powers)).max(0).clip(0, 1)


def word_errors(tokenizer: SoundTokenizer, sounds: HeardSounds, judge: Path, ways: Mapping[str, int | None]) -> list[Measure]:
    """The share of sounds in which a judge of words hears another than the one that its text names, of the sounds themselves and
    of what comes back. Where no text names one, what it hears in the sound itself is what was said."""
    from ernest.verifiers.speech import WordJudge
    from ernest.world.speech import WORDS

    named = [{word for text in texts for word in WORDS if word in text.lower().split()} for texts in sounds.texts]
    known = [i for i, words in enumerate(named) if len(words) == 1]
    some = spread(known or range(len(named)), MOST_WORDS)
    network, rate = WordJudge.load(judge), tokenizer.media.sample_rate
    hear = lambda waves: network.judge([resampled(wave, rate, USUAL.sample_rate).astype(np.float32) for wave in waves])
    waves = [sounds.waves[i] for i in some]
    heard = hear(waves)
    said = [next(iter(named[i])) for i in some] if known else heard
    errors = lambda words: 100 * float(np.mean([one != other for one, other in zip(words, said, strict=True)]))
    note = f"of {len(some)} sounds, by {judge}, against {'their texts' if known else 'what it hears in the sounds themselves'}"
    measures = [Measure("words misheard in the sounds themselves", errors(heard), "%", note)] if known else []
    codes = [tokenizer.encode(wave) for wave in waves]
    for way, iterations in ways.items():
        rebuilt = _back(tokenizer, waves, codes, None, iterations)
        measures.append(Measure(f"words misheard in what came back{way}", errors(hear(rebuilt)), "%", "" if known else note))
    return measures


def _back(
    tokenizer: SoundTokenizer,
    waves: Sequence[np.ndarray],
    codes: Sequence[np.ndarray],
    levels: int | None,
    iterations: int | None,
) -> list[np.ndarray]:
    """What the codes of each wave give back, as long as it."""
    return [tokenizer.decode(one, levels, iterations)[: len(wave)] for one, wave in zip(codes, waves, strict=True)]


def _code_use(codes: np.ndarray, entries: int) -> list[Measure]:
    """The perplexity of each level of codes int `[frames, levels]`."""
    found = []
    for level in range(codes.shape[1]):
        share = np.bincount(codes[:, level], minlength=entries) / len(codes)
        used = share[share > 0]
        perplexity, dead = float(np.exp(-(used * np.log(used)).sum())), int((share == 0).sum())
        found.append(Measure(f"entries used of code {level + 1}", perplexity, "", f"of {entries}, by perplexity; {dead} never"))
    return found
