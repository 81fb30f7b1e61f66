"""Figures as PNG and their numbers as CSV, in files that are whole or not there."""

import csv
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ernest.storage import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_figures() -> None:
    """Raises ImportError, with the command that helps, where figures cannot be drawn: before the work that they are to show."""
    if find_spec("matplotlib") is None:
        raise ImportError("pictures need matplotlib: pip install 'ernest-ai[demo]'")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table as CSV, whole or not at all."""
    with write_file(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_picture(path: Path, figure: "Figure") -> None:
    """A figure as PNG, whole or not at all."""
    with write_file(path) as aside:
        figure.savefig(aside, format="png", dpi=110, metadata={"Software": None})


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure in inches. Raises ImportError where matplotlib is missing."""
    check_figures()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
