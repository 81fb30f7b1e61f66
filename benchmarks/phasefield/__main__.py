"""`python -m benchmarks.phasefield`: speed and laws of the phase-field engine, beside the baselines and other packages.

Rows go to phasefield.jsonl in the folder, tables to phasefield.md, the work–precision plot to phasefield.png.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from benchmarks import tables
from benchmarks.phasefield import comparisons, defaults, findings, laws, peers, pfhub, report, steps
from benchmarks.phasefield.findings import COMMAND, Findings
from ernest.report.rows import write_rows


@dataclass(frozen=True)
class Part:
    """What it measures, from the folder, the number of turns, and whether to be quick; and whether it belongs to a quick run."""

    measure: Callable[[Path, int, bool], Findings]
    quick: bool


PARTS = {
    "baselines": Part(comparisons.compare, quick=True),
    "orders": Part(comparisons.orders, quick=True),
    "solve": Part(defaults.measure, quick=True),
    "steps": Part(steps.measure, quick=True),
    "laws": Part(lambda folder, turns, quick: laws.measure(quick), quick=True),
    "pfhub": Part(lambda folder, turns, quick: pfhub.measure(quick), quick=True),
    "peers": Part(lambda folder, turns, quick: peers.compare(folder, turns), quick=False),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--part", action="append", choices=PARTS, help="measure only this part (may be given more than once)")
    parser.add_argument("--turns", type=int, default=5, help="times that every run is taken")
    parser.add_argument("--quick", action="store_true", help="small problems, one turn, no other packages: does it all work?")
    parser.add_argument("--folder", type=Path, help="where everything is written (build/bench; its folder quick for a quick run)")
    chosen = parser.parse_args(arguments)
    folder: Path = chosen.folder or Path("build/bench/quick" if chosen.quick else "build/bench")
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for the processes that are started: waiting threads sleep
    console = Console(width=130)
    console.print(report.machine())
    for name in chosen.part or [name for name, part in PARTS.items() if part.quick or not chosen.quick]:
        with console.status(f"measuring: {name}"):
            found = PARTS[name].measure(folder, 1 if chosen.quick else chosen.turns, chosen.quick)
        tables.show(console, name, found.tables, found.figures)
        findings.write(name, found, folder)
        write_rows(tables.rows(found.figures, f"{COMMAND} --part {name}"), folder / "phasefield.jsonl")
        summarise(folder)


def summarise(folder: Path) -> None:
    """The tables and the plot of all parts that have been measured, so that a part that fails loses none of the others."""
    gathered = findings.read(list(PARTS), folder)
    (folder / "phasefield.md").write_text(report.markdown(gathered) + "\n")
    if gathered.panels:
        report.plot(gathered.panels, folder / "phasefield.png")


if __name__ == "__main__":
    main()
