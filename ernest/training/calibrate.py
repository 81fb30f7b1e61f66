"""Measures this machine in the terms of a plan, by short trainings of four small networks on the world's records.

A step of F operations that moves M bytes, of P positions through L layers, takes F / rate + M / bandwidth + P L overhead. A
process that keeps A bytes of activations, and as many as are planned for weights, gradients, moments and buffers, holds
these + slack A + process. What the trainings measured is fitted by both; a plan for another network is then a forecast.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.distributed as dist

from ernest.config.recipe import Recipe, load_recipe, to_tree
from ernest.data.examples import encode
from ernest.data.store import ExampleStore
from ernest.device import count_processors, memory_limit, set_threads, supports_bf16
from ernest.planner.check import Measured, read_run
from ernest.planner.devices import Device
from ernest.planner.layout import Layout
from ernest.planner.plan import Plan, plan
from ernest.tokenizers.text import TextTokenizer
from ernest.training.distributed import process_group
from ernest.training.launch import launch, worker
from ernest.training.tokenizers import check_network
from ernest.world.world import TASKS, records_of_tasks

REFERENCES = ((5, 8), (8, 4), (8, 12), (11, 8))
"""Size and rows of each network: positions, layers, operations and bytes change, and not all in step."""
STEPS = 9
SHORT = f"training.steps={STEPS}", f"training.save_every={STEPS}", "training.show_every=0", "training.warmup=2"
"""What a short training takes otherwise than its recipe."""
RECORDS = 40
"""Of each task."""
LINK_BYTES = 1 << 25


def measure_device(note: Callable[[str], None]) -> Device:
    """One of this machine's processors, as training reaches it; `note` is told of each measurement."""
    link = time_link()
    note(f"sums of two processes: {link / 1e9:.2f} GB/s")
    told = []
    with tempfile.TemporaryDirectory(prefix="ernest-") as folder:
        prepare(Path(folder))
        for size, rows in REFERENCES:
            run = train_reference(Path(folder), size, rows)
            note(f"size {size}, {rows} rows: {run.seconds:.3f} s a step, {run.memory / 1e6:.0f} MB")
            told.append(run)
    blank = Device(1.0, 1.0, 1.0, link, keeps_shares=True, bf16=supports_bf16())
    plans = [plan(run.recipe, Layout(), blank, run.document) for run in told]
    rate, bandwidth, pace = fit_time(plans, told)
    process, slack = fit_memory(plans, told)
    memory = memory_limit() / count_processors()
    return Device(memory, rate, bandwidth, link, True, blank.bf16, process, slack, pace)


def prepare(folder: Path) -> None:
    """Records of every task, and untrained tokenizers of their sizes."""
    records = records_of_tasks(TASKS, 0, range(RECORDS))
    words = [segment.data for record in records for segment in record.segments if segment.kind == "text"]
    text = TextTokenizer.train(words, Recipe().tokenizers.vocabulary)
    torch.manual_seed(0)
    tokenizers = check_network(Recipe(), text)
    tokenizers.save(folder / "tokenizers")
    ExampleStore.write(folder / "examples" / "all", encode(records, tokenizers))


def train_reference(folder: Path, size: int, rows: int) -> Measured:
    """What a training of `STEPS` steps in one process measures."""
    run = folder / f"{size}-{rows}"
    run.mkdir()
    for name in ("tokenizers", "examples"):
        (run / name).symlink_to(folder / name)
    recipe = load_recipe(None, [f"size={size}", f"sequence.rows={rows}", "parallel.replicate=1", *SHORT])
    (run / "recipe.json").write_text(json.dumps(to_tree(recipe)))
    launch("ernest.training.pretrain", [str(run)], 1)
    return read_run(run)


def fit_time(plans: list[Plan], runs: list[Measured]) -> tuple[float, float, float]:
    """The rate of products, the bandwidth of memory and the overhead of a position in a layer, none of them negative, whose sums
    are nearest to the seconds of the runs, as shares of those."""
    seconds = np.array([run.seconds for run in runs])
    work = np.array(
        [(one.flops, one.moved, one.positions * run.recipe.model.layers) for one, run in zip(plans, runs, strict=True)]
    )
    of_flop, of_byte, overhead = fit_positive(work / seconds[:, None])
    return 1 / max(of_flop, 1e-18), 1 / max(of_byte, 1e-18), overhead


def fit_memory(plans: list[Plan], runs: list[Measured]) -> tuple[float, float]:
    """Bytes of a process without its network, and bytes held for each byte of activations, nearest to the runs' memory."""
    rest = np.array([run.memory - one.peak + one.activations for one, run in zip(plans, runs, strict=True)])
    ones = np.ones(len(runs))
    process, slack = fit_positive(np.stack([ones, [one.activations for one in plans]], axis=1) / rest[:, None])
    return process, slack


def fit_positive(shares: np.ndarray) -> list[float]:
    """The x >= 0 for which `shares` x is nearest to 1 `[runs, terms]`: the best of the least squares over every set of terms."""
    best, least = np.zeros(shares.shape[1]), np.inf
    for count in range(1, shares.shape[1] + 1):
        for terms in map(list, combinations(range(shares.shape[1]), count)):
            some = np.linalg.lstsq(shares[:, terms], np.ones(len(shares)), rcond=None)[0]
            error = float(((shares[:, terms] @ some - 1) ** 2).sum())
            if (some >= 0).all() and error < least:
                best = np.zeros(shares.shape[1])
                best[terms], least = some, error
    return best.tolist()


def time_link() -> float:
    """Bytes per second that each of two processes sends while they sum."""
    with tempfile.TemporaryDirectory(prefix="ernest-") as folder:
        told = Path(folder) / "link"
        launch("ernest.training.calibrate", [str(told)], 2)
        return float(told.read_text())


def main(out: Path) -> None:
    """One of the two processes."""
    set_threads(1)
    with process_group() as (rank, world):
        numbers = torch.ones(LINK_BYTES // 4)
        times = []
        for _ in range(8):
            start = time.perf_counter()
            dist.all_reduce(numbers)
            times.append(time.perf_counter() - start)
        if rank == 0:
            out.write_text(str(2 * (world - 1) / world * LINK_BYTES / median(times[1:])))


if __name__ == "__main__":
    with worker():
        main(Path(sys.argv[1]))
