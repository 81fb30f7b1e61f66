"""What becomes of numbers when two processes train together: `python -m benchmarks --part meshes`.

How far the gradient of one step in bfloat16 is from that of one process in float64, by mesh, and how far losses part in ten
steps: from those of one process, beside what a change of its first weights by a millionth does. Their speed is told by `scaling`.
`python -m benchmarks.model.meshes FOLDER RUN REPLICATE SHARD EXPERT TENSOR` is one of the processes.
"""

import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.findings import Findings
from benchmarks.model.throughput import prepare
from benchmarks.tables import Figure, Table
from ernest.checkpoint import tokenizer_spec
from ernest.config.parallel import ParallelConfig
from ernest.config.recipe import Recipe, load_recipe
from ernest.data.collate import collate
from ernest.data.sampler import plan
from ernest.data.store import ExampleStore
from ernest.device import HOST, autocast, set_threads
from ernest.storage import read_log, save_tensors
from ernest.tokenizers.bundle import Tokenizers
from ernest.training import loop
from ernest.training.build import build_network
from ernest.training.distributed import process_group, sum_gradients, total
from ernest.training.launch import launch
from ernest.training.loss import LossBalancer, combine, loss_sums
from ernest.training.parts import Part, Place, read_parts, stored_shapes, write_parts
from ernest.training.sharding import parts_of

MESHES = {
    "one process": (1, 1, 1, 1),
    "replicate 2": (2, 1, 1, 1),
    "shard 2": (1, 2, 1, 1),
    "expert 2": (1, 1, 2, 1),
    "tensor 2": (1, 1, 1, 2),
}
NUDGED = "one process, other weights"
"""By a millionth, at the start."""
ROWS, STEPS = 4, 10
"""Of the runs whose losses are compared, over all processes."""
LOSSES = "text", "vision", "audio"


def recipe(parallel: ParallelConfig, rows: int, steps: int, narrow: bool = True) -> Recipe:
    base = load_recipe()
    training = replace(base.training, steps=steps, save_every=steps, show_every=0, warmup=5, bf16=narrow)
    return replace(base, sequence=replace(base.sequence, rows=rows), training=training, parallel=parallel)


def gradients(folder: Path, parallel: ParallelConfig, rank: int, world: int, dtype: torch.dtype) -> dict[str, Part]:
    """What this process holds of the gradient of a first step in bfloat16 or, in one process, in float64."""
    settings = recipe(parallel, ROWS, 1)
    store, tokenizers = ExampleStore(folder / "examples"), Tokenizers.load(folder / "tokenizers")
    torch.manual_seed(settings.seed)
    narrow, times = dtype == torch.bfloat16, parallel.tensor
    rows_of = rank // times, world // times
    model = build_network(settings.model, tokenizer_spec(tokenizers), parallel).to(None if narrow else dtype)
    rows = plan(store, settings.weights(store.tasks), tokenizers, settings.sequence, settings.seed, 0, *rows_of)
    batch = collate(rows, settings.sequence.length, tokenizers).to(HOST, torch.float32 if narrow else dtype)
    with autocast(HOST, narrow):
        sums, counts = loss_sums(model(batch), batch)
    (combine(sums, total(counts, times), LossBalancer({}), settings.training.mtp_weight) / times).backward()
    sum_gradients(model)
    return parts_of(model, [(name, weight.grad) for name, weight in model.named_parameters() if weight.grad is not None])


def main(folder: Path, run: Path, parallel: ParallelConfig) -> None:
    """One process of a mesh: `run` gets gradients/, bf16/ and fp32/."""
    set_threads(1)
    store, tokenizers = ExampleStore(folder / "examples"), Tokenizers.load(folder / "tokenizers")
    with process_group() as (rank, world):
        (run / "gradients").mkdir(exist_ok=True, parents=True)
        write_parts(run / "gradients" / f"{rank}.safetensors", gradients(folder, parallel, rank, world, torch.bfloat16))
        start = run / "start.safetensors"
        for name, narrow in (("bf16", True), ("fp32", False)):
            settings = recipe(parallel, ROWS, STEPS, narrow)
            loop.train(settings, store, tokenizers, run / name, rank, world, begin_with=start if start.is_file() else None)


