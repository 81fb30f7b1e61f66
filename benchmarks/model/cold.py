"""`ernest describe FILE` from a cold start, beside an earlier commit and beside the import of torch, which is its floor."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from benchmarks.findings import Findings
from benchmarks.model.decoding import BEFORE, ROOT, WORKER, unpack
from benchmarks.tables import Figure, Table

BAR = 0.5
TORCH = "import of torch"
MAIN = "from ernest.cli import main; main()"


def seconds(command: list[str], package: Path) -> float:
    """Of the processor, for a whole process of one thread, which leaves its bytecode for the next, as those of users do."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"PYTHONPATH": str(package), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run([sys.executable, *command], env=environment, cwd=package, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(folder: Path, rounds: int, quick: bool, progress: Callable[[str], None]) -> Findings:
    del folder
    with TemporaryDirectory() as name:
        scratch = Path(name)
        picture = scratch / "picture.png"
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)).save(picture)
        sides = {"before": unpack(scratch / "before"), "now": ROOT}
        commands = {TORCH: (["-c", "import torch"], ROOT)}
        for side, package in sides.items():
            seconds([str(WORKER), side, str(scratch / f"{side}-model")], package)
            commands[side] = ["-c", MAIN, "describe", str(scratch / f"{side}-model"), str(picture)], package
        found: dict[str, list[float]] = {command: [] for command in commands}
        for turn in range(1 + (1 if quick else 3 * rounds)):
            progress(f"cold start, round {turn}")
            for command, (arguments, package) in commands.items():
                spent = seconds(arguments, package)
                found[command] += [spent] if turn else []
    share = {side: median(a / b for a, b in zip(found[side], found["before"], strict=True)) for side in found}
    figures = (
        Figure(f"describe from a cold start, time ÷ {BEFORE}", share["now"], BAR, less=True),
        Figure(f"import of torch ÷ describe of {BEFORE}", share[TORCH]),
    )
    rows = tuple((BEFORE if side == "before" else side, f"{1e3 * median(times):.0f}") for side, times in found.items())
    note = "Milliseconds of the processor for a whole process of one thread; the demo's sizes, a random network, one picture."
    return Findings(figures, (Table("A cold start", ("what", "ms"), rows, note),))
