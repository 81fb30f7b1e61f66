"""The demo from nothing to its report: `run` is the list of its stages, in order."""

import json
import multiprocessing
import os
import queue
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from ernest.config.recipe import Recipe, to_tree
from ernest.demo.stages import CHAINS, Lane
from ernest.device import ALLOCATOR
from ernest.evaluation.results import Stage, save
from ernest.evaluation.run import examine
from ernest.report.page import write_report
from ernest.report.rows import ROWS, write_rows
from ernest.report.tables import rows, table
from ernest.storage import write_text
from ernest.tokenizers.text import TextTokenizer
from ernest.training.monitor import stage_bar
from ernest.training.pretrain import train_model
from ernest.training.tokenizers import check_network
from ernest.world.world import TASKS


def run(build: Path, recipe: Recipe) -> Path:
    """Makes the world, trains tokenizers, judges and the model, examines it, and writes `build/report.html`.

    Stages whose files are there are passed over; what another recipe left in `build` is removed first. Raises ValueError for
    a network or a mixture that cannot be.
    """
    check_network(recipe, TextTokenizer())
    recipe.weights(TASKS)  # a mixture that cannot be ends here, before the long work
    console = Console(width=None if sys.stdout.isatty() else 120)
    _claim(build, recipe, console)
    os.environ.update(ALLOCATOR | {"OMP_NUM_THREADS": "1"})
    with _timed(build, "world, judges and tokenizers"):
        run_chains(CHAINS, build, recipe, console)
    with _timed(build, "unified model"):
        if not (build / "model").is_dir():
            train_model(build, recipe)
    with _timed(build, "scores"):
        findings = examine(build, recipe, console)
    stages = tuple(Stage(name, *spent) for name, spent in _times(build).items())
    findings = replace(findings, stages=stages)
    save(build / "findings", findings)
    report = build / "report.html"
    write_report(report, findings)
    write_rows(rows(findings, "make demo"), build / ROWS)
    console.print(table(findings))
    console.print(f"report: {report}\nmodel: {build / 'model'}")
    return report


MADE = ("judges", "tokenizers", "examples", "step-*", "model", "findings", "*.json", "metrics.jsonl", "report.html", "bench")
"""What the demo leaves in its folder."""


def _claim(build: Path, recipe: Recipe, console: Console) -> None:
    """Makes `build` this recipe's own. Raises ValueError for a folder that holds something else."""
    build.mkdir(parents=True, exist_ok=True)
    mark, tree = build / "demo.json", json.dumps(to_tree(recipe), indent=1)
    if not mark.exists() and any(build.iterdir()):
        raise ValueError(f"{build} is not empty and holds no demo: choose a new folder")
    if mark.exists() and mark.read_text() != tree:
        console.print(f"{build} holds another recipe's work: starting anew")
        for path in (path for pattern in MADE for path in build.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif mark.exists():
        console.print(f"going on in {build}")
    write_text(mark, tree)


def run_chains(chains: Sequence[Callable[[Lane], None]], build: Path, recipe: Recipe, console: Console) -> None:
    """Runs chains of stages in a process of one thread per core, and draws their bars. Raises what a chain raised."""
    for folder in ("judges", "tokenizers"):
        (build / folder).mkdir(exist_ok=True)
    context = multiprocessing.get_context("spawn")
    bars: dict[str, Any] = {}
    with (
        context.Manager() as manager,
        ProcessPoolExecutor(os.cpu_count() or 1, context) as pool,
        stage_bar(console) as progress,
    ):
        told = manager.Queue()
        running = [pool.submit(_run_chain, chain, build, recipe, told) for chain in chains]
        while not (all(chain.done() for chain in running) and told.empty()):
            try:
                stage, step, steps, note = told.get(timeout=0.2)
            except queue.Empty:
                continue
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=steps, note="")
            progress.update(bars[stage], completed=step, total=steps, note=note)
        for chain in running:
            chain.result()


def _run_chain(chain: Callable[[Lane], None], build: Path, recipe: Recipe, told: Any) -> None:
    torch.set_num_threads(1)
    spoken: dict[str, float] = {}

    def tell(stage: str, step: int, steps: int, note: str) -> None:
        """Five times a second at most, and at a stage's end."""
        now = time.monotonic()
        if step == steps or now - spoken.get(stage, 0.0) > 0.2:
            spoken[stage] = now
            told.put((stage, step, steps, note))

    chain(Lane(build, recipe, tell))


@contextmanager
def _timed(build: Path, name: str) -> Iterator[None]:
    """Adds the seconds of a stage to what it took before it was interrupted."""
    wall, cpu = time.monotonic(), _cpu_seconds()
    try:
        yield
    finally:
        times = _times(build)
        before = times.get(name, [0.0, 0.0])
        times[name] = [before[0] + time.monotonic() - wall, before[1] + _cpu_seconds() - cpu]
        write_text(build / "times.json", json.dumps(times))


def _times(build: Path) -> dict[str, list[float]]:
    path = build / "times.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _cpu_seconds() -> float:
    """Of this process and of those it has waited for."""
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
