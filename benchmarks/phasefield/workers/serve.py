"""What every worker does: build a run for each setting once, warm it, then time it whenever a line on standard input asks.

A worker is started as `python run_PEER.py PROBLEM FILE`, FILE an .npz with `start`, `reference` and `end` on the periodic square
[0, 2π)². It answers in JSON lines: first its version and its settings, then one line `{error, cpu, wall}` for every number read.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version

import numpy as np

Run = Callable[[], np.ndarray]
Setting = Callable[[np.ndarray, float], Run]
"""From the start field and the end time to a run without arguments, compiled where the peer compiles."""


def serve(package: str, problems: dict[str, dict[str, Setting]]) -> None:
    problem, file = sys.argv[1:]
    answers, sys.stdout = sys.stdout, sys.stderr  # what a peer prints must not end up between the answers
    data = np.load(file)
    start, reference, end = data["start"], data["reference"], float(data["end"])
    settings = list(problems[problem].items())
    ready: dict[int, Run] = {}

    def say(answer: Mapping[str, object]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    say({"version": version(package), "settings": [name for name, _ in settings]})
    for line in sys.stdin:
        index = int(line)
        if index not in ready:
            ready[index] = settings[index][1](start, end)
            ready[index]()
        say(timed(ready[index], reference))


def timed(run: Run, reference: np.ndarray) -> dict[str, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    result = run()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    error = float(np.sqrt(np.mean((result - reference) ** 2)))
    return {"error": error if np.isfinite(error) else 1e300, "cpu": cpu, "wall": wall}


def squared_wave_numbers(points: int) -> np.ndarray:
    """|k|² on the half plane of a real transform of the square [0, 2π)²."""
    return np.fft.fftfreq(points, 1 / points)[:, None] ** 2 + np.arange(points // 2 + 1) ** 2
