"""A line that tells how far a run is, on a terminal only."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ernest.phasefield.solver.diagnostics import Row


@contextmanager
def shown(wanted: bool, start: float, end: float) -> Iterator[Callable[[Row], None]]:
    """Yields what is to be called with every new row; it does nothing where nobody would see the line."""
    import sys

    if not (wanted and sys.stderr.isatty()):
        yield lambda row: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=end - start)

        def show(row: Row) -> None:
            energy = max(row.energy) if isinstance(row.energy, list) else row.energy
            progress.update(
                task, completed=row.time - start, description=f"t {row.time:.5g}  τ {row.tau:.2e}  energy {energy:.6g}"
            )

        yield show
