"""`python -m benchmarks.lcnet`: the LCNet engine beside other runtimes, other networks and the floor of this machine.

Rows go to lcnet.jsonl in the folder, tables to lcnet.md, pictures beside them.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console

from benchmarks import tables
from benchmarks.lcnet import findings, floor, networks, others, report, widths
from benchmarks.lcnet.findings import COMMAND, Findings
from benchmarks.lcnet.races import Progress


@dataclass(frozen=True)
class Part:
    """What it measures, from the folder, the rounds and whether to be quick; and whether it belongs to a quick run."""

    measure: Callable[[Path, int, bool, Progress], Findings]
    quick: bool = True


def training(folder: Path, rounds: int, quick: bool, progress: Progress) -> Findings:
    """Images a second in training, beside an eager network as timm has it."""
    from benchmarks.lcnet.throughput import training_throughput

    if not quick:
        networks.install()
    progress("training")
    return training_throughput(1 if quick else max(3, rounds // 2))


PARTS = {
    "widths": Part(widths.measure),
    "threads": Part(widths.on_all_threads),
    "peers": Part(others.peers, quick=False),
    "torch": Part(others.torch_paths, quick=False),
    "closeness": Part(floor.closeness),
    "roofline": Part(floor.roofline),
    "instructions": Part(floor.instructions),
    "training": Part(training),
    "stress": Part(floor.stress),
    "repeat": Part(widths.repeated, quick=False),
}
STUDIES = ("mnist", "digits", "ablation", "deployment", "scenes-counts", "scenes-detection", "scenes-deeplab", "scenes-liteseg")
"""What commands of their own have left in the folder, such as `python -m benchmarks.lcnet.mnist`: they train for minutes."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--part", action="append", choices=PARTS, help="measure only this part (may be given more than once)")
    parser.add_argument("--rounds", type=int, default=20, help="bursts of calls of every runtime")
    parser.add_argument("--quick", action="store_true", help="the smallest network, two rounds, no others: does it all work?")
    parser.add_argument("--folder", type=Path, help="where everything is written (build/bench; its folder quick for a quick run)")
    chosen = parser.parse_args(arguments)
    folder: Path = chosen.folder or Path("build/bench/quick" if chosen.quick else "build/bench")
    torch.set_num_threads(1)
    console = Console(width=150)
    console.print(report.machine())
    for name in chosen.part or [name for name, part in PARTS.items() if part.quick or not chosen.quick]:
        begun = time.perf_counter()
        with console.status(f"measuring: {name}") as status:
            found = PARTS[name].measure(folder, 2 if chosen.quick else chosen.rounds, chosen.quick, status.update)
        found = replace(found, notes=(*found.notes, f"{name}: {time.perf_counter() - begun:.0f} s"))
        findings.keep(name, found, f"{COMMAND} --part {name}", folder)
        tables.show(console, name, found.tables, found.figures)
        for note in found.notes:
            console.print(note, highlight=False)
        summarise(folder)


def summarise(folder: Path) -> None:
    """Tables and picture of all parts that have been measured, so that a part that fails loses none of the others."""
    gathered = findings.read([*PARTS, *STUDIES], folder)
    (folder / "lcnet.md").write_text(report.markdown(gathered) + "\n")
    shown = gathered.get("peers") or gathered.get("widths") or Findings()
    report.draw(shown.latencies, folder / "lcnet-latency-accuracy.png")


if __name__ == "__main__":
    main()
