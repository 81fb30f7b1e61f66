"""Progress bar of a run on stderr, shown on a terminal only."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ernest.phasefield.solver.diagnostics import StepRecord


@contextmanager
def progress_bar(wanted: bool, t0: float, t1: float) -> Iterator[Callable[[StepRecord], None]]:
    """Yields a function to call with every new record; without a terminal, or unless `wanted`, the function does nothing."""
    import sys

    if not (wanted and sys.stderr.isatty()):
        yield lambda record: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=t1 - t0)

        def show(record: StepRecord) -> None:
            energy = max(record.energy) if isinstance(record.energy, list) else record.energy
            progress.update(
                task, completed=record.time - t0, description=f"t {record.time:.5g}  τ {record.tau:.2e}  energy {energy:.6g}"
            )

        yield show
