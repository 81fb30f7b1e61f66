"""One measurement of training, of this package or of an earlier commit, whose names were others: a line of JSON, from
`python earlier_worker.py VERSION ASKED ...`.

    step FOLDER PROCESSES     positions per second (`wall`, `cpu`) of the median step, and the peak of a process's `memory`, bytes
    start PHOTOGRAPHS STEPS   `cpu` and `wall` seconds of `ernest train` before its processes start, with so many steps of the
                              vision tokenizer
    vision PHOTOGRAPHS STEPS SEED   `cpu` seconds of a step of the vision tokenizer, and its `psnr` on photographs held out
    frames SIDE               frames of SIDE pixels a `cpu` second that the vision tokenizer encodes (`encode`) and decodes
    judges                    `cpu` seconds of a step of each judge, and of the audio tokenizer
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

FRAMES_A_STEP, HELD_OUT, CLIPS, VIDEOS, PICTURES = 44, 500, 300, 100, 64
CODED, TURNS = 64, 9
"""Frames that are coded at once, and how often."""


class Clock:
    """The processor's time at the end of every step."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def __call__(self, *_: object) -> None:
        self.ends.append(time.process_time())

    def step(self) -> float:
        """Of the median step of the last half."""
        return float(median(np.diff(self.ends)[len(self.ends) // 2 :]))


def step(version: str, folder: str, processes: str) -> dict[str, float]:
    if version == "now":
        from benchmarks.model import throughput
        from ernest.training.launch import launch
    else:
        from ernest.training.parallel import launch  # type: ignore[import-not-found,no-redef]

        from benchmarks import throughput  # type: ignore[attr-defined,no-redef]
    data, run = Path(folder) / version, Path(tempfile.mkdtemp(dir=folder))
    if not data.exists():
        throughput.prepare(data)
    launch(throughput.__name__, [str(data), str(run), "1"], int(processes))
    speed = throughput.read_speed(run, int(processes))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return {"wall": speed.wall, "cpu": speed.cpu, "memory": peak}


def start(version: str, photographs: str, steps: str) -> dict[str, float]:
    """Whatever the command does up to its processes, with `ernest train`'s own function for records of a folder."""
    wall, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        _prepare(version, Path(photographs), Path(scratch) / "run", (f"tokenizers.vision_steps={steps}",))
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def _prepare(version: str, photographs: Path, out: Path, overrides: tuple[str, ...]) -> None:
    if version == "now":
        from ernest.config.recipe import find_recipe, load_recipe
        from ernest.data.records import read_lines
        from ernest.training.prepare import prepare_records
        from ernest.training.run_settings import TrainingRun

        prepare_records(TrainingRun(read_lines(photographs), out, load_recipe(find_recipe("tiny"), overrides)))
        return
    from ernest.training import own_data, pipeline  # type: ignore[attr-defined]

    pipeline.launch = lambda *_: None
    own_data.train_on_folder(photographs, out, "tiny", None, overrides)


def vision(version: str, photographs: str, steps: str, seed: str) -> dict[str, float]:
    """Trained without names of what photographs show, which the earlier commit did not use."""
    from PIL import Image

    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in sorted(Path(photographs).glob("*.png"))])
    kept, held_out = pixels[:-HELD_OUT], torch.from_numpy(pixels[-HELD_OUT:]).movedim(-1, 1).float() / 255
    clock, rng = Clock(), np.random.default_rng(int(seed))
    draw = lambda: kept[rng.integers(len(kept), size=FRAMES_A_STEP)]
    if version == "now":
        from ernest.tokenizers.training.vision import FrameBatch, VisionTraining, train_vision_tokenizer
        from ernest.tokenizers.vision import VisionTokenizerConfig

        nothing = np.zeros((FRAMES_A_STEP, VisionTokenizerConfig.classes), np.float32)
        settings = VisionTokenizerConfig(), VisionTraining(steps=int(steps)), int(seed)
        trained: Any = train_vision_tokenizer(lambda _: FrameBatch(draw(), nothing), *settings, progress=clock)
    else:
        from ernest.tokenizers import vision_training as earlier  # type: ignore[attr-defined]
        from ernest.tokenizers.vision import VisionTokenizerConfig

        unknown = np.full(FRAMES_A_STEP, -1)
        settings = VisionTokenizerConfig(), earlier.VisionTraining(steps=int(steps)), int(seed)
        trained = earlier.train_vision_tokenizer(lambda _: (draw(), unknown), *settings, progress=clock)
    with torch.no_grad():
        error = (trained(held_out)[0].clamp(0, 1) - held_out).square().mean()
    return {"cpu": clock.step(), "psnr": float(-10 * error.log10())}


@torch.inference_mode()
def frames(version: str, side: str) -> dict[str, float]:
    """Of an untrained tokenizer, which takes as long."""
    from ernest.tokenizers.vision import VisionTokenizer, VisionTokenizerConfig

    del version  # both have these names
    tokenizer = VisionTokenizer(VisionTokenizerConfig(size=int(side))).eval()
    pixels = torch.rand(CODED, 3, int(side), int(side))
    bits = tokenizer.encode(pixels).sign()
    spent = {}
    for way, run in {"encode": lambda: tokenizer.encode(pixels), "decode": lambda: tokenizer.decode(bits)}.items():
        clock = Clock()
        for _ in range(1 + TURNS):
            run()
            clock()
        spent[way] = CODED / float(median(np.diff(clock.ends)))
    return spent


def judges(version: str) -> dict[str, float]:
    """On noise, which costs as much as what they learn from."""
    if version == "now":
        from ernest.tokenizers.training.audio import train_audio_tokenizer
        from ernest.verifiers.training import train_digit_judge, train_family_judge, train_word_judge
        from ernest.world.speech import WORDS

        said: Any = lambda words: np.array([WORDS.index(word) for word in words])
    else:
        from ernest.tokenizers.audio_training import train_audio_tokenizer  # type: ignore[import-not-found,no-redef]
        from ernest.world.picture_judge import train_digit_judge, train_family_judge  # type: ignore[import-not-found,no-redef]
        from ernest.world.sounds import WORDS  # type: ignore[import-not-found,no-redef]
        from ernest.world.word_judge import train_word_judge  # type: ignore[import-not-found,no-redef]

        said = lambda words: words
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (PICTURES, 32, 32, 3)).astype(np.uint8)
    videos = rng.integers(0, 256, (VIDEOS, 9, 32, 32, 3)).astype(np.uint8)
    waves = [rng.normal(size=rng.integers(3200, 8000)).astype(np.float32) * 0.1 for _ in range(CLIPS)]
    words = [WORDS[number % len(WORDS)] for number in range(CLIPS)]
    trainings = {
        "digit judge": lambda clock: train_digit_judge(lambda _: (pictures, np.arange(PICTURES) % 10), 12, 0, clock),
        "family judge": lambda clock: train_family_judge(videos, np.arange(VIDEOS) % 5, 12, 0, clock),
        "word judge": lambda clock: train_word_judge(waves, words, 20, 0, clock),
        "audio tokenizer": lambda clock: train_audio_tokenizer(waves, said(words), 24, 0, clock),
    }
    spent = {}
    for name, train in trainings.items():
        clock = Clock()
        train(clock)
        spent[name] = clock.step()
    return spent


if __name__ == "__main__":
    version, asked, *rest = sys.argv[1:]
    torch.set_num_threads(1)
    print(json.dumps(globals()[asked](version, *rest)))
