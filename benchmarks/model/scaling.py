"""Speed of one recipe in one, two and four processes: `python -m benchmarks --part scaling`.

Where others use the machine, the clock on the wall says little. So each process also cuts its processor time at its exchanges:
what the slowest takes between two of them, and what they take in one, add up to the time of a step with a core for each process.
`python -m benchmarks.model.scaling FOLDER RUN REPLICATE SHARD EXPERT TENSOR` is one of the processes.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import zip_longest
from math import prod
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist

from benchmarks.findings import Findings
from benchmarks.model.meshes import MESHES as OF_TWO
from benchmarks.model.throughput import prepare
from benchmarks.tables import Figure, Table
from ernest.config.parallel import ParallelConfig
from ernest.config.recipe import Recipe, load_recipe
from ernest.data.store import ExampleStore
from ernest.device import set_threads
from ernest.storage import read_log
from ernest.tokenizers.bundle import Tokenizers
from ernest.training import loop, transfers
from ernest.training.distributed import process_group
from ernest.training.launch import launch

MESHES = OF_TWO | {"replicate 4": (4, 1, 1, 1), "shard 4": (1, 4, 1, 1), "expert 4": (1, 1, 4, 1)}
ALONE = next(iter(MESHES))
STEPS, COUNTED = 10, 5
"""Steps of a run, and how many of the last are counted, but for the very last, which saves."""
TOKENS = "all_to_all_single"
"""What sends tokens to experts, and how many."""
GATHERED = 2_700_000
"""Numbers of a layer of the demo's network, about."""


class Clock:
    """Processor seconds of this process, cut where it begins and ends an exchange: work and exchange in turns."""

    def __init__(self) -> None:
        self.now, self.work, self.exchange, self.kinds = time.process_time(), [], [], []

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            self.work.append(self._lap())
            try:
                return function(*arguments, **named)
            finally:
                self.exchange.append(self._lap())
                self.kinds.append(function.__name__)

        return timed

    def step(self) -> dict[str, list]:
        """What has been noted since the last step; work has a last entry without an exchange."""
        told = {"work": [*self.work, self._lap()], "exchange": self.exchange, "kinds": self.kinds}
        self.work, self.exchange, self.kinds = [], [], []
        return told

    def _lap(self) -> float:
        before, self.now = self.now, time.process_time()
        return self.now - before


@dataclass(frozen=True)
class Speed:
    """Positions per second by the clock on the wall, on cores that nobody else uses, and of a processor's time; the share of that
    in which tokens are sent; the share of a save in the time between two."""

    wall: float
    free: float
    cpu: float
    tokens: float
    saving: float


def recipe(parallel: ParallelConfig) -> Recipe:
    """The demo's, with all its rows however many processes share them."""
    base = load_recipe()
    training = replace(base.training, steps=STEPS, save_every=STEPS, show_every=0, warmup=5)
    return replace(base, training=training, parallel=parallel)


def main(folder: Path, run: Path, parallel: ParallelConfig) -> None:
    """One process of a mesh: trains, and writes its times of every step and of the save."""
    set_threads(1)
    store, tokenizers = ExampleStore(folder / "examples"), Tokenizers.load(folder / "tokenizers")
    clock, steps, saving = Clock(), [], []
    save = loop.save_progress

    def timed_save(*arguments: Any) -> None:
        begun = time.perf_counter()
        save(*arguments)
        saving.append(time.perf_counter() - begun)

    with process_group() as (rank, world), ExitStack() as patches:
        patches.enter_context(patch.object(loop, "save_progress", timed_save))
        for module, name in ((dist, "all_reduce"), (dist, TOKENS), (transfers, "exchange")):
            patches.enter_context(patch.object(module, name, clock.around(getattr(module, name))))
        loop.train(recipe(parallel), store, tokenizers, run, rank, world, lambda *_: steps.append(clock.step()))
        (run / f"times-{rank}.json").write_text(json.dumps({"steps": steps, "save": saving[-1]}))


def measure(folder: Path, rounds: int, quick: bool, progress: Callable[[str], None]) -> Findings:
    found: dict[str, list[Speed]] = {mesh: [] for mesh in MESHES}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        prepare(scratch)
        progress("gathers and sums")
        launch("benchmarks.model.scaling", [str(scratch)], 2)
        for turn in range(rounds):
            for mesh, sizes in MESHES.items():
                progress(f"round {turn + 1} of {rounds}: {mesh}")
                run = scratch / f"{turn}-{mesh.replace(' ', '-')}"
                launch("benchmarks.model.scaling", [str(scratch), str(run), *map(str, sizes)], prod(sizes))
                found[mesh].append(read_speed(run))
        gathers = json.loads((scratch / "transfers.json").read_text())
    speeds = {
        mesh: Speed(*map(median, zip(*(vars(one).values() for one in several), strict=True))) for mesh, several in found.items()
    }
    return report(speeds, gathers)


