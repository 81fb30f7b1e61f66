"""Other networks through the same runtimes, and torch's own ways to run ours."""

import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.findings import Findings, Latency
from benchmarks.lcnet.networks import FOLDER, LABELS, prepare
from benchmarks.lcnet.published import OURS, PEERS, Published
from benchmarks.lcnet.races import Progress, race
from benchmarks.lcnet.widths import compared, details, spoken
from benchmarks.tables import Table

TIE = 1.0
"""Points of accuracy within which recipes decide, not networks."""
QUICK_PEERS = ("shufflenetv2_x0.5",)


def peers(folder: Path, rounds: int, quick: bool, progress: Progress) -> Findings:
    """All of `published`, fp32, by OpenVINO and ONNX Runtime on one thread and on all; ours by the native executor, too."""
    wanted = [*OURS, *PEERS] if not quick else [OURS[0], *(one for one in PEERS if one.name in QUICK_PEERS)]
    lost = prepare([one.name for one in wanted])
    names = [one.name for one in wanted if one.name not in lost]
    runtimes = ("OpenVINO/fp32", "ONNX Runtime/fp32")
    found: list[Latency] = []
    notes = [f"{LABELS[name]}: {reason}" for name, reason in lost.items()]
    for threads in dict.fromkeys((1, os.cpu_count() or 1)):
        latencies, missing = race(runtimes, names, threads, max(1, rounds // 2), FOLDER, progress)
        ours = [one.name for one in OURS if one.name in names]
        own, others = race(("native/fp32", "native/int8"), ours, threads, max(1, rounds // 2), FOLDER, progress)
        found, notes = [*found, *latencies, *own], [*notes, *missing, *others]
    return Findings((), (_table(wanted, found), better(found)), tuple(found), tuple(notes))


def _table(wanted: Sequence[Published], found: Sequence[Latency]) -> Table:
    times = {(one.network, one.runtime, one.threads): one.p25 for one in found}
    columns = list(dict.fromkeys((one.runtime, one.threads) for one in found))
    there = [one for one in wanted if columns and (one.name, *columns[0]) in times]
    shown = sorted(there, key=lambda one: times[one.name, *columns[0]])
    rows = tuple(
        (one.label, *accuracy(one), *(_milliseconds(times.get((one.name, *column))) for column in columns)) for one in shown
    )
    header = ("network", "top-1, published", "source", *(f"{spoken(name)}, {threads} thr." for name, threads in columns))
    note = "Accuracies are others': see `benchmarks/lcnet/published.py`; in brackets with distillation. Lower quartiles in ms."
    return Table("Networks side by side", header, rows, note)


def accuracy(one: Published) -> tuple[str, str]:
    if one.top1 is None:
        return "–", "–"
    return f"{one.top1:.1f}" + (f" ({one.distilled:.1f})" if one.distilled else ""), one.source


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def better(found: Sequence[Latency]) -> Table:
    """For each of ours, through one runtime on one thread: networks that take no longer and are better by more than a tie.

    And the same with ours by the native executor, which can only run ours.
    """
    times = {(one.network, one.runtime): one.p25 for one in found if one.threads == 1}
    rows = []
    for own in OURS:
        if (own.name, "OpenVINO/fp32") not in times:
            continue
        cells = [own.label]
        for runtime in ("OpenVINO/fp32", "native/fp32"):
            limit = times.get((own.name, runtime))
            names = [one.label for one in faster_and_better(own, limit, times)] if limit is not None else ["–"]
            cells.append(", ".join(names) or "nothing")
        rows.append(tuple(cells))
    header = ("network", "better and no slower, both by OpenVINO fp32", "better and no slower than it by the native executor")
    note = f"Better: by more than {TIE:g} point of published top-1, without distillation on either side."
    return Table("Where another network is the better choice, one thread", header, tuple(rows), note)


def faster_and_better(own: Published, limit: float, times: dict[tuple[str, str], float]) -> list[Published]:
    """Networks that take at most `limit` ms by OpenVINO and whose published accuracy is more than a tie above `own`'s."""
    assert own.top1 is not None
    return [
        one
        for one in (*PEERS, *OURS)
        if one.top1 is not None and one.top1 > own.top1 + TIE and times.get((one.name, "OpenVINO/fp32"), float("inf")) <= limit
    ]


TORCH = ("native/fp32", "native/bf16", "AOTInductor/fp32", "torch.compile/fp32", "eager/fp32", "eager/bf16")
TORCH += ("eager folded channels-last/fp32",)


def torch_paths(folder: Path, rounds: int, quick: bool, progress: Progress) -> Findings:
    """Our one call to torch's best against torch as it comes, x1.0 on one thread."""
    name = OURS[0].name if quick else "PPLCNet_x1_0"
    prepare([name])
    found, missing = race(TORCH, [name], 1, rounds, FOLDER, progress)
    figures = compared(found, name, "AOTInductor/fp32", "eager/fp32", 0.48)
    figures += compared(found, name, "AOTInductor/fp32", "torch.compile/fp32", 0.55)
    table = details(name, found)
    table = Table(f"{table.title}, torch's ways", table.header, table.rows)
    return Findings(tuple(figures), (table,), tuple(found), tuple(missing))


CHOICES = ("OpenVINO/fp32", "OpenVINO of any size/fp32", "OpenVINO/bf16", "OpenVINO of any size/bf16")
CHOICES += ("ONNX Runtime/fp32", "ONNX Runtime/int8")


def choices(folder: Path, rounds: int, quick: bool, progress: Progress) -> Findings:
    """What a user of the other runtimes chooses between: a size fixed beforehand or any, fp32 or int8; one thread."""
    names = [OURS[0].name] if quick else ["PPLCNet_x0_25", "PPLCNet_x1_0"]
    prepare(names)
    found, missing = race(CHOICES, names, 1, rounds, FOLDER, progress)
    figures = []
    for name in names:
        for ours, theirs in zip(CHOICES[1::2], CHOICES[::2], strict=True):
            figures += compared(found, name, ours, theirs, None)
    return Findings(tuple(figures), (), tuple(found), tuple(missing))
