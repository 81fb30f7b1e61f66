"""Measures this machine in the terms of a plan: what products, memory and links reach in steps of training. About a minute.

A step of F operations that moves M bytes takes F / rate + M / bandwidth. Both rates are fitted to steps of reference networks
of three sizes, on text, in one process of one thread; a plan for another network is then a forecast.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.distributed as dist

from ernest.checkpoint import tokenizer_spec
from ernest.config.recipe import Recipe, load_recipe
from ernest.data.collate import collate
from ernest.data.examples import EncodedSegment, Example
from ernest.data.layout import lay_out_example
from ernest.device import count_processors, peak_memory, set_threads, supports_bf16
from ernest.lcnet.training.memory import memory_limit
from ernest.model.network import Ernest
from ernest.planner.devices import Device
from ernest.planner.layout import Layout
from ernest.planner.plan import plan
from ernest.tokenizers.text import TextTokenizer
from ernest.training.distributed import process_group
from ernest.training.launch import launch, worker
from ernest.training.loss import LossBalancer
from ernest.training.optimizer import make_optimizer
from ernest.training.schedule import schedule_values
from ernest.training.step import StepState, step
from ernest.training.tokenizers import check_network

SIZES = (5, 8, 12)
"""Of the reference networks: a small one waits for memory, a large one for products."""
ROWS, DOCUMENTS = 8, 7
"""Rows of a step, and documents of a row."""
WORDS = "a red seven left"
"""Of each document: 32 positions with its ends, where a character is two bytes."""
STEPS = 3
LINK_BYTES = 1 << 25


def measure_device(note: Callable[[str], None]) -> Device:
    """One of this machine's processors, as training reaches it; `note` is told of each measurement."""
    bf16 = supports_bf16()
    rows = []
    for size in SIZES:
        recipe = reference(size)
        seconds, document = time_step(recipe, bf16)
        needs = plan(recipe, Layout(), Device(1.0, 1.0, 1.0, 1.0, True, bf16), document)
        note(f"a step of size {size}: {seconds:.3f} s, {needs.flops / 1e9:.1f} Gflop, {needs.moved / 1e6:.0f} MB")
        rows.append((needs.flops / seconds, needs.moved / seconds))
    rate, bandwidth = fit_rates(np.array(rows))
    link, process = time_link()
    note(f"sums of two processes: {link / 1e9:.2f} GB/s; a process holds {process / 1e6:.0f} MB before its network")
    return Device(memory_limit() / count_processors(), rate, bandwidth, link, True, bf16, process)


def reference(size: int) -> Recipe:
    """A recipe of which one step is timed."""
    return load_recipe(None, [f"size={size}", f"sequence.rows={ROWS}", f"tokenizers.vocabulary={TextTokenizer().vocab_size}"])


def fit_rates(work: np.ndarray) -> tuple[float, float]:
    """Rate and bandwidth from `work` `[references, 2]`, operations and bytes of a second: 1 = F / rate + M / bandwidth.

    Where the best fit gives one of them no time at all, the other takes all of it.
    """
    inverse = np.linalg.lstsq(work, np.ones(len(work)), rcond=None)[0]
    if (inverse <= 0).any():
        inverse = np.where(inverse == inverse.max(), 1 / work.mean(axis=0), 1e-18)
    return float(1 / inverse[0]), float(1 / inverse[1])


def time_step(recipe: Recipe, bf16: bool) -> tuple[float, int]:
    """The median seconds of a step on rows of text, and the positions of a document."""
    tokenizers = check_network(recipe, TextTokenizer())
    text = Example((EncodedSegment("text", WORDS, True),), "text")
    document = lay_out_example(text, tokenizers, tokenizers.text.encode)
    batch = collate([[document] * DOCUMENTS] * ROWS, recipe.sequence.length, tokenizers)
    torch.manual_seed(0)
    model = Ernest(recipe.model, tokenizer_spec(tokenizers)).train()
    config = recipe.training
    state = StepState(make_optimizer(model, config), LossBalancer({}), config.clip, bf16)
    times = []
    for number in range(2 + STEPS):
        start = time.perf_counter()
        step(model, batch, None, state, schedule_values(number, config))
        times.append(time.perf_counter() - start)
    return median(times[2:]), len(document.layout)


def time_link() -> tuple[float, int]:
    """Bytes per second that each of two processes sends while they sum, and the bytes that a process holds at its start."""
    with tempfile.TemporaryDirectory(prefix="ernest-") as folder:
        told = Path(folder) / "link"
        launch("ernest.training.calibrate", [str(told)], 2)
        link, process = told.read_text().split()
    return float(link), int(process)


def main(out: Path) -> None:
    """One of the two processes."""
    set_threads(1)
    with process_group() as (rank, world):
        check_network(Recipe(), TextTokenizer())
        process = peak_memory()
        numbers = torch.ones(LINK_BYTES // 4)
        times = []
        for _ in range(8):
            start = time.perf_counter()
            dist.all_reduce(numbers)
            times.append(time.perf_counter() - start)
        if rank == 0:
            sent = 2 * (world - 1) / world * LINK_BYTES
            out.write_text(f"{sent / median(times[1:])} {process}")


if __name__ == "__main__":
    with worker():
        main(Path(sys.argv[1]))
