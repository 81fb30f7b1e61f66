"""`python -m benchmarks.lcnet.worker FOLDER RUNTIME THREADS`: one runtime in one process, as `NAME/PRECISION[/INSTRUCTIONS]`.

Answers requests in JSON lines: `{"load": NETWORK}` with how close its logits are to torch's, `{"time": NETWORK, "calls": N}`
with the nanoseconds of so many calls. Anything that goes wrong is an answer too: `{"error": ...}`.
"""

import gc
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.lcnet.runtimes import RUNTIMES, Call

WARM_SECONDS, WARM_CALLS = 0.15, 20


def serve(folder: Path, runtime: str, threads: int) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a runtime prints, even from below Python, must not end up between the answers
    name, precision, *instructions = runtime.split("/")
    if threads == 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    ready: dict[str, Call] = {}

    def load(network: str) -> dict[str, Any]:
        run = ready[network] = RUNTIMES[name](network, folder, threads, precision, *(instructions or [None]))
        return {"decibels": closeness(np.load(folder / f"{network}.npz")["logits"], np.asarray(run())), "seconds": warm(run)}

    gc.disable()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = load(request["load"]) if "load" in request else {"ns": burst(ready[request["time"]], request["calls"])}
        except Exception as error:  # the parent decides what a runtime that cannot do something means
            answer = {"error": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"}
        gc.collect()
        print(json.dumps(answer), file=answers)


def closeness(wanted: np.ndarray, found: np.ndarray) -> float:
    """Signal to noise in dB; 200 where nothing differs."""
    noise = float(np.square(found.astype(np.float64).reshape(-1) - wanted.reshape(-1)).mean())
    signal = float(np.square(wanted.astype(np.float64)).mean())
    return min(200.0, 10 * math.log10(signal / noise)) if noise > 0 else 200.0


def warm(run: Callable[[], object]) -> float:
    """Calls for a while; the least seconds of one."""
    least, begun, calls = math.inf, time.perf_counter(), 0
    while calls < WARM_CALLS and (calls < 3 or time.perf_counter() - begun < WARM_SECONDS):
        start = time.perf_counter()
        run()
        least, calls = min(least, time.perf_counter() - start), calls + 1
    return least


def burst(run: Callable[[], object], calls: int) -> list[int]:
    """Nanoseconds of every call, after a few that are not counted."""
    clock, times = time.perf_counter_ns, []
    for _ in range(5):
        run()
    for _ in range(calls):
        begun = clock()
        run()
        times.append(clock() - begun)
    return times


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
