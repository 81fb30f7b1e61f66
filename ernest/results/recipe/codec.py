"""Whether the first code of the codec says what is said: codecs with and without a teacher of that code, and linear probes.

A probe reads how often a clip has which code, at the first level or at all others, and tells the word or the voice.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from ernest.results.small_runs import replaced
from ernest.results.units import kept
from ernest.sequence.record import Record
from ernest.tokenizers.audio import AudioTokenizer
from ernest.tokenizers.training import audio
from ernest.tokenizers.training.audio import train_audio_tokenizer
from ernest.world.speech import VOICES, WORDS
from ernest.world.split import HELD_OUT
from ernest.world.world import records

STEPS, CLIPS, HEARD = 300, 1200, 500
"""Steps of each codec, the clips that it and the probes learn from, and those that the probes are scored on."""
RIDGE = 1.0
"""The λ of the probes."""
TAUGHT, UNTAUGHT = "taught", "untaught"
NAMES = [voice.name for voice in VOICES]


def measure(build: Path, seed: int) -> dict[str, dict[str, float]]:
    """The share of clips of which probes tell word and voice, from code 1 and from the others, of a codec whose first code was
    taught and of one without a teacher."""
    settings = {"steps": STEPS, "clips": CLIPS, "heard": HEARD}
    return {name: kept(build / f"seed-{seed}" / f"codec-{name}.json", settings, lambda name=name: _measured(name, seed))
            for name in (TAUGHT, UNTAUGHT)}  # fmt: skip


def _measured(name: str, seed: int) -> dict[str, float]:
    learnt = records("speech→text", seed, range(CLIPS))
    heard = records("speech→text", seed, range(HELD_OUT, HELD_OUT + HEARD))
    words = np.array([WORDS.index(record.facts["word"]) for record in learnt])
    with nullcontext() if name == TAUGHT else replaced(audio, "DISTILLATION", 0.0):
        codec = train_audio_tokenizer([record.segments[0].data for record in learnt], words, STEPS, seed)
    return probes(codec.eval(), learnt, heard)


def probes(codec: AudioTokenizer, learnt: Sequence[Record], heard: Sequence[Record]) -> dict[str, float]:
    """Shares of `heard` that probes of `learnt` tell rightly."""
    tables, found = [_counts(codec, part) for part in (learnt, heard)], {}
    for fact, labels in {"word": list(WORDS), "voice": NAMES}.items():
        truth, wanted = (np.array([labels.index(record.facts[fact]) for record in part]) for part in (learnt, heard))
        for place, levels in {"code 1": slice(0, 1), "the others": slice(1, None)}.items():
            known, asked = (table[:, levels].reshape(len(table), -1) for table in tables)
            found[f"{fact}, {place}"] = float((probe(known, truth, asked) == wanted).mean())
    return found


def probe(known: np.ndarray, truth: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Classes of the rows of `asked`, by least squares on one-hot classes of `known` with a ridge, W = (XᵀX + λ)⁻¹ Xᵀ Y."""
    centre, targets = known.mean(axis=0), np.eye(truth.max() + 1)[truth]
    x = known - centre
    # The dual form, X (XXᵀ + λ)⁻¹, for there are fewer clips than codes.
    weights = x.T @ np.linalg.solve(x @ x.T + RIDGE * np.eye(len(x)), targets - targets.mean(axis=0))
    return ((asked - centre) @ weights + targets.mean(axis=0)).argmax(axis=1)


def _counts(codec: AudioTokenizer, clips: Sequence[Record]) -> np.ndarray:
    """How often each clip has each code, `[clips, levels, entries]`."""
    entries = codec.config.codebook
    coded = codec.encode([record.segments[0].data for record in clips])
    return np.stack([[np.bincount(level, minlength=entries) for level in codes.T.numpy()] for codes in coded]).astype(float)
