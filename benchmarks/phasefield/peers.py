"""Packages from the registry on the same problems, each in a process of an environment of their own, in turn with ours: with the
scheme that is fastest when tuned by hand, and with `solve`, which is told a tolerance and nothing else.

The environment is made beside the other build products, from the versions in peers.txt. A peer's time is the smaller of its
processor time and the time on the wall, after a run that compiles whatever it compiles.
"""

import json
import math
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import IO

import numpy as np

from benchmarks.findings import Findings, Panel
from benchmarks.phasefield.comparisons import coarse, sliding
from benchmarks.phasefield.defaults import by_itself
from benchmarks.phasefield.problems import Problem, prepare
from benchmarks.phasefield.races import Curve, Entrant, race, seconds_to
from benchmarks.tables import Figure, Table
from ernest.phasefield.schemes.coarse import CoarseGaussSeidel

HERE, HOME = Path(__file__).parent, Path("build/peers")
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "JAX_ENABLE_X64": "1",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}
"""One thread and double precision."""
TOLERANCES = tuple(10.0**-k for k in range(2, 10))
"""What `solve` is told in turn: one of them reaches a peer's error."""
SLOW = 5.0
"""Seconds of a run beyond which two timed runs must do."""


@dataclass(frozen=True)
class Peer:
    """A worker by the name of its script; `error` is where it is compared, None for the least error it reaches."""

    name: str
    script: str
    error: float | None
    bar: float


PEERS = {
    "few waves": (
        Peer("pySDC", "run_pysdc.py", 1e-8, 20.0),
        Peer("diffrax Tsit5", "run_diffrax.py", 1e-8, 3.0),
        Peer("exponax ETDRK4", "run_exponax.py", None, 5.0),
        Peer("py-pde", "run_pypde.py", None, 1.0),
    ),
    "Cahn-Hilliard": (
        Peer("exponax ETDRK4", "run_exponax.py", 1e-6, 10.0),
        Peer("py-pde", "run_pypde.py", None, 1.0),
    ),
}


@dataclass(frozen=True)
class Worker:
    """A peer's process, with what it said of itself, and the runs of each of its settings."""

    peer: Peer
    version: str
    settings: tuple[str, ...]
    process: "subprocess.Popen[str]"
    runs: dict[int, list[dict[str, float]]]

    def turn(self) -> None:
        """Times every setting once more, slow ones twice at most and hopeless ones once."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        for index in range(len(self.settings)):
            before = self.runs.setdefault(index, [])
            if before and (before[0]["error"] > 1 or (len(before) > 1 and _seconds(before[0]) > SLOW)):
                continue
            self.process.stdin.write(f"{index}\n")
            self.process.stdin.flush()
            before.append(_answer(self.process.stdout, self.peer.name))

    def curve(self) -> Curve:
        """Medians, from the largest error to the least."""
        points = [(median(map(_seconds, runs)), runs[0]["error"]) for runs in self.runs.values()]
        return tuple(sorted(points, key=lambda point: -point[1]))

    def seconds_to(self, error: float) -> float:
        """The shortest time in which some setting, or the line between two of them, reaches the error."""
        curve = self.curve()
        direct = min((seconds for seconds, reached in curve if reached <= error), default=math.inf)
        return min(direct, seconds_to(error, curve))


def _seconds(run: dict[str, float]) -> float:
    return min(run["cpu"], run["wall"])


def _answer(lines: IO[str], name: str) -> dict:
    """The next answer; whatever else a peer prints is passed over."""
    for line in iter(lines.readline, ""):
        if line.startswith("{"):
            return json.loads(line)
    raise RuntimeError(f"{name} ended before it answered; its messages stand above")


def environment(folder: Path) -> Path:
    """The interpreter of the peers' environment, made where it is missing or the versions have changed."""
    home, wanted = folder / ".venv", (HERE / "peers.txt").read_text()
    python, mark = home / "bin" / "python", home / "installed.txt"
    if not mark.exists() or mark.read_text() != wanted:
        venv.create(home, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", HERE / "peers.txt"], check=True)
        mark.write_text(wanted)
    return python


@contextmanager
def start(python: Path, peer: Peer, problem: str, file: Path) -> Iterator[Worker]:
    command = [python, HERE / "workers" / peer.script, problem, file]
    environ = {**os.environ, **ENVIRONMENT}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr, text=True, env=environ
    ) as process:
        assert process.stdout is not None
        first = _answer(process.stdout, peer.name)
        yield Worker(peer, first["version"], tuple(first["settings"]), process, {})
        assert process.stdin is not None
        process.stdin.close()  # which ends the worker


