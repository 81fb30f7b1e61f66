"""How near the executor comes to what the core can do, by instruction set, layer by layer; and whether threads ever disagree."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import torch

from benchmarks.findings import Findings
from benchmarks.lcnet.networks import FOLDER, LABELS, load, prepare
from benchmarks.lcnet.races import Progress, race
from benchmarks.lcnet.widths import SMALLEST, WIDTHS, compared, details
from benchmarks.lcnet.worker import closeness as decibels
from benchmarks.tables import Figure, Table
from ernest.lcnet import cost
from ernest.lcnet.native import Executor, Precision
from ernest.lcnet.profiling import profile, shown
from ernest.lcnet.profiling.roofline import measure as measure_roofline

FULL_WIDTH_SHARE, HALF_WIDTH_SHARE = 0.73, 0.92
"""Of the peak in fp32: where 512-bit units work at full width, and where they work in two halves (or there are none)."""
LAYERS_BAR, NARROW_BAR = 0.10, 2.2
RUNS = 100_000
CLOSENESS_BAR = 28.0
"""For the widths. In the second version with random weights, rounding nothing but the image to bf16 leaves 23 dB."""


def roofline(folder: Path, rounds: int, quick: bool, progress: Progress) -> Findings:
    """Peak and calls in turn on the same core: the arithmetic's time at the peak over the best call. Then layer by layer."""
    name = SMALLEST if quick else "PPLCNet_x1_0"
    prepare([name])
    network = load(name)
    executor = Executor(network, "fp32", 1)
    if not executor.compiled:
        return Findings(notes=("native: not there (no compiler)",))
    images, flops = torch.randn(1, 3, 224, 224), 2 * cost(network).multiply_adds
    peak, best = 0.0, float("inf")
    with on_one_core():
        for turn in range(4 * rounds):
            progress(f"peak and calls: round {turn + 1} of {4 * rounds}")
            peak = max(peak, measure_roofline(executor.instructions, repeats=3).peaks["fp32"])
            best = min(best, best_call(executor, images, 20))
        narrow = measure_roofline("avx2").peaks["fp32"] if executor.instructions in ("avx512", "amx") else peak
        profiles = [profile.profile(network, precision=precision) for precision in get_args(Precision)]
    bar = FULL_WIDTH_SHARE if peak > 1.5 * narrow else HALF_WIDTH_SHARE
    figures = [Figure(f"{LABELS[name]}, native fp32: flop bound ÷ best call", flops / peak / best, bar)]
    figures.append(Figure("fp32 peak of one core, GFLOP/s", peak / 1e9))
    tables = []
    for one in profiles:
        off = abs(one.seconds / one.wall - 1)
        figures.append(Figure(f"{LABELS[name]}, {one.precision}: layers together ÷ a call, off by", off, LAYERS_BAR, less=True))
        tables.append(_by_kind(one, LABELS[name]))
        shown.draw(one, folder / f"lcnet-layers-{one.precision}.png")
    return Findings(tuple(figures), tuple(tables), (), (str(profiles[0].roofline),))


def _by_kind(found: "profile.Profile", label: str) -> Table:
    rows = []
    for kind in dict.fromkeys(layer.kind for layer in found.layers):
        layers = [layer for layer in found.layers if layer.kind == kind]
        seconds, bound, flops = (sum(getattr(layer, field) for layer in layers) for field in ("seconds", "bound", "flops"))
        cells = f"{1e6 * seconds:.0f}", f"{1e6 * bound:.0f}", f"{flops / seconds / 1e9:.0f}", f"{bound / seconds:.0%}"
        rows.append((f"{len(layers)} × {kind}", *cells))
    whole = f"{1e6 * found.seconds:.0f}", f"{1e6 * found.bound:.0f}", "", f"{found.bound / found.seconds:.0%}"
    rows += [("together", *whole), ("a call", f"{1e6 * found.wall:.0f}", "", "", "")]
    title = f"Where the time goes: {label}, {found.runtime}, {found.precision}"
    return Table(title, ("layers", "µs", "roofline, µs", "GFLOP/s", "share"), tuple(rows))


