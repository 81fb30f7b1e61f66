"""What `python -m benchmarks` measures: positions per second in training, beside the machine's own rate of products; where the
time of a step goes; training beside an earlier commit, and in several processes; plans beside runs; a layer of experts beside
others; a step and text beside transformers'; the codec of sounds against real time; an iteration of reinforcement learning."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.findings import Findings
from benchmarks.model import (
    codec,
    cold,
    decoding,
    decoding_sizes,
    earlier,
    experts_layer,
    meshes,
    peer,
    planner,
    rl_speed,
    scaling,
    step_table,
    transformers_race,
)
from benchmarks.model.throughput import ARRANGEMENTS, Arrangement, measure
from benchmarks.runner import Part, Wing
from benchmarks.tables import Figure, Table
from ernest.config.recipe import load_recipe
from ernest.device import matmul_rate, supports_bf16
from ernest.model.cost import training_flops

BARS = {Arrangement(1, 1): 3000.0, Arrangement(2, 1): 6000.0, Arrangement(1, 2): None}


def training(folder: Path, rounds: int, quick: bool, progress: Callable[[str], None]) -> Findings:
    recipe = load_recipe()
    cost = training_flops(recipe.model, recipe.sequence.length)
    rates = {str(dtype).removeprefix("torch."): matmul_rate(dtype) for dtype in (torch.float32, torch.bfloat16)}
    used = rates["bfloat16" if supports_bf16() else "float32"]
    with tempfile.TemporaryDirectory() as scratch:
        speeds = measure(Path(scratch), rounds, progress)
    figures, rows = [], []
    for arrangement in ARRANGEMENTS:
        speed, bar = speeds[arrangement], BARS[arrangement]
        threads = arrangement.processes * arrangement.threads
        share = speed.wall * cost / (used * threads)
        figures += [
            Figure(f"speed: positions per second, {arrangement}", speed.wall, bar, threads=threads),
            Figure(f"speed: positions per CPU second, {arrangement}", speed.cpu, threads=threads),
            Figure(f"speed: share of the product rate, {arrangement}", share, threads=threads),
        ]
        wanted = f"{bar:,.0f}" if bar else ""
        cells = f"{speed.wall:,.0f}", wanted, f"{speed.wall * cost / 1e9:.0f}", f"{share:.1%}", f"{speed.cpu:,.0f}"
        rows.append((str(arrangement), *cells))
    alone, both = (speeds[Arrangement(processes, 1)] for processes in (1, 2))
    figures += [
        Figure("speed: two processes ÷ one, one thread each", both.wall / alone.wall, 1.8, threads=2),
        Figure("speed: two processes ÷ one, positions per CPU second", both.cpu / alone.cpu, threads=2),
    ]
    figures += [Figure(f"machine: {name} products, FLOP/s", rate) for name, rate in rates.items()]
    header = ("arrangement", "positions / s", "bar", "GFLOP / s", "share of products", "positions / CPU s")
    spoken = ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in rates.items())
    note = f"Products on one thread: {spoken}; training: {cost / 1e6:.1f} MFLOP per position in rows of {recipe.sequence.length}."
    return Findings(tuple(figures), (Table("Training", header, tuple(rows), note),))


WING = Wing(
    name="model",
    command="python -m benchmarks",
    parts={
        "training": Part(training),
        "step": Part(step_table.measure),
        "earlier": Part(earlier.measure, quick=False),
        "experts": Part(experts_layer.measure),
        "decoding": Part(decoding.measure),
        "meshes": Part(meshes.measure, quick=False),
        "scaling": Part(scaling.measure, quick=False),
        "peer": Part(peer.measure, quick=False),
        "sizes": Part(decoding_sizes.measure),
        "cold": Part(cold.measure),
        "planner": Part(planner.measure, quick=False),
        "codec": Part(codec.measure),
        "rl": Part(rl_speed.measure, quick=False),
        "transformers": Part(transformers_race.measure, quick=False),
    },
    packages=("torch", "numpy"),
    method="Medians over interleaved rounds; bars of speed are for the machine of the page.",
    own_blocks=("scaling", "planner"),
)
