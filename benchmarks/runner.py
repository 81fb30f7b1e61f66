"""The command of every wing of the benchmarks: measures its parts, keeps what they find, and sums it up in Markdown."""

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from rich.console import Console

from benchmarks import findings, page, tables
from benchmarks.findings import Findings
from benchmarks.machine import machine

Measure = Callable[[Path, int, bool, Callable[[str], None]], Findings]
"""From the folder, the rounds, whether to be quick, and whom to tell what is being measured."""


@dataclass(frozen=True)
class Part:
    measure: Measure
    quick: bool = True
    """Whether it belongs to a quick run."""


@dataclass(frozen=True)
class Wing:
    """Parts that are measured by one command, in their order, and what becomes of their findings.

    Rows go to `name`.jsonl in the folder, tables to `name`.md, pictures of `draw` beside them. `name` with `prefix` and the
    part's own name stands in the file of a part; wings of one name share the file of rows.
    """

    name: str
    command: str
    parts: Mapping[str, Part]
    rounds: int = 3
    quick_rounds: int = 1
    packages: tuple[str, ...] = ("torch",)
    """Whose versions matter."""
    prefix: str = ""
    own_blocks: tuple[str, ...] = ()
    """Parts that stand between marks of their own on the page, and not in its summary."""
    studies: tuple[str, ...] = ()
    """Parts of the page that commands of their own have left in the folder, for they train for minutes."""
    method: str = ""
    """How numbers were taken, for the end of the page."""
    draw: Callable[[Mapping[str, Findings], Path], None] = field(default=lambda parts, folder: None)


def main(wing: Wing, arguments: Sequence[str] | None = None) -> None:
    """Measures what the arguments choose, and sums up after every part, so that one that fails loses none of the others."""
    parser = argparse.ArgumentParser(prog=wing.command)
    parser.add_argument("--part", action="append", choices=wing.parts, help="only this part (may be given more than once)")
    parser.add_argument("--rounds", type=int, default=wing.rounds, help="interleaved repetitions of every measurement")
    parser.add_argument("--quick", action="store_true", help="small problems, few rounds, no others: does it all work?")
    parser.add_argument("--folder", type=Path, help="where everything is written (build/bench; its folder quick for a quick run)")
    chosen = parser.parse_args(arguments)
    folder: Path = chosen.folder or (findings.FOLDER / "quick" if chosen.quick else findings.FOLDER)
    rounds = wing.quick_rounds if chosen.quick else chosen.rounds
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for the processes that are started: waiting threads sleep
    console = Console(width=150)
    console.print(machine(*wing.packages), f"load {os.getloadavg()[0]:.1f}")
    for name in chosen.part or [name for name, part in wing.parts.items() if part.quick or not chosen.quick]:
        begun = time.perf_counter()
        with console.status(f"measuring: {name}") as status:
            found = wing.parts[name].measure(folder, rounds, chosen.quick, status.update)
        found = replace(found, notes=(*found.notes, f"{name}: {time.perf_counter() - begun:.0f} s"))
        findings.write(wing.name, f"{wing.prefix}{name}", found, f"{wing.command} --part {name}", folder)
        tables.show(console, name, found.tables, found.figures)
        for note in found.notes:
            console.print(note, highlight=False)
        summarise(wing, folder)


def summarise(wing: Wing, folder: Path) -> None:
    """Tables and pictures of all parts that have been measured."""
    parts = findings.read(wing.name, [*(f"{wing.prefix}{name}" for name in wing.parts), *wing.studies], folder)
    if wing.method:
        summed = {name: found for name, found in parts.items() if name not in wing.own_blocks}
        source = f"{wing.method} {machine(*wing.packages)}; load {os.getloadavg()[0]:.1f}. From `{wing.command}`."
        (folder / f"{wing.name}.md").write_text(page.markdown(summed, source) + "\n")
    wing.draw(parts, folder)
