"""Reinforcement learning against the clock: an iteration beside that of the prototype on an earlier commit, and rollouts, which
keep odds and experts, beside the engine alone. Seconds of the processor, on one thread, in turns."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.findings import Findings
from benchmarks.model.decoding import BEFORE, ROOT
from benchmarks.tables import Figure, Table

WORKER = Path(__file__).with_name("rl_worker.py")
KINDS = {"video": 60, "text": 64, "audio": 64, "image": 64}
"""What is sampled at once."""
ITERATION, BATCH = 0.5, 0.85
"""An iteration as a share of the prototype's, and the speed of rollouts as a share of the engine's."""


class Worker:
    """A process of one package, which is asked a line at a time."""

    def __init__(self, version: str, package: Path) -> None:
        environment = os.environ | {"PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(WORKER), version]
        self.process = subprocess.Popen(
            command, env=environment, cwd=package, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ask(self, asked: str) -> float:
        """Seconds. Raises RuntimeError where the process has ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{asked}\n")
        self.process.stdin.flush()
        told = self.process.stdout.readline()
        if not told:
            raise RuntimeError(f"{asked}: the worker has ended")
        return json.loads(told)["seconds"]

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def measure(folder: Path, rounds: int, quick: bool, progress: Callable[[str], None]) -> Findings:
    del folder
    rounds = 1 if quick else rounds
    with TemporaryDirectory() as scratch:
        archive = subprocess.run(["git", "archive", BEFORE], cwd=ROOT, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x", "-C", scratch], input=archive, check=True)
        with Worker("before", Path(scratch)) as before, Worker("now", ROOT) as now:
            progress("iterations")
            spent = _turns(rounds, {"before": lambda: before.ask("iteration"), "now": lambda: now.ask("iteration")})
            ratio = median(one / other for one, other in zip(spent["now"], spent["before"], strict=True))
            figures = [Figure("rl: an iteration of 60 films ÷ the prototype's", ratio, ITERATION, less=True)]
            rows = [("an iteration of 60 films", *(f"{median(spent[side]):.2f}" for side in ("before", "now")), f"{ratio:.3g}")]
            for kind, count in KINDS.items():
                progress(kind)
                asked = {way: lambda way=way: now.ask(f"{way} {kind} {count}") for way in ("batch", "rollouts")}  # noqa: B023
                spent = _turns(rounds, asked)
                share = median(one / other for one, other in zip(spent["batch"], spent["rollouts"], strict=True))
                figures.append(Figure(f"rl: speed of rollouts ÷ the engine's batch, {kind}", share, BATCH))
                rows.append((f"{count} of {kind}, s", *(f"{median(spent[way]):.2f}" for way in asked), f"{share:.3g}"))
    note = f"Random networks of the demo's sizes. First {BEFORE}, now, and now ÷ then; then engine, rollouts, engine ÷ rollouts."
    return Findings(tuple(figures), (Table("Reinforcement learning", ("what", "one", "other", "ratio"), tuple(rows), note),))


def _turns(rounds: int, ways: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Of each way so many measurements, in turns, behind one that warms up."""
    spent: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(1 + rounds):
        for way, run in ways.items():
            seconds = run()
            spent[way] += [seconds] if turn else []
    return spent
