"""The executor beside OpenVINO on one instruction set after the other, as on processors that have no better one.

A process for each set holds both: ERNEST_INSTRUCTIONS limits the executor, ONEDNN_MAX_CPU_ISA the kernels of OpenVINO. They take
turns, a burst of calls each, and what is compared is the processor time of neighbouring bursts, which other processes on the
machine disturb least. `python -m benchmarks.lcnet.sets SET NETWORK... [--rounds N]` prints the rows of one such process.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import get_args

import numpy as np

from benchmarks.findings import Findings
from benchmarks.lcnet.networks import FOLDER, LABELS, prepare
from benchmarks.lcnet.races import Progress, quantile
from benchmarks.lcnet.runtimes import RUNTIMES, Call
from benchmarks.lcnet.widths import BARRED, SMALLEST
from benchmarks.lcnet.worker import closeness
from benchmarks.machine import processor
from benchmarks.tables import Figure, Table
from ernest.lcnet.native import Precision, available
from ernest.lcnet.native.build import VARIABLE, features
from ernest.lcnet.native.executor import has_products

LIMIT = "ONEDNN_MAX_CPU_ISA"
ONEDNN = {"amx": "DEFAULT", "avx512": "AVX512_CORE_BF16", "avx2_vnni": "AVX2_VNNI", "avx2": "AVX2"}
"""What OpenVINO's kernels may use where the executor uses a set: all that such processors have."""

BARS: dict[tuple[str, str], tuple[float, ...]] = {
    ("avx512", "int8"): (0.50, 0.55, 0.62, 0.78),
    ("avx512", "bf16"): (0.80, 0.85, 0.92, 0.98),
    ("avx512", "fp32"): (0.80, 0.88, 0.94, 1.00),
    ("avx2_vnni", "int8"): (1.0, 1.0, 1.0, 1.0),
    ("avx2", "fp32"): (1.0, 1.0, 1.0, 1.0),
}
"""For the four widths of BARRED."""

BURST_SECONDS, LEAST_CALLS = 0.03, 3
ANSWER = 10.0
"""dB against torch's logits, below which a runtime has not answered: OpenVINO gives zeros or nothing where it lacks a kernel."""


@dataclass(frozen=True)
class Pair:
    """Milliseconds of processor time a call, lower quartiles of bursts, and the median of the ratios of neighbouring bursts."""

    instructions: str
    network: str
    precision: Precision
    ours: float
    theirs: float
    ratio: float
    decibels: float
    trouble: str = ""


def measure(folder: Path, rounds: int, quick: bool, progress: Progress) -> Findings:
    names = [SMALLEST] if quick else list(BARRED)
    prepare(names)
    found: list[Pair] = []
    for name in (one for one in available() if one in ONEDNN):
        progress(f"{name}, OpenVINO with {LIMIT}={ONEDNN[name]}")
        found += in_a_process(name, names, rounds)
    figures = [figure(one) for one in found if not one.trouble]
    notes = [f"{LABELS[one.network]}, {one.precision}, {one.instructions}: {one.trouble}" for one in found if one.trouble]
    return Findings(tuple(figures), (table(found),), (), tuple(notes))


def in_a_process(instructions: str, networks: Sequence[str], rounds: int) -> list[Pair]:
    command = [sys.executable, "-m", "benchmarks.lcnet.sets", instructions, *networks, "--rounds", str(rounds)]
    limits = {VARIABLE: instructions, LIMIT: ONEDNN[instructions], "OMP_NUM_THREADS": "1"}
    made = subprocess.run(command, env={**os.environ, **limits}, stdout=subprocess.PIPE, text=True, check=True)
    return [Pair(**json.loads(line)) for line in made.stdout.splitlines() if line.startswith("{")]


def figure(pair: Pair) -> Figure:
    bars = BARS.get((pair.instructions, pair.precision), (None,) * len(BARRED))
    label = f"{LABELS[pair.network]}, {pair.instructions}: native {pair.precision} ÷ OpenVINO {pair.precision}"
    return Figure(label, pair.ratio, dict(zip(BARRED, bars, strict=True)).get(pair.network), less=True)


