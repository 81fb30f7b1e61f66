"""What a part of the measurements hands back, and the files that keep it: rows with bars, tables and curves."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.tables import Figure, Table

COMMAND = "python -m benchmarks.phasefield"


@dataclass(frozen=True)
class Panel:
    """Work–precision curves by name: pairs of seconds and error."""

    title: str
    curves: dict[str, tuple[tuple[float, float], ...]]


@dataclass(frozen=True)
class Findings:
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    panels: tuple[Panel, ...] = ()

    def __add__(self, other: "Findings") -> "Findings":
        return Findings(self.figures + other.figures, self.tables + other.tables, self.panels + other.panels)


def write(part: str, findings: Findings, folder: Path) -> None:
    """Keeps a part's findings in `folder`/phasefield/`part`.json."""
    path = folder / "phasefield" / f"{part}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(asdict(findings), ensure_ascii=False))
    os.replace(aside, path)


def read(parts: Sequence[str], folder: Path) -> Findings:
    """All that the parts left, in their order; parts that have not run are left out."""
    found = Findings()
    for path in (folder / "phasefield" / f"{part}.json" for part in parts):
        if path.exists():
            tree = json.loads(path.read_text())
            figures = tuple(Figure(**figure) for figure in tree["figures"])
            tables = tuple(
                Table(one["title"], tuple(one["header"]), tuple(map(tuple, one["rows"])), one["note"]) for one in tree["tables"]
            )
            panels = tuple(
                Panel(panel["title"], {name: tuple(map(tuple, curve)) for name, curve in panel["curves"].items()})
                for panel in tree["panels"]
            )
            found += Findings(figures, tables, panels)
    return found
