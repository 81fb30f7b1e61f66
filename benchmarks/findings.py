"""What a measurement hands back, and the files that keep it: rows with bars, tables, latencies and curves."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.tables import Figure, Table, rows
from ernest.report.rows import write_rows

FOLDER = Path("build/bench")


@dataclass(frozen=True)
class Latency:
    """Of one network through one runtime, in milliseconds. `rounds`: the lower quartile of each; `p25` is their median."""

    network: str
    runtime: str
    threads: int
    p25: float
    median: float
    p95: float
    least: float
    decibels: float | None = None
    rounds: tuple[float, ...] = ()

    def ratio(self, other: "Latency") -> float:
        """To another of the same race: the median over rounds, so that a machine that changes its clock changes both."""
        return median(mine / theirs for mine, theirs in zip(self.rounds, other.rounds, strict=True))


@dataclass(frozen=True)
class Panel:
    """Work–precision curves by name: pairs of seconds and error."""

    title: str
    curves: dict[str, tuple[tuple[float, float], ...]]


@dataclass(frozen=True)
class Findings:
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    latencies: tuple[Latency, ...] = ()
    notes: tuple[str, ...] = ()
    """Lines to be told besides, such as which runtimes are not there."""
    panels: tuple[Panel, ...] = ()

    def __add__(self, other: "Findings") -> "Findings":
        return Findings(*(getattr(self, field) + getattr(other, field) for field in self.__dataclass_fields__))


def write(wing: str, part: str, found: Findings, command: str, folder: Path = FOLDER) -> None:
    """The rows into `folder`/`wing`.jsonl in place of those of the same command, all of it into `folder`/`wing`/`part`.json."""
    path = folder / wing / f"{part}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(asdict(found), ensure_ascii=False))
    os.replace(aside, path)
    write_rows(rows(found.figures, command), folder / f"{wing}.jsonl")


def read(wing: str, parts: Sequence[str], folder: Path) -> dict[str, Findings]:
    """What the parts left, in their order; parts that have not run are left out."""
    paths = {part: folder / wing / f"{part}.json" for part in parts}
    return {part: _from_tree(json.loads(path.read_text())) for part, path in paths.items() if path.exists()}


def _from_tree(tree: dict[str, list]) -> Findings:
    tables = (Table(one["title"], tuple(one["header"]), tuple(map(tuple, one["rows"])), one["note"]) for one in tree["tables"])
    latencies = (Latency(**{**one, "rounds": tuple(one["rounds"])}) for one in tree["latencies"])
    panels = (
        Panel(panel["title"], {name: tuple(map(tuple, curve)) for name, curve in panel["curves"].items()})
        for panel in tree["panels"]
    )
    figures = (Figure(**one) for one in tree["figures"])
    return Findings(tuple(figures), tuple(tables), tuple(latencies), tuple(tree["notes"]), tuple(panels))
