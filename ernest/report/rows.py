"""Measured figures: the machine's own rate, and the file of one JSON line each, `row, value, bar, ok, threads, command`."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

ROWS = Path("bench/model.jsonl")
"""The file of the unified model's figures, in the folder of whatever was built."""


def matmul_rate(dtype: torch.dtype, size: int = 1024, seconds: float = 1.0) -> float:
    """FLOP/s of square products on one thread: the median of as many as fit into the time."""
    a = torch.randn(size, size).to(dtype)
    times = []
    begun = time.perf_counter()
    while len(times) < 5 or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        torch.mm(a, a)
        times.append(time.perf_counter() - start)
    return 2 * size**3 / median(times)


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Adds rows to the file; rows that the same commands left before go. Written aside, then renamed."""
    commands = {row["command"] for row in rows}
    before = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    kept = [row for row in before if row["command"] not in commands]
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text("".join(json.dumps(row) + "\n" for row in [*kept, *rows]))
    os.replace(aside, path)