def table(found: Sequence[Pair]) -> Table:
    """A line for every set and precision, a column for every network: our milliseconds, and ÷ OpenVINO's."""
    networks = tuple(dict.fromkeys(one.network for one in found))
    rows = []
    for kind in dict.fromkeys((one.instructions, one.precision) for one in found):
        pairs = {one.network: one for one in found if (one.instructions, one.precision) == kind}
        bars = dict(zip(BARRED, BARS.get(kind, ()), strict=False))
        met = all(pair.ratio <= bars[name] for name, pair in pairs.items() if name in bars)
        wanted = " ".join(f"{bars[name]:.2f}" for name in networks if name in bars)
        cells = (f"{pairs[name].ours:.3f} ({_ratio(pairs[name])})" for name in networks)
        rows.append((f"`{kind[0]}`", kind[1], *cells, wanted or "–", ("yes" if met else "**not all**") if bars else "–"))
    header = ("instructions", "precision", *(LABELS[name].removeprefix("LCNet ") for name in networks), "bars", "met")
    note = (
        "Milliseconds of processor time of a call on one thread and, in brackets, ÷ OpenVINO of the same precision, told to use "
        f"the same set; the median over rounds of neighbouring bursts. {processor()}."
    )
    return Table("One instruction set after the other", header, tuple(rows), note)


def _ratio(pair: Pair) -> str:
    return "–" if pair.trouble else f"{pair.ratio:.3f}"


# --------------------------------------------------------------------------------------------- in the process of a set


def pairs(name: str, networks: Sequence[str], precisions: Sequence[Precision], rounds: int, folder: Path = FOLDER) -> list[Pair]:
    products: list[Precision] = [one for one in precisions if has_products(name, features(), one)]
    return [pair(name, network, precision, rounds, folder) for network in networks for precision in products]


def pair(name: str, network: str, precision: Precision, rounds: int, folder: Path) -> Pair:
    ours = RUNTIMES["native"](network, folder, 1, precision, name)
    logits = np.load(folder / f"{network}.npz")["logits"]
    close = closeness(logits, np.asarray(ours()))
    try:
        theirs = RUNTIMES["OpenVINO"](network, folder, 1, precision, None)
        answer = np.asarray(theirs())
    except RuntimeError as error:  # bf16 limited to AVX2: "object is not initialized"
        return Pair(name, network, precision, 1e3 * least(ours), 0, 0, close, f"OpenVINO: {str(error).strip().splitlines()[-1]}")
    if answer.shape != logits.shape or closeness(logits, answer) < ANSWER:
        return Pair(name, network, precision, 1e3 * least(ours), 0, 0, close, "OpenVINO gives no answer")
    calls = [max(LEAST_CALLS, int(BURST_SECONDS / least(run))) for run in (ours, theirs)]
    bursts = [[burst(run, count) for run, count in zip((ours, theirs), calls, strict=True)] for _ in range(rounds)]
    mine, other = (1e3 * quantile([one[i] for one in bursts], 0.25) for i in (0, 1))
    return Pair(name, network, precision, mine, other, median(one / two for one, two in bursts), close)


def least(run: Call) -> float:
    return min(burst(run, 1) for _ in range(8))


def burst(run: Callable[[], object], calls: int) -> float:
    """Seconds of processor time a call."""
    run()
    begun = time.process_time()
    for _ in range(calls):
        run()
    return (time.process_time() - begun) / calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("instructions", choices=ONEDNN)
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--precision", choices=get_args(Precision))
    parser.add_argument("--rounds", type=int, default=20)
    wishes = parser.parse_args()
    wanted = (wishes.precision,) if wishes.precision else get_args(Precision)
    for network in wishes.networks:
        for found in pairs(wishes.instructions, [network], wanted, wishes.rounds):
            print(json.dumps(asdict(found)), flush=True)


if __name__ == "__main__":
    main()
