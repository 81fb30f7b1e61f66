"""The codec of sounds against real time, on one core: encoding, and decoding by the vocoder and by Griffin and Lim."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks.findings import Findings
from benchmarks.tables import Figure, Table
from ernest.config.media import SAMPLE_RATES
from ernest.tokenizers.audio import ITERATIONS, AudioConfig, AudioTokenizer
from ernest.tokenizers.vocoder import VocoderConfig

BAR = 20.0
HEADER = ("sounds", "encode", "decode, vocoder", "decode, Griffin-Lim")
LENGTHS = {"words of .5 s": 0.5, "one sound of 8 s": 8.0}
SECONDS = 8.0
"""Of sound that are coded in a turn, one after the other."""


def measure(folder: Path, rounds: int, quick: bool, progress: Callable[[str], None]) -> Findings:
    del folder
    figures, rows = [], []
    for rate in SAMPLE_RATES:
        tokenizer = AudioTokenizer(AudioConfig(sample_rate=rate, vocoder=VocoderConfig())).eval()
        for name, length in LENGTHS.items():
            progress(f"{rate} Hz, {name}")
            found = speeds(tokenizer, length, 1 if quick else 3 * rounds)
            for way, speed in found.items():
                figures.append(Figure(f"codec: {way}, times real time, {rate} Hz, {name}", speed, BAR))
            rows.append((f"{rate / 1000:g} kHz, {name}", *(f"{speed:.0f}" for speed in found.values())))
    note = f"Seconds of sound by seconds of one core; Griffin-Lim with {ITERATIONS} steps. Untrained networks."
    table = Table("The codec of sounds against real time", HEADER, tuple(rows), note)
    return Findings(tuple(figures), (table,))


@torch.inference_mode()
def speeds(tokenizer: AudioTokenizer, length: float, rounds: int) -> dict[str, float]:
    """How many times faster than real time each way is, for sounds of `length` seconds, one after the other: medians."""
    rng = np.random.default_rng(0)
    rate = tokenizer.config.sample_rate
    waves = [rng.uniform(-0.3, 0.3, round(length * rate)).astype(np.float32) for _ in range(round(SECONDS / length))]
    codes = [tokenizer.encode([wave])[0] for wave in waves]
    ways: dict[str, Callable[[], object]] = {
        "encode": lambda: [tokenizer.encode([wave]) for wave in waves],
        "decode by the vocoder": lambda: [tokenizer.decode([one]) for one in codes],
        "decode by Griffin-Lim": lambda: [tokenizer.decode([one], iterations=ITERATIONS) for one in codes],
    }
    spent: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(1 + rounds):
        for way, run in ways.items():
            start = time.process_time()
            run()
            spent[way] += [time.process_time() - start] if turn else []
    return {way: SECONDS / median(times) for way, times in spent.items()}
