"""How far plans are off: `python -m benchmarks --part planner`.

Calibrates the machine as `ernest plan --calibrate` does, trains three networks with and without checkpointing of activations in
one, two and four processes of one thread, and sets the most that a process held and the time of a step beside their plans, as
`ernest plan --check` does. `python -m benchmarks.model.planner FOLDER RUN` is one of the processes.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
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
    "4 × tiny": (None, ("size=13",)),
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
    device = measure_device(progress)
    found: dict[str, Compared] = {}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        prepare(scratch)
        for network, processes, saves in product(NETWORKS, PROCESSES, (False, True)):
            run_of = f"{network}, {processes} process{'es' * (processes > 1)}{', checkpointing' * saves}"
            progress(run_of)
            run = scratch / str(len(found))
            run.mkdir()
            (run / "recipe.json").write_text(json.dumps(to_tree(recipe(network, processes, saves))))
            launch("benchmarks.model.planner", [str(scratch), str(run)], processes)
            found[run_of] = beside_plan(read_run(run), device)
    return report(found)


def beside_plan(run: Measured, device: Device) -> Compared:
    needs, memory, seconds = compare(run, device)
    return Compared(run, needs.peak, needs.seconds, memory, seconds)


def report(found: Mapping[str, Compared], processors: int | None = None) -> Findings:
    """Times are compared where each process has a processor."""
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
    note = (
        f"{ROWS} rows a step over all processes of one thread, {STEPS} steps, untrained tokenizers, the world's records. Steps "
        f"are timed where each process has one of the {processors} processors to itself."
    )
    return Findings(tuple(figures), (Table("Plans beside runs", header, tuple(rows), note),))


def cells(planned: float, measured: float, off: float) -> tuple[str, str, str]:
    return f"{planned:.2f}", f"{measured:.2f}", f"{off:+.0%}"


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
