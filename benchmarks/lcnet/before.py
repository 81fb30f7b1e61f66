"""`python -m benchmarks.lcnet.before TREE`: this tree beside an older checkout, task by task, by processor time.

Each tree has a process of its own, on one thread, and they take turns; what counts is the median over rounds of the ratio of
neighbours, which other work on the machine disturbs least. Tasks: `ernest.lcnet.classify` on 10,000 tiny files, half PNG and half
JPEG of 32x32, by a network for small images and by x0.25 at 224x224; one epoch of training on them, from reading to scores, of
the same network and of x0.25 at 32x32, with the memory kept that the tree's command keeps; that epoch's steps alone, which are
PyTorch's arithmetic in both trees and the least that an epoch can take; and calls of the executor, by width and precision.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image
from rich.console import Console

from benchmarks import findings
from benchmarks.findings import Findings
from benchmarks.lcnet.before_worker import ALONE, CLASSES, EPOCHS, SIDE, TINY, WIDTHS
from benchmarks.lcnet.races import quantile, rotated
from benchmarks.machine import processor
from benchmarks.tables import Figure, Table, show

COMMAND = "python -m benchmarks.lcnet.before"
HERE = Path(__file__).resolve().parents[2]
PRECISIONS = ("fp32", "bf16", "int8")
TRAINING = ("epoch", ALONE)
LONG = ("classify", *TRAINING)


def write_tiny(folder: Path, count: int) -> None:
    """Smooth noise of ten hues, a folder for each."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8) // 2 + np.uint8(12 * (number % CLASSES))
        picture = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        path = folder / f"hue{number % CLASSES}" / f"{number}.{'png' if number // CLASSES % 2 else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, quality=90)


def race(trees: Sequence[Path], folder: Path, names: Sequence[str], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Of each task the seconds of both trees, round by round."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    with ExitStack() as stack:
        workers = [stack.enter_context(_start(tree, folder, names)) for tree in trees]
        for process in workers:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "ready", "a worker has ended: see above"
        for turn in range(rounds):
            for name in names:
                if turn % 4 and name.startswith(LONG):
                    continue  # long ones: a quarter of the rounds
                both = {index: _ask(workers[index], name) for index in rotated(range(2), turn)}
                taken[name].append((both[0], both[1]))
        for process in workers:
            assert process.stdin is not None
            process.stdin.close()
    return taken


def _start(tree: Path, folder: Path, names: Sequence[str]) -> "subprocess.Popen[str]":
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    environment = os.environ | limits | {"PYTHONPATH": str(tree.resolve())}
    program = HERE / "benchmarks/lcnet/before_worker.py"
    command = [sys.executable, "-P", "-W", "ignore", str(program), str(folder.resolve()), *names]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=tree)


def _ask(process: "subprocess.Popen[str]", name: str) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(name + "\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def summed_up(taken: dict[str, list[tuple[float, float]]]) -> Findings:
    figures, rows = [], []
    for name, pairs in taken.items():
        ratio = median(mine / theirs for mine, theirs in pairs)
        bar = None if name.startswith(ALONE) else 0.4 if name.startswith(LONG) else 1.03
        mine, theirs = (quantile([pair[index] for pair in pairs], 0.25) for index in (0, 1))
        figures.append(Figure(f"before: {name}, ÷ the older tree", ratio, bar, less=True))
        milliseconds = (f"{1e3 * one:.3g}" for one in (mine, theirs))
        met = "–" if bar is None else "yes" if ratio <= bar else "**no**"
        rows.append((name, *milliseconds, f"{ratio:.3f}", "–" if bar is None else f"{bar}", met))
    for name, least, whole in ((one, taken.get(f"{ALONE}: {one}"), taken.get(f"epoch: {one}")) for one in EPOCHS):
        if least and whole:
            floor = median(alone / theirs for (alone, _), (_, theirs) in zip(least, whole, strict=True))
            figures.append(Figure(f"before: epoch: {name}, its steps alone ÷ the older tree's epoch", floor, None, less=True))
            rows.append((f"{ALONE} here ÷ the epoch there: {name}", "", "", f"{floor:.3f}", "–", "–"))
    note = f"Processor time, one thread, the median over rounds of the ratio of neighbours. {processor()}."
    header = ("task", "ms here", "ms there", "ratio", "bar", "met")
    return Findings(tuple(figures), (Table("This tree ÷ an older one", header, tuple(rows), note),))


def main() -> None:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("tree", type=Path, help="the older checkout")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--count", type=int, default=10_000, help="tiny files")
    parser.add_argument("--only", action="append", help="tasks that begin so (may be given more than once)")
    parser.add_argument("--folder", type=Path, default=findings.FOLDER)
    given = parser.parse_args()
    names = [f"{kind}: {name}" for kind, some in (("classify", TINY), ("epoch", EPOCHS), (ALONE, EPOCHS)) for name in some]
    names += [f"{name}, {one}" for name in WIDTHS for one in PRECISIONS]
    names = [name for name in names if not given.only or name.startswith(tuple(given.only))]
    with tempfile.TemporaryDirectory() as tiny:
        write_tiny(Path(tiny), given.count)
        taken: dict[str, list[tuple[float, float]]] = {}
        for training in (False, True):  # apart: what keeps memory does so for its process as a whole
            some = [name for name in names if name.startswith(TRAINING) is training]
            taken |= race((HERE, given.tree), Path(tiny), some, given.rounds) if some else {}
        found = summed_up(taken)
    findings.write("lcnet", "before", found, COMMAND, given.folder)
    show(Console(width=140), "before", found.tables, found.figures)


if __name__ == "__main__":
    main()
