"""Generation beside an earlier commit: what a token, a picture, a video or a sound costs, both engines in turns."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.findings import Findings
from benchmarks.tables import Figure, Table

BEFORE = "1be877d"
WORKER = Path(__file__).with_name("decoding_worker.py")
ROOT = Path(__file__).parents[2]
ASKED = {
    "text 1": ("cached tokens per second, batch 1", 2.0),
    "text 16": ("cached tokens per second, batch 16", 2.0),
    "image 64": ("64 pictures, time", 0.5),
    "video 64": ("64 videos, time", 0.5),
    "audio 64": ("64 sounds, time", 0.5),
}
"""What is asked of a worker, what that measures, and the bar: of speeds the ratio, of times its inverse."""
ROWS = {
    "text 1": "a token of one text",
    "text 16": "a token of 16 texts",
    "image 64": "a picture of 64",
    "video 64": "a frame of 64 videos",
    "audio 64": "a codec frame of 64 sounds",
}
REPEATS = {"text 1": 4, "text 16": 2}


class Side:
    """A worker with one package, which is asked a line at a time."""

    def __init__(self, package: Path, version: str, worker: Path = WORKER) -> None:
        environment = os.environ | {"PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(worker), version]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=environment, cwd=package, stdin=pipe, stdout=pipe, text=True)

    def ask(self, asked: str) -> dict[str, float]:
        """What it has measured, such as `seconds` of the processor. Raises RuntimeError where the worker has ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{asked}\n")
        self.process.stdin.flush()
        told = self.process.stdout.readline()
        if not told:
            raise RuntimeError(f"{asked}: the worker has ended")
        return json.loads(told)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def unpack(folder: Path) -> Path:
    """The earlier commit, in a folder."""
    folder.mkdir(exist_ok=True)
    archive = subprocess.run(["git", "archive", BEFORE], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder


def measure(folder: Path, rounds: int, quick: bool, progress: Callable[[str], None]) -> Findings:
    del folder
    with TemporaryDirectory() as scratch:
        sides = {"before": Side(unpack(Path(scratch)), "before"), "now": Side(ROOT, "now")}
        figures, rows = [], []
        for asked, (name, bar) in ASKED.items():
            found: dict[str, list[float]] = {side: [] for side in sides}
            for turn in range(1 + (1 if quick else rounds * REPEATS.get(asked, 1))):
                progress(f"{name}, round {turn}")
                for side, worker in sides.items():
                    told = worker.ask(asked)
                    found[side] += [told["seconds"] / told["made"]] if turn else []
            ratio = median(before / now for before, now in zip(found["before"], found["now"], strict=True))
            is_speed = bar > 1
            figures.append(Figure(f"generation: {name} ÷ {BEFORE}", ratio if is_speed else 1 / ratio, bar, less=not is_speed))
            rows.append((ROWS[asked], *(f"{1e3 * median(found[side]):.3g}" for side in sides), f"{ratio:.2f}"))
        for worker in sides.values():
            worker.close()
    note = "Milliseconds of the processor; one thread."
    return Findings(tuple(figures), (Table("Generation", ("what", BEFORE, "now", "ratio"), tuple(rows), note),))
