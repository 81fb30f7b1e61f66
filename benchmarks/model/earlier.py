"""Training beside an earlier commit, in turns: a step in one process and in two, `ernest train` before its first step, the vision
tokenizer at equal quality and its frames a second, the judges, and the peak of memory."""

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory

from PIL import Image

from benchmarks.findings import Findings
from benchmarks.model.decoding import BEFORE, ROOT, unpack
from benchmarks.tables import Figure, Table
from ernest.config.recipe import load_recipe
from ernest.device import ALLOCATOR

WORKER = Path(__file__).with_name("earlier_worker.py")
ARCHIVE = ROOT.parent / "shared/data/cifar10/cifar10_jpeg.zip"
"""Photographs of 32x32; another place of them: `ERNEST_PHOTOGRAPHS`."""
PHOTOGRAPHS, SEEDS = 2000, 3
FEW, MORE, LEARNT = 20, 100, 400
"""Steps of the vision tokenizer: the difference of two numbers is what steps cost, and so many show what it has learnt."""
SIDES = ("before", "now")


class Trees:
    """Both packages, and what is measured of them: in a process of its own, with the allocator that its training has."""

    def __init__(self, scratch: Path) -> None:
        self.package = {"before": unpack(scratch / BEFORE), "now": ROOT}
        kept = {name: value for name, value in ALLOCATOR.items() if name.startswith("MALLOC_")}
        self.allocator = {"before": kept, "now": ALLOCATOR}

    def ask(self, side: str, *asked: str) -> dict[str, float]:
        environment = os.environ | self.allocator[side] | {"PYTHONPATH": str(self.package[side]), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(WORKER), side, *asked]
        told = subprocess.run(command, env=environment, cwd=self.package[side], capture_output=True, text=True, check=False)
        if told.returncode:
            raise RuntimeError(f"{side}, {' '.join(asked)}: {(told.stderr.strip().splitlines() or ['no message'])[-1]}")
        return json.loads(told.stdout.splitlines()[-1])

    def both(self, *asked: str) -> dict[str, dict[str, float]]:
        return {side: self.ask(side, *asked) for side in SIDES}


def measure(folder: Path, rounds: int, quick: bool, progress: Callable[[str], None]) -> Findings:
    del folder
    with TemporaryDirectory() as scratch:
        trees = Trees(Path(scratch))
        found = [_steps(trees, Path(scratch), 1 if quick else rounds, progress)]
        progress("frames")
        found.append(_frames(trees, 1 if quick else rounds))
        progress("judges")
        found.append(_judges(trees))
        photographs = Path(scratch) / "photographs"
        if _unpack(photographs):
            found.append(_before_first_step(trees, photographs, progress))
            found.append(_vision(trees, photographs, 1 if quick else SEEDS, progress))
    notes = () if len(found) > 3 else (f"no photographs: {ARCHIVE} is not there, and ERNEST_PHOTOGRAPHS names no other",)
    note = "Of the processor, one thread for each process; both in turns."
    rows = tuple(row for _, some in found for row in some)
    table = Table("Training beside an earlier commit", ("what", BEFORE, "now", "ratio"), rows, note)
    return Findings(tuple(figure for some, _ in found for figure in some), (table,), notes=notes)


Rows = list[tuple[str, ...]]


def _steps(trees: Trees, scratch: Path, rounds: int, progress: Callable[[str], None]) -> tuple[list[Figure], Rows]:
    """Positions per second, and the peak of memory of a process."""
    figures, rows = [], []
    for processes, bar in ((1, 1.4), (2, 1.5)):
        turns = []
        for turn in range(rounds):
            progress(f"steps in {processes}, round {turn + 1} of {rounds}")
            turns.append(trees.both("step", str(scratch), str(processes)))
        speed, peak = (median(turn["now"][key] / turn["before"][key] for turn in turns) for key in ("cpu", "memory"))
        form = f"{processes} x 1 thread"
        figures += [
            Figure(f"training: positions per CPU second ÷ {BEFORE}, {form}", speed, bar, threads=processes),
            Figure(f"training: peak of memory ÷ {BEFORE}, {form}", peak, 1.0, less=True, threads=processes),
        ]
        for what, key, scale, ratio in (
            ("positions per CPU second", "cpu", 1.0, speed),
            ("MB at the peak", "memory", 1e-6, peak),
        ):
            cells = (f"{scale * median(turn[side][key] for turn in turns):,.0f}" for side in SIDES)
            rows.append((f"{what}, {form}", *cells, f"{ratio:.3g}"))
    return figures, rows


