"""Training throughput at the demo's size: the real loop on random documents of every direction.

`python -m benchmarks.model.throughput RUN THREADS` is one of the processes that the launcher starts; `measure` starts them.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch

from ernest.config.recipe import Recipe, load_recipe
from ernest.data.examples import EncodedSegment, Example
from ernest.data.store import ExampleStore
from ernest.storage import read_log
from ernest.tokenizers.audio import AudioTokenizer
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.text import TextTokenizer
from ernest.tokenizers.vision import VisionTokenizer, VisionTokenizerConfig
from ernest.training.distributed import process_group
from ernest.training.launch import launch
from ernest.training.loop import train

ROWS = 8
"""Packed rows of a step, for each process."""
STEPS, COUNTED = 24, 10
"""Steps of a run, and how many of the last are counted: the first ones prepare kernels and even the experts' loads out."""


@dataclass(frozen=True)
class Arrangement:
    processes: int
    threads: int

    def __str__(self) -> str:
        plural = "" if self.processes == 1 else "es"
        return f"{self.processes} process{plural} x {self.threads} thread{'' if self.threads == 1 else 's'}"


ARRANGEMENTS = Arrangement(1, 1), Arrangement(2, 1), Arrangement(1, 2)


@dataclass(frozen=True)
class Speed:
    """Positions per second, by the clock on the wall and by that of the processors; they part when others use the machine."""

    wall: float
    cpu: float


def measure(folder: Path, rounds: int, progress: Callable[[str], None]) -> dict[Arrangement, Speed]:
    """The speed of each arrangement: the median over interleaved rounds of each run's median step."""
    found: dict[Arrangement, list[Speed]] = {arrangement: [] for arrangement in ARRANGEMENTS}
    prepare(folder)
    for turn in range(rounds):
        for arrangement in ARRANGEMENTS:
            progress(f"round {turn + 1} of {rounds}: {arrangement}")
            run = folder / f"{turn}-{arrangement.processes}-{arrangement.threads}"
            launch("benchmarks.model.throughput", [str(folder), str(run), str(arrangement.threads)], arrangement.processes)
            found[arrangement].append(read_speed(run, arrangement.processes))
    return {
        arrangement: Speed(median(s.wall for s in speeds), median(s.cpu for s in speeds)) for arrangement, speeds in found.items()
    }


def read_speed(run: Path, processes: int) -> Speed:
    """Of the median step among the last; positions of padding do not count."""
    lines = read_log(run / "metrics.jsonl")[-COUNTED:]
    cpu = json.loads((run / "cpu.json").read_text())[-COUNTED:]
    wall = median(line["positions"] / line["seconds"] for line in lines)
    return Speed(wall, median(line["positions"] / (seconds * processes) for line, seconds in zip(lines, cpu, strict=True)))


def recipe(processes: int) -> Recipe:
    """The demo's network, elastic, with no pauses between the steps."""
    base = load_recipe()
    training = replace(base.training, steps=STEPS, save_every=STEPS + 1, show_every=0, warmup=2)
    return replace(base, sequence=replace(base.sequence, rows=ROWS * processes), training=training)


def prepare(folder: Path) -> None:
    """Untrained tokenizers of the demo's sizes and documents of every direction, once for all runs."""
    torch.manual_seed(0)
    base = load_recipe()
    sentences = ["a red seven at the top left", "a disk shrinking", "anna says seven", "three plus four is seven"]
    text = TextTokenizer.train(sentences * 10, base.tokenizers.vocabulary)
    Tokenizers(text, VisionTokenizer(VisionTokenizerConfig()), AudioTokenizer()).save(folder / "tokenizers")
    rng = np.random.default_rng(0)
    ExampleStore.write(folder / "examples" / "random", [document for _ in range(100) for document in documents(rng, sentences)])


def documents(rng: np.random.Generator, sentences: list[str]) -> list[Example]:
    """One of each direction, as long as the demo's."""

    def latent(frames: int) -> EncodedSegment:
        return EncodedSegment("latent", rng.normal(size=(frames, 16, 4, 4)).astype(np.float16), True, frames > 1)

    def pixels(frames: int) -> EncodedSegment:
        return EncodedSegment("pixels", rng.integers(0, 256, (frames, 32, 32, 3)).astype(np.uint8), False, frames > 1)

    def codes(made: bool) -> EncodedSegment:
        return EncodedSegment("codes", rng.integers(0, 256, (rng.integers(5, 13), 4)).astype(np.int16), made)

    caption, family, word, sum_ = sentences
    return [
        Example((EncodedSegment("text", caption, False), latent(1)), "text→image"),
        Example((pixels(1), EncodedSegment("text", caption, True)), "image→text"),
        Example((EncodedSegment("text", word, False), codes(True)), "text→speech"),
        Example((codes(False), EncodedSegment("text", word, True)), "speech→text"),
        Example((EncodedSegment("text", family, False), latent(9)), "text→video"),
        Example((pixels(9), EncodedSegment("text", family, True)), "video→text"),
        Example((EncodedSegment("text", sum_, True),), "text"),
    ]


def main(folder: Path, run: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    store, tokenizers = ExampleStore(folder / "examples"), Tokenizers.load(folder / "tokenizers")
    clock = [time.process_time()]
    with process_group() as (rank, world):
        train(recipe(world), store, tokenizers, run, rank, world, lambda *_: clock.append(time.process_time()))
        if rank == 0:
            (run / "cpu.json").write_text(json.dumps(np.diff(clock).tolist()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
