"""Measures this machine in the terms of a plan, by short trainings of three small networks on the world's records.

A step of F operations, E of them of experts in widths that kernels do not take, that moves M bytes takes
t = (F + (odd - 1) E) / rate + M / bandwidth + fixed; beside another process, to which it sends B bytes, crowd t + B / link. A
process that keeps A bytes of activations, and as many as are planned for weights, gradients, moments and buffers, holds
these + slack A + process. What the trainings measured is fitted by all three; a plan for another network is then a forecast.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from ernest.config.recipe import Recipe, load_recipe, to_tree
from ernest.data.examples import encode
from ernest.data.store import ExampleStore
from ernest.device import count_processors, memory_limit, supports_bf16
from ernest.planner.check import Measured, compare, read_run
from ernest.planner.devices import Device
from ernest.planner.plan import Plan
from ernest.tokenizers.text import TextTokenizer
from ernest.training.launch import launch
from ernest.training.tokenizers import check_network
from ernest.world.world import TASKS, records_of_tasks

REFERENCES = (
    (8, 64, 2, 1),
    (12, 104, 8, 2),
    (12, 96, 8, 1),
    (8, 64, 12, 1),
    (12, 96, 2, 2),
    (12, 104, 8, 1),
    (8, 64, 12, 2),
    (12, 96, 2, 1),
)
"""Size, width of an expert, rows and processes of each training. Few rows show what a step takes whatever its rows and what
parameters take, many show products; kernels for processors do not take experts 104 wide. In turns, since machines drift."""
STEPS = 9
SHORT = f"training.steps={STEPS}", f"training.save_every={STEPS}", "training.show_every=0", "training.warmup=2"
"""What a short training takes otherwise than its recipe."""
RECORDS = 40
"""Records of each task that the trainings draw from."""


def measure_device(note: Callable[[str], None]) -> Device:
    """One of this machine's processors, as training reaches it; `note` is told of each measurement."""
    told = []
    with tempfile.TemporaryDirectory(prefix="ernest-") as folder:
        prepare(Path(folder))
        for size, width, rows, processes in REFERENCES:
            run = train_reference(Path(folder), size, width, rows, processes)
            note(
                f"size {size}, experts of {width}, {rows} rows, {processes} process{'es' * (processes > 1)}: "
                f"{run.seconds:.3f} s a step, {run.memory / 1e6:.0f} MB"
            )
            told.append(run)
    return fit_device(told, memory_limit() / count_processors(), supports_bf16())


def fit_device(runs: Sequence[Measured], memory: float, bf16: bool) -> Device:
    """The device whose plans are nearest to what trainings of one process and of two measured."""
    blank = Device(memory, 1.0, 1.0, 1.0, keeps_shares=True, bf16=bf16)
    alone, beside = ([run for run in runs if run.processes == count] for count in (1, 2))
    rate, bandwidth, fixed, odd = fit_time(alone, blank)
    process, slack = fit_memory(alone, blank)
    device = replace(blank, rate=rate, bandwidth=bandwidth, process=process, slack=slack, fixed=fixed, odd=odd)
    crowd, link = fit_crowd(beside, device)
    return replace(device, crowd=crowd, link=link)


def prepare(folder: Path) -> None:
    """Records of every task, and untrained tokenizers of their sizes."""
    records = records_of_tasks(TASKS, 0, range(RECORDS))
    words = [segment.data for record in records for segment in record.segments if segment.kind == "text"]
    text = TextTokenizer.train(words, Recipe().tokenizers.vocabulary)
    torch.manual_seed(0)
    tokenizers = check_network(Recipe(), text)
    tokenizers.save(folder / "tokenizers")
    ExampleStore.write(folder / "examples" / "all", encode(records, tokenizers))


def train_reference(folder: Path, size: int, width: int, rows: int, processes: int) -> Measured:
    """What a training of `STEPS` steps measures, which leaves nothing behind; `width` is that of an expert."""
    run = folder / f"{size}-{width}-{rows}-{processes}"
    run.mkdir()
    for name in ("tokenizers", "examples"):
        (run / name).symlink_to(folder / name)
    sizes = f"size={size}", f"model.expert_width={width}", f"sequence.rows={rows}", f"parallel.replicate={processes}"
    recipe = load_recipe(None, [*sizes, *SHORT])
    (run / "recipe.json").write_text(json.dumps(to_tree(recipe)))
    launch("ernest.training.pretrain", [str(run)], processes)
    measured = read_run(run)
    shutil.rmtree(run)  # its last state is of a gigabyte
    return measured


def fit_time(runs: Sequence[Measured], device: Device) -> tuple[float, float, float, float]:
    """The rate of products, the bandwidth of memory, the fixed time of a step, and how many times as long experts of odd widths
    take, nearest to the seconds of runs of one process, as shares of those. No term is negative."""
    plans = [_planned(run, device) for run in runs]
    of_flop, of_byte, fixed, of_odd = _fit_seconds(runs, [(one.flops, one.moved, 1.0, one.odd_flops) for one in plans])
    rate = 1 / max(of_flop, 1e-18)
    return rate, 1 / max(of_byte, 1e-18), fixed, 1 + of_odd * rate


def fit_crowd(runs: Sequence[Measured], device: Device) -> tuple[float, float]:
    """How many times as long all but the link takes two processes as each alone, and the bandwidth of the link, with what they
    wait for each other. `device` is as one process alone found it."""
    plans = [_planned(run, replace(device, crowd=1.0)) for run in runs]
    crowd, of_byte = _fit_seconds(runs, [(one.compute_seconds + one.memory_seconds, one.sent) for one in plans])
    return max(crowd, 1e-18), 1 / max(of_byte, 1e-18)


def fit_memory(runs: Sequence[Measured], device: Device) -> tuple[float, float]:
    """Bytes of a process without its network, and bytes held for each byte of activations, nearest to the runs' memory."""
    plans = [_planned(run, replace(device, process=0.0, slack=1.0)) for run in runs]
    rest = np.array([run.memory - one.peak + one.activations for one, run in zip(plans, runs, strict=True)])
    ones = np.ones(len(runs))
    process, slack = fit_positive(np.stack([ones, [one.activations for one in plans]], axis=1) / rest[:, None])
    return process, slack


def _planned(run: Measured, device: Device) -> Plan:
    return compare(run, device)[0]


def _fit_seconds(runs: Sequence[Measured], terms: Sequence[tuple[float, ...]]) -> list[float]:
    return fit_positive(np.array(terms) / np.array([run.seconds for run in runs])[:, None])


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
