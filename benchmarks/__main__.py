"""`python -m benchmarks`: training speed, beside the machine's own rate; rows go to build/bench/model.jsonl."""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.throughput import ARRANGEMENTS, Arrangement, machine, measure
from ernest.config.recipe import load_recipe
from ernest.device import matmul_rate
from ernest.model.cost import training_flops
from ernest.report.rows import write_rows
from ernest.tokenizers.precision import half_precision

BARS = {Arrangement(1, 1): 3000.0, Arrangement(2, 1): 6000.0, Arrangement(1, 2): None}
COMMAND = "python -m benchmarks"


def main() -> None:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="interleaved repetitions of every arrangement")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for the processes that are started: waiting threads sleep
    console = Console()
    recipe = load_recipe()
    cost = training_flops(recipe.model, recipe.sequence.length)
    rates = {str(dtype).removeprefix("torch."): matmul_rate(dtype) for dtype in (torch.float32, torch.bfloat16)}
    used = rates["bfloat16" if half_precision() else "float32"]
    console.print(machine())
    console.print("products on one thread:", ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in rates.items()))
    console.print(f"training: {cost / 1e6:.1f} MFLOP per position in rows of {recipe.sequence.length}")

    with tempfile.TemporaryDirectory() as folder, console.status("preparing") as status:
        speeds = measure(Path(folder), rounds, status.update)

    table = Table("arrangement", "positions / s", "bar", "GFLOP / s", "share of products", "positions / CPU s")
    rows: list[dict[str, Any]] = []
    for arrangement in ARRANGEMENTS:
        speed, bar = speeds[arrangement].wall, BARS[arrangement]
        threads = arrangement.processes * arrangement.threads
        share = speed * cost / (used * threads)
        table.add_row(
            str(arrangement),
            f"{speed:,.0f}",
            f"{bar:,.0f}" if bar else "",
            f"{speed * cost / 1e9:.0f}",
            f"{share:.1%}",
            f"{speeds[arrangement].cpu:,.0f}",
        )
        rows += [row(f"speed: positions per second, {arrangement}", speed, bar, threads)]
        rows += [row(f"speed: positions per CPU second, {arrangement}", speeds[arrangement].cpu, None, threads)]
        rows += [row(f"speed: share of the product rate, {arrangement}", share, None, threads)]
    rows += [row(f"machine: {name} products, FLOP/s", rate, None, 1) for name, rate in rates.items()]
    console.print(table)
    write_rows(rows)


def row(name: str, value: float, bar: float | None, threads: int) -> dict[str, Any]:
    return {"row": name, "value": value, "bar": bar, "ok": bar is None or value >= bar, "threads": threads, "command": COMMAND}


if __name__ == "__main__":
    main()
