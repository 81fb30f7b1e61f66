"""The demo from nothing to its report: `run` is the list of its stages, in order."""

import multiprocessing
import os
import queue
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from ernest.config.recipe import Recipe
from ernest.demo.folder import add_times, claim, timed, times
from ernest.demo.stages import STAGES, Stage, StageContext
from ernest.device import ALLOCATOR, set_threads
from ernest.evaluation.results import StageTime, save
from ernest.evaluation.run import evaluate_run
from ernest.report.figures import check_figures
from ernest.report.page import write_report
from ernest.report.rows import ROWS, write_rows
from ernest.report.tables import rows, table
from ernest.storage import own_folder
from ernest.tokenizers.text import TextTokenizer
from ernest.training.group import check_alone, check_group
from ernest.training.launch import end_with_parent
from ernest.training.pretrain import train_model
from ernest.training.progress import stage_bar
from ernest.training.tokenizers import check_network
from ernest.world.world import TASKS

FIRST = "world, judges and tokenizers"
"""The part of the demo whose jobs run side by side."""


def run(build: Path, recipe: Recipe) -> Path:
    """Makes the world, trains tokenizers, judges and the model, evaluates it, and writes `build/report.html`.

    Stages whose files are there are passed over; what another recipe left in `build` is removed first. Raises ValueError for
    a network or a mixture that cannot be.
    """
    if recipe.tokenizers.first_bits:
        raise ValueError(
            "tokenizers.first_bits: the demo trains with all bits from its start; `ernest train` can begin with fewer"
        )
    if recipe.training.encode != "before":
        raise ValueError(f"training.encode = {recipe.training.encode!r}: the demo encodes its records before; leave it out")
    check_alone("ernest demo")
    check_figures()
    check_group(recipe)
    check_network(recipe, TextTokenizer())
    recipe.weights(TASKS)  # a mixture that cannot be ends here, before the long work
    with own_folder(build):
        return _run(build, recipe, Console(width=None if sys.stdout.isatty() else 120))


def _run(build: Path, recipe: Recipe, console: Console) -> Path:
    claim(build, recipe, console)
    os.environ.update(ALLOCATOR | {"OMP_NUM_THREADS": "1"})
    with timed(build, FIRST):
        run_stages(STAGES, build, recipe, console)
    with timed(build, "unified model"):
        if not (build / "model").is_dir():
            train_model(build, recipe)
    with timed(build, "scores"):
        findings = evaluate_run(build, recipe, console)
    findings = replace(findings, stages=in_order(times(build)))
    save(build / "findings", findings)
    report = build / "report.html"
    write_report(report, findings)
    write_rows(rows(findings, "make demo"), build / ROWS)
    console.print(table(findings))
    console.print(f"report: {report}\nmodel: {build / 'model'}")
    return report


def in_order(spent: Mapping[str, StageTime]) -> tuple[StageTime, ...]:
    """Every part of the demo, followed by the jobs within it, the longest first."""
    jobs = sorted(spent.values(), key=lambda stage: -stage.cpu)
    parts = [stage for stage in spent.values() if not stage.within]
    return tuple(one for part in parts for one in (part, *(job for job in jobs if job.within == part.name)))


def run_stages(stages: Sequence[Stage], build: Path, recipe: Recipe, console: Console) -> None:
    """Runs stages in one process of one thread per core, and draws their bars. Raises what a stage raised."""
    for folder in ("judges", "tokenizers"):
        (build / folder).mkdir(exist_ok=True)
    spawn = multiprocessing.get_context("spawn")
    bars: dict[str, Any] = {}
    messages = spawn.Queue()
    start = _start_worker, (os.getpid(), messages)
    with ProcessPoolExecutor(os.cpu_count() or 1, spawn, *start) as pool, stage_bar(console) as progress:
        running = [pool.submit(_run_stage, stage, build, recipe) for stage in stages]
        while not (all(stage.done() for stage in running) and messages.empty()):
            try:
                job, step, steps, note = messages.get(timeout=0.2)
            except queue.Empty:
                continue
            if job not in bars:
                bars[job] = progress.add_task(job, total=steps, note="")
            progress.update(bars[job], completed=step, total=steps, note=note)
        for stage in running:
            add_times(build, stage.result(), within=FIRST)


_messages: Any = None
"""In a worker: where reports for the bars go."""


def _start_worker(parent: int, messages: Any) -> None:
    """A worker computes in one thread and ends with its parent, whose bars it feeds."""
    global _messages  # noqa: PLW0603 - a queue reaches a worker when it starts, and not as an argument of its work
    end_with_parent(parent)
    set_threads(1)
    _messages = messages


def _run_stage(stage: Stage, build: Path, recipe: Recipe) -> dict[str, tuple[float, float]]:
    """Returns what its jobs took."""
    last: dict[str, float] = {}

    def report(job: str, step: int, steps: int, note: str) -> None:
        """Five times a second at most, and at a job's end."""
        now = time.monotonic()
        if step == steps or now - last.get(job, 0.0) > 0.2:
            last[job] = now
            _messages.put((job, step, steps, note))

    context = StageContext(build, recipe, report)
    stage(context)
    return context.times
