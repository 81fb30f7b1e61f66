"""`python -m benchmarks.voices SOURCE FOLDER`: writes voices as records, to train and to measure tokenizers of sounds on.

SOURCE is `world`, at any sample rate, or `digits` or `commands` of the real data sets at 8 kHz; what is held out goes into a
folder of its own.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.results import sources
from ernest.config.media import SAMPLE_RATES, USUAL
from ernest.data.importers import both_directions
from ernest.data.record_writer import save_records
from ernest.sequence.record import Record
from ernest.world.speech import speech
from ernest.world.split import HELD_OUT

REAL = {"digits": sources.spoken, "commands": sources.commands}


def world(count: int, rate: int, first: int) -> Iterator[Record]:
    """Words by the world's voices, from the index `first` on."""
    for index in range(first, first + count):
        said = speech(0, index, sample_rate=rate)
        yield from both_directions("audio", said.wave, said.word, {"voice": said.voice})


def main() -> None:
    """Writes both folders."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.voices", description=__doc__)
    parser.add_argument("source", choices=("world", *REAL))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rate", type=int, default=USUAL.sample_rate, choices=SAMPLE_RATES[:2], help="of the world's voices")
    parser.add_argument("--count", type=int, default=2000, help="clips of the world to train on; a quarter as many are held out")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the real data sets")
    chosen = parser.parse_args()
    spec = replace(USUAL, sample_rate=chosen.rate)
    if chosen.source == "world":
        parts = world(chosen.count, chosen.rate, 0), world(chosen.count // 4, chosen.rate, HELD_OUT)
    else:
        parts = tuple(sources.take(REAL[chosen.source](chosen.data, split), 1.0) for split in sources.SPLITS)
    for name, records in zip(("train", "held_out"), parts, strict=True):
        print(f"{chosen.folder / name}: {save_records(chosen.folder / name, records, spec)} records")


if __name__ == "__main__":
    main()
