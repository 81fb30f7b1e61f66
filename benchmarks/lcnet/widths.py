"""Our own networks through every runtime: the eight widths and the second version, one thread, all threads, in company."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.findings import Findings, Latency
from benchmarks.lcnet.networks import FOLDER, LABELS, prepare
from benchmarks.lcnet.races import Progress, company, latency, load, race, rotated, start
from benchmarks.tables import Figure, Table
from ernest.lcnet.architecture import PUBLISHED

WIDTHS = [*(name for name in PUBLISHED if not name.startswith("PPLCNetV2")), "PPLCNetV2_base"]
BARRED: tuple[str, ...] = ("PPLCNet_x0_25", "PPLCNet_x0_5", "PPLCNet_x1_0", "PPLCNet_x2_5")
"""The four that most bars are about; they run more rounds."""
SMALLEST = "PPLCNet_x0_25"

RUNTIMES = (
    *("native/fp32", "native/bf16", "native/int8", "OpenVINO/fp32", "OpenVINO/bf16", "OpenVINO/int8"),
    *("ONNX Runtime/fp32", "eager/fp32", "eager folded channels-last/fp32"),
)

FP32_BARS: dict[str, float] = dict(zip(BARRED, (0.80, 0.88, 0.94, 1.00), strict=True))
INT8_BARS: dict[str, float] = dict(zip(BARRED, (0.70, 0.70, 0.80, 0.90), strict=True))
OWN_BF16_BARS: dict[str, float] = dict(zip(BARRED[1:], (0.85, 0.75, 0.70), strict=True))
PARALLEL_BAR, TAIL_BAR, REPEAT_BAR = 0.85, 6.0, 0.05


def measure(folder: Path, rounds: int, quick: bool, progress: Progress) -> Findings:
    """One thread."""
    names = [SMALLEST] if quick else WIDTHS
    lost = prepare(names)
    turns = {name: rounds if name in BARRED else max(1, rounds // 2) for name in names}
    found, missing = race(RUNTIMES, [name for name in names if name not in lost], 1, turns, FOLDER, progress)
    tables = (_by_runtime("One thread, one image: ms, lower quartile", found), details("PPLCNet_x1_0", found))
    notes = (*missing, *(f"{name}: {reason}" for name, reason in lost.items()))
    return Findings(tuple(_bars(found)), tuple(one for one in tables if one.rows), tuple(found), notes)


def _bars(found: Sequence[Latency]) -> list[Figure]:
    figures = []
    for name in dict.fromkeys(one.network for one in found):
        against = (
            ("native/fp32", "OpenVINO/fp32", FP32_BARS.get(name)),
            ("native/bf16", "OpenVINO/bf16", 1.00),
            ("native/int8", "OpenVINO/int8", INT8_BARS.get(name)),
            ("native/int8", "native/bf16", OWN_BF16_BARS.get(name)),
            ("native/fp32", "eager/fp32", None),
        )
        for ours, theirs, bar in against:
            figures += compared(found, name, ours, theirs, bar)
    return figures


def compared(found: Sequence[Latency], network: str, ours: str, theirs: str, bar: float | None) -> list[Figure]:
    """The ratio of the two, if both runtimes were there."""
    times = {one.runtime: one for one in found if one.network == network}
    if ours not in times or theirs not in times:
        return []
    threads = times[ours].threads
    label = f"{LABELS[network]}: {spoken(ours)} ÷ {spoken(theirs)}{f', {threads} threads' if threads > 1 else ''}"
    return [Figure(label, times[ours].ratio(times[theirs]), bar, less=True, threads=threads)]


def spoken(runtime: str) -> str:
    return runtime.replace("/", " ")


def _by_runtime(title: str, found: Sequence[Latency]) -> Table:
    """Networks down, runtimes across."""
    runtimes = list(dict.fromkeys(one.runtime for one in found))
    times = {(one.network, one.runtime): f"{one.p25:.3f}" for one in found}
    rows = tuple(
        (LABELS[name], *(times.get((name, runtime), "–") for runtime in runtimes))
        for name in dict.fromkeys(one.network for one in found)
    )
    return Table(title, ("network", *map(spoken, runtimes)), rows)


def details(network: str, found: Sequence[Latency]) -> Table:
    """All that was seen of one network, the fastest first."""
    ordered = sorted((one for one in found if one.network == network), key=lambda one: one.p25)
    rows = tuple(
        (spoken(one.runtime), *(f"{value:.3f}" for value in (one.p25, one.median, one.least, one.p95)), closeness(one))
        for one in ordered
    )
    threads = ordered[0].threads if ordered else 1
    title = f"{LABELS[network]}, {threads} thread{'s' * (threads > 1)}"
    return Table(title, ("runtime", "lower quartile, ms", "median", "least", "p95", "against eager"), rows)


def closeness(one: Latency) -> str:
    """Float32 differs by round-off, which is far beyond 90 dB."""
    return "–" if one.decibels is None else "exact" if one.decibels > 90 else f"{one.decibels:.0f} dB"


# ------------------------------------------------------------------------------------------------------- many threads


def on_all_threads(folder: Path, rounds: int, quick: bool, progress: Progress) -> Findings:
    """All processors: on an idle machine, and with as many busy processes as there are processors."""
    threads = os.cpu_count() or 1
    names = [SMALLEST] if quick else list(BARRED)
    prepare(names)
    found, missing = race(RUNTIMES[:-1], names, threads, rounds, FOLDER, progress)
    figures = [one for name in names for one in compared(found, name, "native/fp32", "OpenVINO/fp32", PARALLEL_BAR)]
    figures += [one for name in names for one in compared(found, name, "native/bf16", "OpenVINO/bf16", None)]
    beside = _in_company(FOLDER, names[:1] if quick else ["PPLCNet_x1_0"], 2 * rounds, threads, progress)
    figures += [
        Figure(
            f"{LABELS[one.network]}, {spoken(one.runtime)}, beside {threads} busy processes: p95 ÷ median",
            one.p95 / one.median,
            TAIL_BAR if one.runtime.startswith("native") else None,
            less=True,
            threads=threads,
        )
        for one in beside
    ]
    rows = tuple((LABELS[one.network], spoken(one.runtime), *_spread(one)) for one in beside)
    tables = (
        _by_runtime(f"{threads} threads, one image: ms, lower quartile", found),
        Table(f"Beside {threads} busy processes, {threads} threads", ("network", "runtime", "median, ms", "p95", "least"), rows),
    )
    return Findings(tuple(figures), tables, tuple(found), tuple(missing))


def _spread(one: Latency) -> tuple[str, ...]:
    return tuple(f"{value:.3f}" for value in (one.median, one.p95, one.least))


def _in_company(folder: Path, networks: Sequence[str], rounds: int, threads: int, progress: Progress) -> list[Latency]:
    """The executor and OpenVINO in turn while other processes want every processor."""
    runtimes = ("native/fp32", "native/bf16", "native/int8", "OpenVINO/fp32")
    with ExitStack() as stack:
        workers = [stack.enter_context(start(folder, runtime, threads)) for runtime in runtimes]
        for network in networks:
            load(workers, network)
        stack.enter_context(company(threads))
        found = []
        for network in networks:
            there = [worker for worker in workers if network in worker.networks]
            taken: dict[str, list[list[float]]] = {worker.runtime: [] for worker in there}
            for turn in range(rounds):
                progress(f"{network} in company: round {turn + 1} of {rounds}")
                for worker in rotated(there, turn):
                    taken[worker.runtime].append(worker.burst(network))
            found += [latency(network, runtime, threads, calls) for runtime, calls in taken.items()]
    return found


# ----------------------------------------------------------------------------------------------------------- repeated


def repeated(folder: Path, rounds: int, quick: bool, progress: Progress) -> Findings:
    """The same race twice, from new processes on: how far apart are the lower quartiles?"""
    names = [SMALLEST] if quick else [SMALLEST, "PPLCNet_x1_0"]
    prepare(names)
    first, second = (race(RUNTIMES[:7], names, 1, rounds, FOLDER, progress)[0] for _ in range(2))
    pairs = list(zip(first, second, strict=True))
    rows = tuple(
        (LABELS[one.network], spoken(one.runtime), f"{one.p25:.3f}", f"{two.p25:.3f}", f"{two.p25 / one.p25 - 1:+.1%}")
        for one, two in pairs
    )
    table = Table("Measured twice, one thread: ms, lower quartile", ("network", "runtime", "once", "again", "difference"), rows)
    worst = max(abs(two.p25 / one.p25 - 1) for one, two in pairs)
    return Findings((Figure("measured twice: greatest difference of lower quartiles", worst, REPEAT_BAR, less=True),), (table,))
