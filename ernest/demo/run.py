"""The demo from nothing to its report: `run` is the list of its stages, in order."""

import multiprocessing
import os
import queue
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from ernest.config.recipe import Recipe
from ernest.demo.folder import claim, timed, times
from ernest.demo.stages import STAGES, Stage, StageContext
from ernest.device import ALLOCATOR, set_threads
from ernest.evaluation.results import StageTime, save
from ernest.evaluation.run import evaluate_run
from ernest.report.page import write_report
from ernest.report.rows import ROWS, write_rows
from ernest.report.tables import rows, table
from ernest.tokenizers.text import TextTokenizer
from ernest.training.monitor import stage_bar
from ernest.training.pretrain import train_model
from ernest.training.tokenizers import check_network
from ernest.world.world import TASKS


def run(build: Path, recipe: Recipe) -> Path:
    """Makes the world, trains tokenizers, judges and the model, evaluates it, and writes `build/report.html`.

    Stages whose files are there are passed over; what another recipe left in `build` is removed first. Raises ValueError for
    a network or a mixture that cannot be.
    """
    check_network(recipe, TextTokenizer())
    recipe.weights(TASKS)  # a mixture that cannot be ends here, before the long work
    console = Console(width=None if sys.stdout.isatty() else 120)
    claim(build, recipe, console)
    os.environ.update(ALLOCATOR | {"OMP_NUM_THREADS": "1"})
    with timed(build, "world, judges and tokenizers"):
        run_stages(STAGES, build, recipe, console)
    with timed(build, "unified model"):
        if not (build / "model").is_dir():
            train_model(build, recipe)
    with timed(build, "scores"):
        findings = evaluate_run(build, recipe, console)
    stages = tuple(StageTime(name, *spent) for name, spent in times(build).items())
    findings = replace(findings, stages=stages)
    save(build / "findings", findings)
    report = build / "report.html"
    write_report(report, findings)
    write_rows(rows(findings, "make demo"), build / ROWS)
    console.print(table(findings))
    console.print(f"report: {report}\nmodel: {build / 'model'}")
    return report


def run_stages(stages: Sequence[Stage], build: Path, recipe: Recipe, console: Console) -> None:
    """Runs stages in one process of one thread per core, and draws their bars. Raises what a stage raised."""
    for folder in ("judges", "tokenizers"):
        (build / folder).mkdir(exist_ok=True)
    spawn = multiprocessing.get_context("spawn")
    bars: dict[str, Any] = {}
    with (
        spawn.Manager() as manager,
        ProcessPoolExecutor(os.cpu_count() or 1, spawn) as pool,
        stage_bar(console) as progress,
    ):
        messages = manager.Queue()
        running = [pool.submit(_run_stage, stage, build, recipe, messages) for stage in stages]
        while not (all(stage.done() for stage in running) and messages.empty()):
            try:
                job, step, steps, note = messages.get(timeout=0.2)
            except queue.Empty:
                continue
            if job not in bars:
                bars[job] = progress.add_task(job, total=steps, note="")
            progress.update(bars[job], completed=step, total=steps, note=note)
        for stage in running:
            stage.result()


def _run_stage(stage: Stage, build: Path, recipe: Recipe, messages: Any) -> None:
    set_threads(1)
    last: dict[str, float] = {}

    def report(job: str, step: int, steps: int, note: str) -> None:
        """Five times a second at most, and at a job's end."""
        now = time.monotonic()
        if step == steps or now - last.get(job, 0.0) > 0.2:
            last[job] = now
            messages.put((job, step, steps, note))

    stage(StageContext(build, recipe, report))
