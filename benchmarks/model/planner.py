"""How far plans are off: `python -m benchmarks --part planner`.

Calibrates the machine once, as `ernest plan --calibrate` does, trains three networks with and without checkpointing of
activations in one, two and four processes of one thread, and sets the most that a process held and the time of a step beside
their plans, as `ernest plan --check` does. Runs whose time is compared are taken anew in every round, and their medians count.
`python -m benchmarks.model.planner FOLDER RUN` is one of the processes.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import median
from unittest.mock import patch

from benchmarks.findings import Findings
from benchmarks.tables import Figure, Table
from ernest.config.recipe import Recipe, find_recipe, from_tree, load_recipe, to_tree
from ernest.data.store import ExampleStore
from ernest.device import count_processors, set_threads
from ernest.planner.check import Measured, compare, read_run
from ernest.planner.devices import Device
from ernest.tokenizers.bundle import Tokenizers
from ernest.training import loop
from ernest.training.calibrate import SHORT, STEPS, measure_device, prepare
from ernest.training.distributed import process_group
from ernest.training.launch import launch

NETWORKS: Mapping[str, tuple[str | None, tuple[str, ...]]] = {
    "tiny": (None, ()),
    "4 × tiny": (None, ("size=13", "model.experts=56")),
    "small": ("small", ("tokenizers.vocabulary=700",)),
}
"""A recipe and what is changed of it."""
ROWS = 8
"""Of a step, over all processes."""
PROCESSES = 1, 2, 4
MEMORY, TIME = 0.15, 0.2
"""The most that a plan may be off."""


@dataclass(frozen=True)
class Compared:
    """A run with what was planned of its memory and its time, and how far that is off."""

    run: Measured
    memory: float
    seconds: float
    memory_off: float
    seconds_off: float


def recipe(network: str, processes: int, saves: bool) -> Recipe:
    name, changes = NETWORKS[network]
    shared = f"parallel.replicate={processes}", f"parallel.checkpoint_activations={str(saves).lower()}", f"sequence.rows={ROWS}"
    return load_recipe(None if name is None else find_recipe(name), [*changes, *SHORT, *shared])


def main(folder: Path, run: Path) -> None:
    """One process of a run, which keeps no state."""
    set_threads(1)
    store, tokenizers = ExampleStore(folder / "examples"), Tokenizers.load(folder / "tokenizers")
    settings = from_tree(json.loads((run / "recipe.json").read_text()))
    with process_group() as (rank, world), patch.object(loop, "save_progress", lambda *state: None):
        loop.train(settings, store, tokenizers, run, rank, world)


def measure(folder: Path, rounds: int, quick: bool, progress: Callable[[str], None]) -> Findings:
    progress("the machine")
    start = time.perf_counter()
    device = measure_device(progress)
    calibrated = time.perf_counter() - start
    seen: dict[str, list[Measured]] = {}
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        for number, (turn, network, processes, saves) in enumerate(product(range(rounds), NETWORKS, PROCESSES, (False, True))):
            if turn and processes > count_processors():
                continue  # whose time is not compared
            run_of = f"{network}, {processes} process{'es' * (processes > 1)}{', checkpointing' * saves}"
            progress(f"{run_of}, round {turn + 1}")
            seen.setdefault(run_of, []).append(train(Path(name), str(number), recipe(network, processes, saves)))
    note = f"Calibrated in {calibrated:.0f} s: {show_device(device)}. {spread(seen)}"
    return report({run_of: beside_plan(typical(runs), device) for run_of, runs in seen.items()}, note=note)


def train(folder: Path, name: str, settings: Recipe) -> Measured:
    """What a run measured."""
    run = folder / name
    run.mkdir()
    (run / "recipe.json").write_text(json.dumps(to_tree(settings)))
    launch("benchmarks.model.planner", [str(folder), str(run)], settings.parallel.replicate)
    return read_run(run)


def typical(runs: Sequence[Measured]) -> Measured:
    """The medians of the same run, taken several times."""
    return replace(runs[0], memory=median(run.memory for run in runs), seconds=median(run.seconds for run in runs))


def spread(seen: Mapping[str, Sequence[Measured]]) -> str:
    """How far the slowest of the same run is from its quickest, which no plan can foresee."""
    shares = [max(run.seconds for run in runs) / min(run.seconds for run in runs) - 1 for runs in seen.values() if len(runs) > 1]
    if not shares:
        return "Each run was taken once."
    times, most = max(map(len, seen.values())), max(shares)
    return f"Of {times} times the same run, the slowest took {median(shares):.0%} longer than the quickest, at most {most:.0%}."


def show_device(device: Device) -> str:
    return (
        f"{device.rate / 1e9:.0f} GFLOP/s, {device.bandwidth / 1e9:.1f} GB/s, {device.fixed * 1e3:.0f} ms a step, odd experts "
        f"{device.odd:.1f} times as long, two processes {device.crowd:.2f} times, links {device.link / 1e9:.2f} GB/s"
    )


def beside_plan(run: Measured, device: Device) -> Compared:
    needs, memory, seconds = compare(run, device)
    return Compared(run, needs.peak, needs.seconds, memory, seconds)


def report(found: Mapping[str, Compared], processors: int | None = None, note: str = "") -> Findings:
    """Times are compared where each process has a processor. `note` stands below the table."""
    processors = processors or count_processors()
    figures, rows = [], []
    for label, one in found.items():
        figures.append(Figure(f"planner: memory off, {label}", abs(one.memory_off), MEMORY, less=True))
        alone = one.run.processes <= processors
        if alone:
            figures.append(
                Figure(f"planner: time off, {label}", abs(one.seconds_off), TIME, less=True, threads=one.run.processes)
            )
        rows.append((label, *cells(one.memory / 1e9, one.run.memory / 1e9, one.memory_off)))
        rows[-1] += cells(one.seconds, one.run.seconds, one.seconds_off) if alone else ("", "", "")
    header = ("run", "GB planned", "measured", "off", "s a step planned", "measured", "off")
    what = (
        f"{ROWS} rows a step over all processes of one thread, {STEPS} steps, untrained tokenizers, the world's records. Steps "
        f"are timed where each process has one of the {processors} processors to itself. {note}"
    ).strip()
    return Findings(tuple(figures), (Table("Plans beside runs", header, tuple(rows), what),))


def cells(planned: float, measured: float, off: float) -> tuple[str, str, str]:
    return f"{planned:.2f}", f"{measured:.2f}", f"{off:+.0%}"


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