def measure(folder: Path, rounds: int, quick: bool, progress: Callable[[str], None]) -> Findings:
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        prepare(scratch)
        exact = {name: part.own for name, part in gradients(scratch, ParallelConfig(), 0, 1, torch.float64).items()}
        runs = {name: scratch / name.replace(" ", "-") for name in (*MESHES, NUDGED)}
        runs[NUDGED].mkdir()
        save_tensors(runs[NUDGED] / "start.safetensors", nudged_weights(scratch))
        for mesh, run in runs.items():
            progress(mesh)
            sizes = MESHES.get(mesh, MESHES["one process"])
            launch("benchmarks.model.meshes", [str(scratch), str(run), *map(str, sizes)], int(np.prod(sizes)))
        return report(exact, runs)


def nudged_weights(folder: Path) -> dict[str, Tensor]:
    settings, tokenizers = recipe(ParallelConfig(), ROWS, 1), Tokenizers.load(folder / "tokenizers")
    torch.manual_seed(settings.seed)
    model = build_network(settings.model, tokenizer_spec(tokenizers), ParallelConfig())
    return {name: value * (1 + 1e-6 * torch.randn_like(value)) for name, value in model.state_dict().items()}


def report(exact: Mapping[str, Tensor], runs: Mapping[str, Path]) -> Findings:
    figures, rows = [], []
    for mesh, run in runs.items():
        errors = "", "", ""
        if mesh in MESHES:
            whole, experts, (worst, where) = gradient_errors(run / "gradients", exact)
            errors = f"{whole:.2e}", f"{experts:.2e}", f"{worst:.2e} ({where})"
            figures.append(Figure(f"meshes: error of the gradient in bfloat16, {mesh}", whole))
        apart = [losses_apart(run / kind, runs["one process"] / kind) for kind in ("bf16", "fp32")]
        rows.append((mesh, *errors, f"{apart[0]:.3f}", f"{apart[1]:.1e}"))
    table = Table(
        "Numbers of a mesh",
        ("mesh", "error of the gradient", "of the experts'", "of the worst tensor", "losses apart, bf16", "fp32"),
        tuple(rows),
        "Errors of the gradient of a first step in bfloat16 beside float64, relative. Losses: the most by which one of the last "
        f"three of {STEPS} steps parts from that of one process.",
    )
    return Findings(tuple(figures), (table,))


def gradient_errors(folder: Path, exact: Mapping[str, Tensor]) -> tuple[float, float, tuple[float, str]]:
    """Relative, of all gradients together, of the experts', and of the tensor where it is largest, with its name."""
    files = sorted(folder.iterdir())
    found = {name: torch.empty(shape, dtype=torch.float64) for name, shape in stored_shapes(files).items()}
    read_parts(files, {name: Part(value, Place.of_whole(value.shape)) for name, value in found.items()})
    square = lambda values: sum(float(value.square().sum()) for value in values)
    off = {name: found[name] - value for name, value in exact.items()}
    experts = [name for name in exact if ".moe.w_" in name]
    worst = max((float(off[name].norm() / value.norm().clamp_min(1e-12)), name) for name, value in exact.items())
    of_experts = (square(off[name] for name in experts) / square(exact[name] for name in experts)) ** 0.5
    return (square(off.values()) / square(exact.values())) ** 0.5, of_experts, worst


def losses_apart(run: Path, other: Path) -> float:
    one, two = (read_log(path / "metrics.jsonl")[-3:] for path in (run, other))
    return max(abs(a[name] - b[name]) for a, b in zip(one, two, strict=True) for name in LOSSES if name in a)


if __name__ == "__main__":
    folder, run, replicate, shard, expert, tensor = sys.argv[1:]
    main(Path(folder), Path(run), ParallelConfig(int(replicate), int(shard), int(expert), int(tensor)))
