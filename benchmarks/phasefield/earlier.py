"""The baselines ÷ ours beside an earlier commit, whose benchmarks have the same problems, schemes and baselines.

A process for each package runs every scheme once; those that decide are then timed in turns of both. Beside the ratios stands how
much of the time of ours are transforms, which is the floor for schemes with so many of them.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from torch import Tensor

from benchmarks.findings import Findings
from benchmarks.model.decoding import BEFORE, ROOT, unpack
from benchmarks.phasefield.comparisons import COMPARISONS, Comparison
from benchmarks.phasefield.problems import Problem, prepare
from benchmarks.phasefield.races import fused
from benchmarks.phasefield.steps import clocked_transforms
from benchmarks.tables import Figure, Table

WORKER = Path(__file__).with_name("earlier_worker.py")
LEAST, HEADLINE = 0.97, 1.2
"""What is asked of all ratios, and of those of ETDRK4 to ours for several waves on 256 points, beside those of the commit."""
SIDES = ("before", "now")


class Side:
    """A process with one of the packages."""

    def __init__(self, package: Path, comparison: Comparison, folder: Path) -> None:
        environment = os.environ | {"PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(WORKER), comparison.name, str(comparison.points), str(folder.resolve())]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=environment, cwd=package, stdin=pipe, stdout=pipe, text=True)
        self._stdin, self._stdout = _both(self.process)

    def hears(self) -> str:
        """The next line."""
        line = self._stdout.readline()
        if not line:
            raise RuntimeError(f"{WORKER.name}: ended with {self.process.wait()}")
        return line

    def ask(self, words: str = "") -> str:
        self._stdin.write(f"{words}\n")
        self._stdin.flush()
        return self.hears()


def _both(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def measure(folder: Path, rounds: int, quick: bool, progress: Callable[[str], None]) -> Findings:
    figures: list[Figure] = []
    rows: list[tuple[str, ...]] = []
    with TemporaryDirectory() as scratch:
        package = {"before": unpack(Path(scratch)), "now": ROOT}
        for comparison in COMPARISONS[:1] if quick else COMPARISONS:
            problem = prepare(comparison.name, comparison.points, folder / "phasefield")
            found = _raced(package, comparison, folder / "phasefield", 1 if quick else rounds, progress)
            figures += _figures(comparison, found)
            rows += _rows(comparison, problem, found)
    header = ("problem", "error", f"ETDRK4 ÷ ours, {BEFORE}", "now", f"IMEX-BDF4 ÷ ours, {BEFORE}", "now")
    header += ("ours, fastest", "ms", "transforms, ms", "their share")
    note = "Medians of the processor's time, both packages in turns; the least time in transforms is the floor of that scheme."
    return Findings(tuple(figures), (Table("Beside an earlier commit", header, tuple(rows), note),))


def _raced(
    package: dict[str, Path], comparison: Comparison, folder: Path, turns: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    """What both packages find; they take turns from the first run on."""
    sides = {}
    for name in SIDES:
        progress(f"{comparison.name}, N = {comparison.points}: every scheme of {name}")
        sides[name] = Side(package[name], comparison, folder)
        sides[name].hears()
    for turn in range(turns):
        progress(f"{comparison.name}, N = {comparison.points}: turn {turn + 1} of {turns}")
        for side in sides.values():
            side.ask("turn")
    found = {name: json.loads(side.ask()) for name, side in sides.items()}
    for side in sides.values():
        side.process.wait()
    return found


def _figures(comparison: Comparison, found: dict[str, Any]) -> list[Figure]:
    before, now = (found[side]["ratios"] for side in SIDES)
    figures = []
    for key, value in now.items():
        baseline, error = key.split()
        headline = baseline == "ETDRK4" and (comparison.name, comparison.points) == ("several waves", 256)
        where = f"{comparison.name}, N = {comparison.points}, error {error}"
        bar = HEADLINE if headline else LEAST
        figures.append(Figure(f"earlier: {baseline} ÷ ours, {where} ÷ {BEFORE}", value / before[key], bar))
    return figures


def _rows(comparison: Comparison, problem: Problem, found: dict[str, Any]) -> list[tuple[str, ...]]:
    before, now = (found[side]["ratios"] for side in SIDES)
    rows = []
    for error, (seconds, name) in found["now"]["fastest"].items():
        ratios = [f"{side[f'{one} {error}']:.2f}" for one in ("ETDRK4", "IMEX-BDF4") for side in (before, now)]
        inside, share = _transforms(comparison, problem, name, float(error))
        spent = f"{1e3 * seconds:.2f}", f"{1e3 * inside:.2f}", f"{share:.0%}"
        rows.append((f"{comparison.name}, N = {comparison.points}", error, *ratios, name, *spent))
    return rows


def _transforms(comparison: Comparison, problem: Problem, name: str, error: float) -> tuple[float, float]:
    """Of the run of a scheme with the fewest steps that reaches the error: least seconds in transforms, and their share of the
    least in all."""
    entrant = next(one for one in comparison.entrants if one.name == name)

    def run(steps: int) -> Callable[[], Tensor]:
        stepper = fused(entrant.scheme, problem.flow, problem.grid)
        stepper.prepare(problem.end / steps)
        return lambda: stepper.run(problem.start, problem.end / steps, steps)

    enough = next(one for one in map(run, entrant.counts) if problem.error(one()) <= error)
    runs = []
    for _ in range(5):
        with clocked_transforms() as spent:
            begun = time.perf_counter()
            enough()
            runs.append((sum(spent), time.perf_counter() - begun))
    inside, whole = (min(seconds) for seconds in zip(*runs, strict=True))
    return inside, inside / whole