def _frames(trees: Trees, rounds: int) -> tuple[list[Figure], Rows]:
    """Frames that the vision tokenizer encodes and decodes, and what larger ones take: of four times as many pixels."""
    turns = [(trees.both("frames", "32"), trees.ask("now", "frames", "64")) for _ in range(rounds)]
    figures, rows = [], []
    for way in ("encode", "decode"):
        ratio = median(small["now"][way] / small["before"][way] for small, _ in turns)
        larger = median(small["now"][way] / large[way] for small, large in turns)
        figures += [
            Figure(f"vision tokenizer: frames a second ÷ {BEFORE}, {way}", ratio, 1.5),
            Figure(f"vision tokenizer: time of 64x64 ÷ 32x32, {way}", larger, 4.5, less=True),
        ]
        cells = (f"{median(small[side][way] for small, _ in turns):,.0f}" for side in SIDES)
        rows.append((f"vision tokenizer, frames of 32x32 a second, {way}", *cells, f"{ratio:.3g}"))
    return figures, rows


def _judges(trees: Trees) -> tuple[list[Figure], Rows]:
    spent = trees.both("judges")
    figures, rows = [], []
    for name in spent["now"]:
        ratio = spent["before"][name] / spent["now"][name]
        figures.append(Figure(f"training: {name}, speed of a step ÷ {BEFORE}", ratio))
        rows.append((f"{name}, ms of a step", *(f"{1e3 * spent[side][name]:.1f}" for side in SIDES), f"{ratio:.3g}"))
    return figures, rows


def _unpack(to: Path) -> bool:
    """Photographs spread over all classes, as pictures and as records of their names; whether there are any."""
    archive = Path(os.environ.get("ERNEST_PHOTOGRAPHS", ARCHIVE))
    if not archive.is_file():
        return False
    to.mkdir()
    with zipfile.ZipFile(archive) as files, (to / "records.jsonl").open("w") as lines:
        names = sorted(files.namelist(), key=lambda name: (name.rpartition("/")[2], name))
        chosen = (name for name in names if name.startswith("train/") and name.endswith(".jpg"))
        for number, name in enumerate(islice(chosen, PHOTOGRAPHS)):
            file = f"{number:05d}.png"
            Image.open(io.BytesIO(files.read(name))).save(to / file)
            picture, text = {"kind": "image", "file": file}, {"kind": "text", "text": name.split("/")[1]}
            for first, second in ((picture, text), (text, picture)):
                segments = [first | {"role": "given"}, second | {"role": "made"}]
                lines.write(json.dumps({"task": f"{first['kind']}→{second['kind']}", "segments": segments}) + "\n")
    return True


def _before_first_step(trees: Trees, photographs: Path, progress: Callable[[str], None]) -> tuple[list[Figure], Rows]:
    """Seconds with all steps of the recipe: those with few, and what the others cost, from more."""
    steps = load_recipe().tokenizers.vision_steps
    seconds = {}
    for side in SIDES:
        progress(f"photographs, {side}")
        few, more = (trees.ask(side, "start", str(photographs), str(number))["cpu"] for number in (FEW, MORE))
        seconds[side] = few + (more - few) / (MORE - FEW) * (steps - FEW)
    ratio = seconds["now"] / seconds["before"]
    figure = Figure(f"training: before the first step on {PHOTOGRAPHS} photographs ÷ {BEFORE}", ratio, 0.4, less=True)
    cells = (f"{seconds[side]:.0f}" for side in SIDES)
    return [figure], [(f"before the first step on {PHOTOGRAPHS} photographs, s", *cells, f"{ratio:.3g}")]


def _vision(trees: Trees, photographs: Path, seeds: int, progress: Callable[[str], None]) -> tuple[list[Figure], Rows]:
    turns = []
    for seed in range(seeds):
        progress(f"vision tokenizer, seed {seed}")
        turns.append(trees.both("vision", str(photographs), str(LEARNT), str(seed)))
    ratio = median(turn["before"]["cpu"] / turn["now"]["cpu"] for turn in turns)
    quality = {side: mean(turn[side]["psnr"] for turn in turns) for side in SIDES}
    cells = (f"{1e3 * median(turn[side]['cpu'] for turn in turns):.1f}" for side in SIDES)
    rows = [
        ("vision tokenizer, ms of a step", *cells, f"{ratio:.3g}"),
        (f"the same, dB of held-out photographs after {LEARNT} steps", *(f"{quality[side]:.2f}" for side in SIDES), ""),
    ]
    figures = [
        Figure(f"training: vision tokenizer, speed of a step ÷ {BEFORE}", ratio, 1.5),
        Figure(f"training: vision tokenizer, dB beside {BEFORE}", quality["now"] - quality["before"], -0.1),
    ]
    return figures, rows
