"""Figures with bars and tables: what every measurement hands back, and how it looks on screen and in Markdown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table as Shown


@dataclass(frozen=True)
class Figure:
    """A measured number and its bar, from above or, where less is better, from below."""

    row: str
    value: float
    bar: float | None = None
    less: bool = False
    threads: int = 1

    @property
    def ok(self) -> bool:
        return self.bar is None or bool(self.value <= self.bar if self.less else self.value >= self.bar)

    @property
    def shown(self) -> str:
        return f"{self.value:.4g}"

    @property
    def wanted(self) -> str:
        """The bar, or nothing where there is none."""
        return "" if self.bar is None else f"{'≤' if self.less else '≥'} {self.bar:g}"


@dataclass(frozen=True)
class Table:
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def rows(figures: Iterable[Figure], command: str) -> list[dict[str, object]]:
    """Of the file of measured figures: one for each, with the command that measures it again."""
    return [
        {"row": one.row, "value": one.value, "bar": one.bar, "ok": one.ok, "threads": one.threads, "command": command}
        for one in figures
    ]


def show(console: Console, title: str, tables: Iterable[Table], figures: Iterable[Figure]) -> None:
    """On screen: every table, then the figures under the title."""
    for table in tables:
        shown = Shown(*table.header, title=table.title, caption=table.note or None)
        for cells in table.rows:
            shown.add_row(*cells)
        console.print(shown)
    shown = Shown("figure", "value", "bar", "", title=title)
    for figure in figures:
        shown.add_row(figure.row, figure.shown, figure.wanted, "" if figure.bar is None else "✓" if figure.ok else "✗")
    console.print(shown)


def bars(figures: Iterable[Figure]) -> str:
    """The figures that have one, as a table."""
    cells = [(one.row, one.shown, one.wanted, "yes" if one.ok else "**no**") for one in figures if one.bar is not None]
    return grid(("measured", "value", "bar", "met"), cells)


def markdown(table: Table) -> str:
    """Title, cells and note."""
    blocks = [f"**{table.title}**", grid(table.header, table.rows), *([table.note] if table.note else [])]
    return "\n\n".join(blocks)


def grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
