"""Where the time of a training step goes: the operations of the real loop at the demo's size, by what they are for."""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.findings import Findings
from benchmarks.model.throughput import prepare, recipe
from benchmarks.tables import Figure, Table
from ernest.data.store import ExampleStore
from ernest.device import supports_bf16
from ernest.tokenizers.bundle import Tokenizers
from ernest.training import loop, makers

WARM, COUNTED = 6, 6
"""Steps before the profile, and in it."""

ENCLOSING = (
    ("rows and batches", ("ernest::plan", "ernest::collate")),
    ("attention within documents", ("_AttendSpans", "scaled_dot_product", "softmax", "Softmax")),
    ("experts", ("ExpertsAtOnce", "BlockedExperts")),
    ("optimizer", ("Optimizer.step", "linalg_vector_norm", "_foreach_norm")),
    ("sums over processes", ("gloo:", "c10d::")),
    ("losses", ("cross_entropy", "nll_loss", "NllLoss", "BinaryCrossEntropy", "log_softmax", "LogSoftmax")),
    ("norms", ("_Normalise", "layer_norm", "LayerNorm")),
    ("routing, sorting and gathering", ("GatherBlocks", "SumChoices")),
)
"""What an operation is for, by the names of what it is called in, from within outwards; the first that fits."""
ALONE = (
    ("other products", ("aten::mm", "aten::addmm", "aten::bmm", "aten::mv", "aten::addmv", "convolution", "grouped_mm")),
    ("casts and copies", ("aten::copy_", "aten::_to_copy", "aten::cat", "aten::clone", "aten::contiguous", "aten::fill_")),
    ("routing, sorting and gathering", ("index", "scatter", "gather", "sort", "bincount", "embedding", "aten::max")),
    ("element-wise and sums", ("aten::add", "aten::mul", "aten::div", "aten::sum", "aten::sub", "silu", "gelu", "aten::mean")),
)
"""The same by an operation's own name, where nothing around it says."""
REST = "between operations"


def purpose(event: Any) -> str:
    """Which line of the table the time that an event spends itself belongs to."""
    around = event
    while around is not None:
        for name, marks in ENCLOSING:
            if any(mark in around.name for mark in marks):
                return name
        around = around.cpu_parent
    return next((name for name, marks in ALONE if any(mark in event.name for mark in marks)), REST)


def milliseconds(data: Path, narrow: bool) -> Counter[str]:
    """Of a step, by purpose."""
    base = recipe(1)
    training = replace(base.training, steps=WARM + COUNTED, bf16=narrow, save_every=WARM + COUNTED + 1)
    profiler = profile(activities=[ProfilerActivity.CPU])

    def on_step(step: int, *_: object) -> None:
        if step + 1 == WARM:
            profiler.start()
        if step + 1 == WARM + COUNTED:
            profiler.stop()

    store, tokenizers = ExampleStore(data / "examples"), Tokenizers.load(data / "tokenizers")
    with TemporaryDirectory() as run, ExitStack() as stack:
        stack.enter_context(patch.object(makers, "count_processors", lambda: 1))  # all in one thread
        for name in ("plan", "collate"):
            stack.enter_context(patch.object(makers, name, record_function(f"ernest::{name}")(getattr(makers, name))))
        loop.train(replace(base, training=training), store, tokenizers, Path(run), on_step=on_step)
    events = list(profiler.events() or [])
    spent = Counter[str]()
    for event in events:
        spent[purpose(event)] += event.self_cpu_time_total / 1e3 / COUNTED
    roots = [event for event in events if event.cpu_parent is None]
    whole = max(event.time_range.end for event in roots) - min(event.time_range.start for event in roots)
    spent[REST] += whole / 1e3 / COUNTED - sum(spent.values())
    return spent


def measure(folder: Path, rounds: int, quick: bool, progress: Callable[[str], None]) -> Findings:
    del folder, rounds, quick  # one round: shares change little from one to the next
    types = {"float32": False} | ({"bfloat16": True} if supports_bf16() else {})
    with TemporaryDirectory() as data:
        prepare(Path(data))
        spent = {}
        for name, narrow in types.items():
            progress(f"a step in {name}")
            spent[name] = milliseconds(Path(data), narrow)
    whole = {name: sum(parts.values()) for name, parts in spent.items()}
    purposes = sorted(set().union(*spent.values()), key=lambda part: -max(parts[part] for parts in spent.values()))
    figures = [
        Figure(f"step: share of {part}, {name}, %", 100 * spent[name][part] / whole[name]) for name in types for part in purposes
    ]
    rows = [(part, *(f"{spent[name][part] / whole[name]:.1%}" for name in types)) for part in purposes]
    sequence = recipe(1).sequence
    note = f"{sequence.rows} rows of {sequence.length} positions, one process of one thread, forward and backward."
    return Findings(tuple(figures), (Table("A step of training", ("what", *types), tuple(rows), note),))
