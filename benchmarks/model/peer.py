"""A training step of ours against that of a mixture-of-experts decoder of Hugging Face transformers, of the same shape.

`python -m benchmarks.model.peer PACKAGES` is the process that trains the other one: Qwen3-MoE, whose blocks are ours (grouped
queries, norms of queries and keys, SwiGLU experts behind a router), in all forms of its experts, and of attention with the best.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.findings import Findings
from benchmarks.model.throughput import ROWS, prepare, read_speed
from benchmarks.tables import Figure, Table
from ernest.config.recipe import load_recipe
from ernest.config.tables import ModelConfig
from ernest.device import ALLOCATOR, autocast, supports_bf16
from ernest.training.launch import launch

PACKAGES, HOME = Path(__file__).with_name("peers.txt"), Path("build/peers/transformers")
ATTENTION, EXPERTS = ("sdpa", "eager"), ("grouped_mm", "eager", "batched_mm")
WARM, STEPS, HOPELESS = 1, 2, 2.0
"""Steps of each form before the clock, and by it; what takes so many times as long as the best so far has no more than one."""
VOCABULARY = 700


def measure(folder: Path, rounds: int, quick: bool, progress: Callable[[str], None]) -> Findings:
    """Positions per second of the processor, ours as the network is trained and theirs in its best form and type."""
    del folder, quick
    trouble = install()
    if trouble:
        return Findings(notes=(f"transformers is not there: {trouble}",))
    environment = os.environ | ALLOCATOR | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        prepare(Path(scratch))
        ours, theirs = [], []
        for turn in range(rounds):
            progress(f"round {turn + 1} of {rounds}: transformers")
            command = [sys.executable, "-m", "benchmarks.model.peer", str(HOME.resolve())]
            told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if told.returncode:
                return Findings(notes=(f"transformers is not there: {told.stderr.strip().splitlines()[-1]}",))
            theirs.append(json.loads(told.stdout.splitlines()[-1]))
            progress(f"round {turn + 1} of {rounds}: ours")
            run = Path(scratch) / str(turn)
            launch("benchmarks.model.throughput", [scratch, str(run), "1"], 1)
            ours.append(read_speed(run, 1).cpu)
    ratio = median(mine / max(forms["speeds"].values()) for mine, forms in zip(ours, theirs, strict=True))
    rows = [("ours", f"{median(ours):,.0f}")]
    rows += [(f"theirs, {name}", f"{median(forms['speeds'][name] for forms in theirs):,.0f}") for name in theirs[0]["speeds"]]
    note = f"Positions per second of one processor, {ROWS} rows of {load_recipe().sequence.length}; theirs are of text alone. "
    note += f"transformers {theirs[0]['version']}."
    table = Table("A step of training, ours and transformers'", ("network", "positions / CPU s"), tuple(rows), note)
    return Findings((Figure("peer: ours ÷ transformers, positions per second", ratio, 2.5),), (table,))


def install() -> str:
    """The packages of peers.txt beside the other build products, where they are not there; says why where that cannot be."""
    mark = HOME / "installed.txt"
    if find_spec("transformers") or (mark.exists() and mark.read_text() == PACKAGES.read_text()):
        return ""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", str(HOME)]
    told = subprocess.run([*command, "--requirement", str(PACKAGES)], capture_output=True, text=True, check=False)
    if told.returncode:
        return (told.stderr.strip().splitlines() or ["pip failed"])[-1]
    mark.write_text(PACKAGES.read_text())
    return ""


# ----------------------------------------------------------------------------------------- in the process of its own


def decoder(config: ModelConfig, attention: str, experts: str) -> Any:
    """Of our shape: no dense layer, no loss of balance."""
    transformers: Any = import_module("transformers")
    shape = transformers.Qwen3MoeConfig(
        vocab_size=VOCABULARY,
        hidden_size=config.width,
        intermediate_size=config.expert_width,
        moe_intermediate_size=config.expert_width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        head_dim=config.head_dim,
        num_experts=config.experts,
        num_experts_per_tok=config.top_k,
        norm_topk_prob=True,
        decoder_sparse_step=1,
        mlp_only_layers=[],
        use_cache=False,
        attn_implementation=attention,
        experts_implementation=experts,
    )
    torch.manual_seed(0)
    return transformers.Qwen3MoeForCausalLM(shape).train()


def seconds(network: Any, narrow: bool, length: int) -> Iterator[float]:
    """Of the processor, step by step: forward, backward, the norm clipped, AdamW, as ours."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, betas=(0.9, 0.95), fused=True)
    tokens = torch.randint(0, VOCABULARY, (ROWS, length), generator=torch.Generator().manual_seed(0))
    while True:
        begun = time.process_time()
        with autocast("cpu", narrow):
            loss = network(input_ids=tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield time.process_time() - begun


def main(packages: str) -> None:
    sys.path.append(packages)
    torch.set_num_threads(1)
    recipe, found = load_recipe(), dict[tuple[str, str, str], float]()
    types = {"float32": False} | ({"bfloat16": True} if supports_bf16() else {})
    for attention in ATTENTION:
        best = max(found, key=found.__getitem__) if found else None
        for experts in EXPERTS if best is None else best[1:2]:
            for name in types if best is None else best[2:]:
                steps = seconds(decoder(recipe.model, attention, experts), types[name], recipe.sequence.length)
                spent, least = [next(steps)], ROWS * recipe.sequence.length / max(found.values(), default=1e-9)
                if spent[0] < HOPELESS * least:
                    spent = [next(steps) for _ in range(WARM + STEPS - 1)][WARM - 1 :]
                found[attention, experts, name] = ROWS * recipe.sequence.length / median(spent)
                print(f"{attention}, {experts}, {name}: {found[attention, experts, name]:.0f}", file=sys.stderr)
    print(json.dumps({"version": version("transformers"), "speeds": {", ".join(form): speed for form, speed in found.items()}}))


if __name__ == "__main__":
    main(sys.argv[1])
