"""Facts of a run for its report: seed, machine, versions, parameters, positions trained on, speed."""

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

import torch

import ernest
from ernest.config.recipe import Recipe
from ernest.device import matmul_rate, supports_bf16, threads
from ernest.model.cost import active_parameters, total_parameters, training_flops
from ernest.model.network import Ernest


def facts_of(model: Ernest, recipe: Recipe, metrics: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """By name, in the order to be read."""
    config, spec = model.config, model.spec
    steady = metrics[len(metrics) // 10 :]
    speed = median(line["positions"] / line["seconds"] for line in steady)
    lengths = [line.get("length", recipe.sequence.length) for line in steady]
    flops = median(training_flops(config, int(length)) for length in lengths)
    total, active = total_parameters(config, spec), active_parameters(config)
    dtype = torch.bfloat16 if supports_bf16() else torch.float32
    cores = os.cpu_count() or 1
    with threads(1):  # the rate of one core: that of several threads would count the cores twice
        share = speed * flops / (matmul_rate(dtype) * cores)
    positions = sum(line["positions"] for line in metrics)
    return {
        "seed": str(recipe.seed),
        "machine": f"{_processor()}, {cores} cores",
        "versions": f"Ernest {ernest.__version__}, PyTorch {version('torch')}, Python {platform.python_version()}",
        "parameters": f"{total / 1e6:.1f} million, {active / 1e6:.2f} million of the backbone active",
        "trained on": f"{positions / 1e6:.2f} million positions in {len(metrics):,} steps",
        "speed": f"{speed:,.0f} positions per second, {share:.0%} of the measured rate of products on {cores} threads",
    }


def _processor() -> str:
    """The processor's name as the system tells it."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
