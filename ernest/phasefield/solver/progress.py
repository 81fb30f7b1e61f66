"""Tells on stderr how far a run is: a bar on a terminal, a line that is renewed in a notebook, a line now and then in a log."""

import sys
import time as clock
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from ernest.phasefield.solver.diagnostics import StepRecord

Progress = bool | Callable[[StepRecord], object]
"""Whether to tell how far a run is, or what to call with the record of every step."""

SECONDS, SHARE, NOTEBOOK_SECONDS = 5.0, 1 / 60, 0.5
"""A log gets a line after so many seconds or this share of the run's time so far, whichever is longer."""


@contextmanager
def progress_bar(wanted: Progress, t0: float, t1: float, first: str = "") -> Iterator[Callable[[StepRecord], object]]:
    """Yields a function to call with every new record: the user's own, one that shows it, or one that does nothing.

    `first` is what there is to tell before the first step.
    """
    if callable(wanted):
        yield wanted
    elif not wanted:
        yield lambda record: None
    elif sys.stderr.isatty():
        with _bar(t0, t1, first) as show:
            yield show
    else:
        if first:
            sys.stderr.write(f"{first}\n")
            sys.stderr.flush()
        with _lines(t0, t1, type(sys.stderr).__module__.startswith("ipykernel")) as show:
            yield show


@contextmanager
def _bar(t0: float, t1: float, first: str) -> Iterator[Callable[[StepRecord], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(first, total=t1 - t0)
        yield lambda record: progress.update(task, completed=record.time - t0, description=_words(record))


@contextmanager
def _lines(t0: float, t1: float, notebook: bool) -> Iterator[Callable[[StepRecord], None]]:
    """In a notebook each line takes the place of the one before, and the last one stays."""
    began = said = clock.monotonic()
    steps = width = 0

    def show(record: StepRecord) -> None:
        nonlocal said, steps, width
        steps, now = steps + 1, clock.monotonic()
        if now - said < (NOTEBOOK_SECONDS if notebook else max(SECONDS, SHARE * (now - began))):
            return
        share = (record.time - t0) / (t1 - t0)
        left = (now - began) * (1 - share) / max(share, 1e-12)
        line = f"{share:.1%} of t = {t1:.5g}, step {steps}: {_words(record)}, about {_duration(left)} left"
        sys.stderr.write(f"\r{line:<{width}}" if notebook else f"{line}\n")
        sys.stderr.flush()
        said, width = now, len(line)

    try:
        yield show
    finally:
        if notebook and width:
            sys.stderr.write("\n")


def _words(record: StepRecord) -> str:
    return f"t {record.time:.5g}  τ {record.tau:.2e}  energy {np.max(record.energy):.6g}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