def read_speed(run: Path) -> Speed:
    told = [json.loads(path.read_text()) for path in sorted(run.glob("times-*.json"))]
    lines = read_log(run / "metrics.jsonl")[-COUNTED - 1 : -1]
    steps = [[one["steps"][line["step"]] for one in told] for line in lines]
    positions = [line["positions"] for line in lines]
    spent = [sum(sum(process["work"]) + sum(process["exchange"]) for process in step) for step in steps]
    sent = [sum(map(seconds_of_tokens, step)) for step in steps]
    wall = median(line["seconds"] for line in lines)
    return Speed(
        median(count / line["seconds"] for count, line in zip(positions, lines, strict=True)),
        median(count / path_of(step) for count, step in zip(positions, steps, strict=True)),
        median(count / seconds for count, seconds in zip(positions, spent, strict=True)),
        median(of / seconds for of, seconds in zip(sent, spent, strict=True)),
        told[0]["save"] / (load_recipe().training.save_every * wall),
    )


def seconds_of_tokens(step: dict[str, list]) -> float:
    """Of a process in a step."""
    return sum(seconds for seconds, kind in zip(step["exchange"], step["kinds"], strict=True) if kind == TOKENS)


def path_of(step: list[dict[str, list]]) -> float:
    """Seconds of a step of several processes on cores of their own: each waits for the slowest at every exchange.

    Raises ValueError where they have not exchanged in the same order.
    """
    if any(process["kinds"] != step[0]["kinds"] for process in step):
        raise ValueError("processes have exchanged in different orders")
    return sum(max(lap) for kind in ("work", "exchange") for lap in zip_longest(*(process[kind] for process in step)))


def report(speeds: dict[str, Speed], gathers: dict[str, list[float]]) -> Findings:
    figures = [Figure(f"meshes: gloo's {name} ÷ ours, CPU seconds", theirs / ours) for name, (theirs, ours) in gathers.items()]
    for mesh, speed in speeds.items():
        figures.append(Figure(f"meshes: share of saving in the time, {mesh}", speed.saving, 0.05, less=True))
        if speed.tokens:
            figures.append(Figure(f"meshes: share of sending tokens in the processor's time, {mesh}", speed.tokens))
        figures += compared(mesh, speeds)
    header = ("mesh", "positions / s", "on free cores", "per CPU s", "tokens sent", "saving")
    note = (
        f"The demo's recipe on random documents, {load_recipe().sequence.rows} rows a step over all processes of one thread. "
        "On free cores: processor time, in which each process waits for the slowest at every exchange, with a core for each."
    )
    return Findings(tuple(figures), (Table("Speed of a mesh", header, tuple(cells(*one) for one in speeds.items()), note),))


def compared(mesh: str, speeds: dict[str, Speed]) -> list[Figure]:
    """With one process and, of four, with two."""
    speed, alone = speeds[mesh], speeds[ALONE]
    if mesh == ALONE:
        return []
    bar = 1.8 if mesh.endswith("2") else None
    figures = [
        Figure(f"meshes: positions per second ÷ one process, {mesh}", speed.wall / alone.wall, bar, threads=2),
        Figure(f"meshes: on free cores ÷ one process, {mesh}", speed.free / alone.free, bar, threads=2),
        Figure(f"meshes: positions per CPU second ÷ one process, {mesh}", speed.cpu / alone.cpu, threads=2),
    ]
    if bar is None:
        ratio = speed.cpu / speeds[mesh.replace("4", "2")].cpu
        figures.append(Figure(f"meshes: positions per CPU second ÷ two processes, {mesh}", ratio, 0.95, threads=2))
    return figures


def cells(mesh: str, speed: Speed) -> tuple[str, ...]:
    rates = f"{speed.wall:,.0f}", f"{speed.free:,.0f}", f"{speed.cpu:,.0f}"
    return mesh, *rates, f"{speed.tokens:.1%}" if speed.tokens else "", f"{speed.saving:.2%}"


def time_transfers(folder: Path) -> None:
    """One of two processes: processor seconds of gloo's own gather and sum of a layer's weights, and of ours."""
    set_threads(1)
    with process_group() as (rank, world):
        group, whole, part = dist.group.WORLD, torch.ones(GATHERED), torch.ones(GATHERED // world)
        assert group is not None
        ways = {
            "all-gather": (lambda: dist.all_gather_single(whole, part), lambda: transfers.Gather()(whole, part, group)),
            "reduce-scatter": (lambda: dist.reduce_scatter_single(part, whole), lambda: transfers.SumParts()(part, whole, group)),
        }
        told = {name: [_seconds(way) for way in both] for name, both in ways.items()}
        if rank == 0:
            (folder / "transfers.json").write_text(json.dumps(told))


def _seconds(run: Callable[[], object]) -> float:
    times = []
    for _ in range(12):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return median(times[2:])


if __name__ == "__main__":
    folder, *asked = sys.argv[1:]
    if asked:
        run, replicate, shard, expert, tensor = asked
        main(Path(folder), Path(run), ParallelConfig(int(replicate), int(shard), int(expert), int(tensor)))
    else:
        time_transfers(Path(folder))
