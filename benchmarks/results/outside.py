"""The outside judge of spoken words: pocketsphinx with a grammar of the words, which never heard our recordings or our voices.

It is fed at 16 kHz, with a fifth of a second of silence around. What it makes of real recordings is its own ceiling.
"""

import importlib
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ernest.data.sounds import resampled

RATE, AROUND = 16_000, 0.2
NEEDS = "pocketsphinx is not there: pip install pocketsphinx"


def is_there() -> bool:
    return find_spec("pocketsphinx") is not None


def heard_by_outsider(waves: Sequence[np.ndarray], words: Sequence[str], rate: int) -> list[str]:
    """What the outside judge hears in each of `waves` float32 `[samples]`: one of `words`, or nothing."""
    decoder = _decoder(words)
    return [_heard(decoder, resampled(wave.astype(np.float64), rate, RATE)) for wave in waves]


def _decoder(words: Sequence[str]) -> Any:
    sphinx = importlib.import_module("pocketsphinx")
    with tempfile.TemporaryDirectory() as scratch:
        grammar = Path(scratch) / "words.gram"
        grammar.write_text(f"#JSGF V1.0;\ngrammar words;\npublic <word> = {' | '.join(words)};\n")
        return sphinx.Decoder(jsgf=str(grammar), samprate=RATE, loglevel="FATAL")


def _heard(decoder: Any, wave: np.ndarray) -> str:
    silence = np.zeros(round(AROUND * RATE))
    level = max(float(np.abs(wave).max()), 1e-6)
    pcm = (np.concatenate([silence, 0.5 * wave / level, silence]) * 32767).astype(np.int16)
    decoder.start_utt()
    decoder.process_raw(pcm.tobytes(), False, True)
    decoder.end_utt()
    found = decoder.hyp()
    return "" if found is None else found.hypstr
