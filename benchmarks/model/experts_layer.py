"""A layer of experts against a dense layer of the same operations, a loop over experts, and PyTorch's grouped product.

`python -m benchmarks.model.experts_layer ROUNDS` is the process that measures: one whose allocator keeps memory, as training's
does. Elsewhere fetching fresh pages for the matrices' gradients takes a quarter of the time.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.findings import Findings
from benchmarks.tables import Figure, Table
from ernest.device import ALLOCATOR, autocast, supports_bf16
from ernest.model.experts import Experts

TOKENS, WIDTH, HIDDEN, TOP_K = 4096, 256, 128, 4
Layer = Callable[[Tensor], Tensor]


def seconds(layer: Layer, narrow: bool) -> float:
    """Of the processor, forward and backward."""
    x = torch.randn(TOKENS, WIDTH, generator=torch.Generator().manual_seed(0)).requires_grad_()
    begun = time.process_time()
    with autocast("cpu", narrow):
        y = layer(x)
    y.float().sum().backward()
    return time.process_time() - begun


def layers(experts: int) -> dict[str, Layer]:
    """Each takes the same tokens through `TOP_K` experts each; the dense layer has `TOP_K` times the width."""
    torch.manual_seed(0)
    pool = Experts(WIDTH, experts, HIDDEN, TOP_K)
    for matrix in (pool.w_gate_up, pool.w_down):
        torch.nn.init.normal_(matrix, std=WIDTH**-0.5)
    dense = torch.nn.Linear(WIDTH, 2 * TOP_K * HIDDEN, bias=False), torch.nn.Linear(TOP_K * HIDDEN, WIDTH, bias=False)

    def swiglu(x: Tensor) -> Tensor:
        gate, up = x.chunk(2, dim=-1)
        return F.silu(gate) * up

    def loop(x: Tensor) -> Tensor:
        gate, chosen = pool.router(x)
        y = torch.zeros_like(x)
        for expert, (w_in, w_out) in enumerate(zip(pool.w_gate_up.unbind(0), pool.w_down.unbind(0), strict=True)):
            token, slot = (chosen == expert).nonzero(as_tuple=True)
            out = swiglu(x[token] @ w_in) @ w_out
            y = y.index_add(0, token, (out * gate[token, slot, None]).to(y.dtype))
        return y

    def grouped(x: Tensor) -> Tensor:
        gate, chosen = pool.router(x)
        order = chosen.flatten().argsort()
        ends = torch.bincount(chosen.flatten(), minlength=experts).cumsum(0).to(torch.int32)
        dtype = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32
        rows = x[order // TOP_K].to(dtype)
        hidden = swiglu(F.grouped_mm(rows, pool.w_gate_up.to(dtype), offs=ends))
        out = F.grouped_mm(hidden, pool.w_down.to(dtype), offs=ends) * gate.flatten()[order, None]
        return torch.zeros_like(x).index_add(0, order // TOP_K, out.to(x.dtype))

    return {
        "ours": lambda x: pool(x)[0],
        "dense": lambda x: dense[1](swiglu(dense[0](x))),
        "loop over experts": loop,
        "grouped_mm": grouped,
    }


def times(experts: int, narrow: bool, rounds: int) -> dict[str, list[float]]:
    """Seconds of each kind of layer, round by round; the first, which prepares kernels, is left out."""
    found: dict[str, list[float]] = {}
    for turn in range(rounds + 1):
        for kind, layer in layers(experts).items():
            found.setdefault(kind, []).extend([seconds(layer, narrow)] if turn else [])
    return found


def measure(folder: Path, rounds: int, quick: bool, progress: Callable[[str], None]) -> Findings:
    del folder
    progress("64 and 128 experts")
    command = [sys.executable, "-m", "benchmarks.model.experts_layer", str(1 if quick else 3 * rounds)]
    told = subprocess.run(command, env=os.environ | ALLOCATOR, capture_output=True, text=True, check=True)
    figures, rows = [], []
    for experts, name, found in json.loads(told.stdout):
        ratio = {kind: median(t / o for t, o in zip(spent, found["ours"], strict=True)) for kind, spent in found.items()}
        bars = {"dense": 0.8, "loop over experts": 2.0, "grouped_mm": 1.0}
        figures += [Figure(f"experts: {kind} ÷ ours, {experts}, {name}", ratio[kind], bar) for kind, bar in bars.items()]
        rows.append((f"{experts}, {name}", *(f"{1e3 * median(spent):.1f}" for spent in found.values())))
    note = f"Milliseconds, forward and backward: {TOKENS:,} positions, width {WIDTH}, top-{TOP_K}, hidden {HIDDEN}; one thread."
    header = ("experts", "ours", "dense of the same operations", "loop over experts", "grouped_mm")
    return Findings(tuple(figures), (Table("A layer of experts", header, tuple(rows), note),))


if __name__ == "__main__":
    torch.set_num_threads(1)
    types = {"float32": False} | ({"bfloat16": True} if supports_bf16() else {})
    print(json.dumps([(size, name, times(size, types[name], int(sys.argv[1]))) for size in (64, 128) for name in types]))
