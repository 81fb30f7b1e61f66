"""Shows the progress and the results of a training on the terminal."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ernest.lcnet.training.loop import Report, ReportCallback
from ernest.lcnet.training.recipe import Recipe
from ernest.lcnet.training.scores import ClassScore

MOST_CLASSES = 20


@contextmanager
def display(recipe: Recipe, wanted: bool) -> Iterator[ReportCallback | None]:
    """A bar for the epoch under way and a line for every finished one, on standard error; nothing if not `wanted`. Needs rich."""
    if not wanted:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("epoch {task.fields[epoch]}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", epoch=f"1/{recipe.epochs}")
        speed = 0.0

        def show(report: Report) -> None:
            nonlocal speed
            speed = report.speed if not speed else 0.9 * speed + 0.1 * (report.speed or speed)
            learning = f"loss {report.loss:.3f}, accuracy {report.accuracy:.1%}, {speed:,.0f} images/s"
            epoch = f"{report.epoch + 1}/{recipe.epochs}"
            bar.update(task, description=learning, completed=report.step, total=report.steps, epoch=epoch)
            if report.scores:
                console.print(f"epoch {epoch}: {learning}; {report.scores.text}")

        yield show


def print_line(text: str) -> None:
    """A line on standard error, as it is. Needs rich."""
    from rich.console import Console

    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


def print_classes(rows: Sequence[ClassScore], title: str) -> None:
    """The worst classes as a table, on standard error. Needs rich."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("class", "pictures", "recall", "precision", "taken for", title=title)
    for row in rows[:MOST_CLASSES]:
        shares = "–" if row.recall is None else f"{row.recall:.1%}", f"{row.precision:.1%}"
        table.add_row(Text(row.label), str(row.pictures), *shares, Text(row.taken_for))  # plain: a class may be called [/b]
    console = Console(stderr=True)
    console.print(table)
    if len(rows) > MOST_CLASSES:
        console.print(f"the {MOST_CLASSES} worst of {len(rows)} classes; all are in classes.csv")
