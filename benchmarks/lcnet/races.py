"""Runtimes side by side: a process each, which lies asleep but for short bursts of calls in rotating order, round after round.

`p25` is the median over rounds of each round's lower quartile: what an undisturbed call costs.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from benchmarks.findings import Latency

BURST_SECONDS, LEAST_CALLS, MOST_CALLS = 0.05, 8, 60
SETTLE_SECONDS = 0.02
"""Threads of a runtime that has just answered may spin a while before they sleep."""
Progress = Callable[[str], None]
Thing = TypeVar("Thing")


@dataclass
class Worker:
    """A process that runs one runtime on so many threads; `networks` are those that it has loaded, with dB and seconds."""

    runtime: str
    threads: int
    process: "subprocess.Popen[str]"
    networks: dict[str, dict[str, Any]] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)

    def ask(self, **request: object) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # `answer` tells

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": "its process ended"}

    def burst(self, network: str) -> list[float]:
        """Milliseconds of single calls, as many as fill a burst."""
        seconds = self.networks[network]["seconds"]
        self.ask(time=network, calls=max(LEAST_CALLS, min(MOST_CALLS, int(BURST_SECONDS / seconds))))
        answer = self.answer()
        if "error" in answer:
            raise RuntimeError(f"{self.runtime}, {network}: {answer['error']}")
        return [one / 1e6 for one in answer["ns"]]


@contextmanager
def start(folder: Path, runtime: str, threads: int) -> Iterator[Worker]:
    command = [sys.executable, "-m", "benchmarks.lcnet.worker", folder, runtime, str(threads)]
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    environment = {**os.environ, **limits}
    environment.pop("OMP_WAIT_POLICY", None)  # every runtime waits as it comes
    folder.mkdir(parents=True, exist_ok=True)
    log = (folder / f"worker-{runtime.replace(' ', '-').replace('/', '-')}-{threads}.log").open("w")
    with (
        log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        ) as process,
    ):
        yield Worker(runtime, threads, process)
        assert process.stdin is not None
        process.stdin.close()  # which ends the worker


def race(
    runtimes: Sequence[str], networks: Sequence[str], threads: int, rounds: int | dict[str, int], folder: Path, progress: Progress
) -> tuple[list[Latency], list[str]]:
    """Every network through every runtime, so many rounds (or so many for each network). Answers with what was not there, too."""
    with ExitStack() as stack:
        workers = [stack.enter_context(start(folder, runtime, threads)) for runtime in runtimes]
        for network in networks:
            progress(f"loading {network}")
            load(workers, network)
        found: list[Latency] = []
        for network in networks:
            turns = rounds if isinstance(rounds, int) else rounds[network]
            found += _rounds([worker for worker in workers if network in worker.networks], network, turns, progress)
    return found, troubles(workers)


def load(workers: Sequence[Worker], network: str) -> None:
    """In all workers at once; those that cannot are left out and say why."""
    for worker in workers:
        worker.ask(load=network)
    for worker in workers:
        answer = worker.answer()
        if "error" in answer:
            worker.troubles[network] = answer["error"]
        else:
            worker.networks[network] = answer


def _rounds(workers: Sequence[Worker], network: str, rounds: int, progress: Progress) -> list[Latency]:
    taken: dict[str, list[list[float]]] = {worker.runtime: [] for worker in workers}
    for turn in range(rounds):
        progress(f"{network}: round {turn + 1} of {rounds}")
        for worker in rotated(workers, turn):
            time.sleep(SETTLE_SECONDS)
            taken[worker.runtime].append(worker.burst(network))
    return [
        latency(network, worker.runtime, worker.threads, taken[worker.runtime], worker.networks[network]["decibels"])
        for worker in workers
        if taken[worker.runtime]
    ]


def rotated(things: Sequence[Thing], turn: int) -> list[Thing]:
    """Another one begins every time, and every other time they go backwards: nobody always follows the same one."""
    turned = [*things[turn % len(things) :], *things[: turn % len(things)]] if things else []
    return turned if turn % 2 == 0 else turned[::-1]


def latency(
    network: str, runtime: str, threads: int, rounds: Sequence[Sequence[float]], decibels: float | None = None
) -> Latency:
    """Rounds of milliseconds, summed up."""
    calls = [one for taken in rounds for one in taken]
    quartiles = [quantile(taken, 0.25) for taken in rounds]
    return Latency(
        network, runtime, threads, median(quartiles), median(calls), quantile(calls, 0.95), min(calls), decibels, tuple(quartiles)
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of them lies below."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def troubles(workers: Sequence[Worker]) -> list[str]:
    """One line for each runtime that could not load something."""
    lines = []
    for worker in workers:
        for reason in dict.fromkeys(worker.troubles.values()):
            which = [network for network, other in worker.troubles.items() if other == reason]
            everything = "" if worker.networks else "not there: "
            lines.append(f"{worker.runtime}, {worker.threads} threads: {everything}{reason} ({', '.join(which)})")
    return lines


@contextmanager
def company(processes: int) -> Iterator[None]:
    """So many processes that do nothing but keep a processor busy."""
    with ExitStack() as stack:
        spin = "while True: pass"
        busy = [stack.enter_context(subprocess.Popen([sys.executable, "-c", spin])) for _ in range(processes)]
        try:
            yield
        finally:
            for process in busy:
                process.kill()