def best_call(run: Executor, images: torch.Tensor, calls: int) -> float:
    """Seconds of the shortest."""
    least = float("inf")
    for _ in range(calls):
        begun = time.perf_counter()
        run(images)
        least = min(least, time.perf_counter() - begun)
    return least


@contextmanager
def on_one_core() -> Iterator[None]:
    """This thread stays on the last processor inside."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def closeness(folder: Path, rounds: int, quick: bool, progress: Progress) -> Findings:
    """How near fewer bits come to float32 on images of noise, beside torch's autocast."""
    names = [SMALLEST] if quick else WIDTHS
    prepare(names)
    images = torch.randn(12, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    figures, rows = [], []
    for name in names:
        progress(name)
        network = load(name)
        with torch.inference_mode():
            wanted = network(images).numpy()
            with torch.autocast("cpu", torch.bfloat16):
                cast = decibels(wanted, network(images).float().numpy())
        own = [decibels(wanted, Executor(network, precision, 1)(images).numpy()) for precision in get_args(Precision)]
        bar = None if name.startswith("PPLCNetV2") else CLOSENESS_BAR
        figures.append(Figure(f"{LABELS[name]}, native bf16: dB against eager fp32", own[1], bar))
        figures.append(Figure(f"{LABELS[name]}, native bf16: dB above torch's autocast", own[1] - cast, 0.0))
        rows.append((LABELS[name], *(f"{value:.1f}" for value in (*own, cast))))
    header = ("network", "native fp32", "native bf16", "native int8", "torch autocast bf16")
    note = f"Logits of {len(images)} images of noise, random weights: trained networks come out some 15 dB better in 8 bits."
    return Findings(tuple(figures), (Table("Closeness to eager float32, dB", header, tuple(rows), note),))


INSTRUCTIONS = ("native/fp32/avx512", "native/fp32/avx2", "native/fp32/generic")
INSTRUCTIONS += ("native/bf16/amx", "native/bf16/avx512", "native/int8/amx", "native/int8/avx512")


def instructions(folder: Path, rounds: int, quick: bool, progress: Progress) -> Findings:
    """The same network by other instruction sets than the best; what this processor lacks is not there."""
    name = SMALLEST if quick else "PPLCNet_x1_0"
    prepare([name])
    found, missing = race(INSTRUCTIONS, [name], 1, rounds, FOLDER, progress)
    figures = compared(found, name, "native/fp32/avx2", "native/fp32/avx512", NARROW_BAR)
    for precision in ("bf16", "int8"):
        figures += compared(found, name, f"native/{precision}/amx", f"native/{precision}/avx512", None)
    table = details(name, found)
    return Findings(tuple(figures), (Table(f"{table.title}, by instruction set", table.header, table.rows),), (), tuple(missing))


def stress(folder: Path, rounds: int, quick: bool, progress: Progress) -> Findings:
    """Many runs, with more threads than processors, too: every result must be the first one, bit for bit."""
    runs, different = 0, 0
    total = RUNS // 100 if quick else RUNS
    for name, side, share in ((SMALLEST, 64, 0.97), ("PPLCNet_x1_0", 224, 0.03)):
        prepare([name])
        network = load(name)
        images = torch.randn(1, 3, side, side)
        forms = [(precision, threads) for precision in get_args(Precision) for threads in (2, 4, 8)]
        for precision, threads in forms:
            progress(f"{name} {side}x{side}, {precision}, {threads} threads")
            executor = Executor(network, precision, threads)
            first = executor(images).clone()
            for _ in range(-(-int(share * total) // len(forms))):
                different += not torch.equal(executor(images), first)
                runs += 1
    return Findings(
        (Figure("runs with 2, 4 and 8 threads", runs, total), Figure("results that differ in any bit", different, 0, less=True))
    )