OURS: dict[str, tuple[Entrant, ...]] = {
    "few waves": (
        *sliding(0.5, (3, 3, 1, (8, 10, 12, 16, 20)), (3, 4, 1, (12, 16, 20, 24, 32, 40)), (4, 5, 2, (8, 10, 12, 16, 20, 24))),
        *coarse((4, 5, 6, 8, 10, 12, 16), CoarseGaussSeidel(3, 4, 2, 0, 0.5), CoarseGaussSeidel(4, 4, 2, 0, 0.5)),
    ),
    "Cahn-Hilliard": (
        *sliding(1.0, (3, 3, 2, (20, 28, 40, 56, 80, 120)), (3, 4, 2, (56, 80, 120))),
        *coarse((14, 20, 28, 40, 56, 80), CoarseGaussSeidel(3, 3, 4, 0, 1.0), CoarseGaussSeidel(3, 4, 2, 0, 1.0)),
        *coarse((14, 20, 28, 40, 56, 80), CoarseGaussSeidel(4, 4, 2, 0, 1.0)),
    ),
}


def compare(folder: Path, turns: int) -> Findings:
    """Time to the same error, peer ÷ ours, on 128² points."""
    python = environment(HOME)
    found = Findings()
    for name, peers in PEERS.items():
        found += on_problem(prepare(name, 128, folder / "phasefield"), peers, python, turns)
    return found


def on_problem(problem: Problem, peers: tuple[Peer, ...], python: Path, turns: int) -> Findings:
    file = HOME / f"{problem.name.replace(' ', '-')}.npz"
    np.savez(file, start=problem.start, reference=problem.reference, end=problem.end)
    ours = race(problem, OURS[problem.name], 0)
    reached = [by_itself(problem, tolerance)[1] for tolerance in TOLERANCES]
    seconds: list[list[float]] = [[] for _ in TOLERANCES]
    with ExitStack() as stack:
        workers = [stack.enter_context(start(python, peer, problem.name, file)) for peer in peers]
        for _ in range(turns):
            ours.turn()
            for tolerance, some in zip(TOLERANCES, seconds, strict=True):
                some.append(by_itself(problem, tolerance)[2])
            for worker in workers:
                worker.turn()
    figures, rows = [], []
    for worker in workers:
        error = worker.peer.error or 1.1 * min(reached for _, reached in worker.curve())
        theirs, (mine, name) = worker.seconds_to(error), ours.fastest(ours.ours, error)
        # The runs whose error is no greater: nobody who gives a tolerance knows the one that just reaches it.
        default = min((median(some) for some, least in zip(seconds, reached, strict=True) if least <= error), default=math.inf)
        label = f"12: {worker.peer.name} ÷ ours, {problem.name}, error {error:.1e}"
        figures.append(Figure(label, theirs / mine, worker.peer.bar))
        label = f"{worker.peer.name} ÷ solve by default, {problem.name}, error {error:.1e}"
        figures.append(Figure(label, theirs / default, 1.0))
        cells = f"{error:.1e}", f"{1e3 * theirs:.1f}", f"{1e3 * mine:.2f}", name, f"{theirs / mine:.1f}"
        cells += f"{1e3 * default:.1f}", f"{theirs / default:.1f}"
        rows.append((f"{worker.peer.name} {worker.version}", *cells))
    table = Table(
        f"Other packages, {problem.name}, N = 128",
        ("package", "error", "ms", "ours, ms", "ours", "it ÷ ours", "solve by default, ms", "it ÷ solve"),
        tuple(rows),
        "py-pde and exponax are compared at 1.1 times the least error that they reach where no other is named.",
    )
    fastest = list(dict.fromkeys(ours.fastest(ours.ours, 10.0**-k)[1] for k in range(3, 9)))
    curves = {worker.peer.name: worker.curve() for worker in workers}
    curves |= {name: ours.curve(name) for name in fastest if name}
    return Findings(tuple(figures), (table,), panels=(Panel(f"Other packages, {problem.name}, N = 128", curves),))
