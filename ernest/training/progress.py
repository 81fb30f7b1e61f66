"""What long stages tell in a terminal or a log file while they are at work: lines, and bars."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def tell(line: str) -> None:
    """A line of what is being done."""
    _print(Console(), line)


def remark(line: str) -> None:
    """A line on stderr of what the user may want to see to."""
    _print(Console(stderr=True), line)


def _print(console: Console, line: str) -> None:
    """As it is: a path or a number in it is no markup, and a terminal breaks it where it will."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def stage_bar(console: Console | None = None) -> Progress:
    """The progress bar that all long stages share; in a log file, a line now and then."""
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}")
    return Bars(*columns, TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=console)


def progress_on(bar: Progress, description: str, steps: int | None = None) -> Callable[[int, int, Mapping[str, float]], None]:
    """The progress callback of a training (`ernest.fit`), as a task of the bar; how many `steps` there are may be told later."""
    task = bar.add_task(description, total=steps, note="")
    return lambda step, steps, metrics: bar.update(task, completed=step, total=steps, note=tell_metrics(metrics))


def tell_metrics(metrics: Mapping[str, float]) -> str:
    """Measures of a step in a few words."""
    return " ".join(f"{name} {value:.3g}" for name, value in metrics.items())


class Bars(Progress):
    """Bars in a terminal. Where they would be written once, at their end, a line says every half minute how far a stage is."""

    every = 30.0
    """Seconds between two lines of a stage."""

    def update(self, task_id: TaskID, **fields: Any) -> None:
        """Moves a bar, as `rich` has it."""
        super().update(task_id, **fields)
        if self.console.is_terminal:
            return
        task, now = self.tasks[task_id], time.monotonic()
        told = task.fields.setdefault("told", now)
        if now - told >= self.every and task.completed != task.total:
            task.fields["told"] = now
            note = f"  {task.fields['note']}" if task.fields.get("note") else ""
            _print(self.console, f"{task.description} {task.completed:g}/{task.total or 0:g}{note}")

    def stop(self) -> None:
        """Writes the bars to a log file, but those of stages that ended before they began: a mistake is one line."""
        if not self.console.is_terminal:
            for task in self.tasks:
                if not task.completed:
                    self.remove_task(task.id)
        super().stop()
