"""Groups against single positions, sub-models against the whole, and how soon a picture begins: what a step costs, with random
networks."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

from benchmarks.findings import Findings
from benchmarks.model.decoding_worker import SENTENCES, Now
from benchmarks.tables import Figure, Table
from ernest.config.recipe import load_recipe
from ernest.generation.request import Request
from ernest.model.cache import Cache, Places
from ernest.model.cost import active_parameters
from ernest.model.decoding import CompiledBlocks, PlainBlocks, usable
from ernest.model.network import Ernest
from ernest.model.submodel import SubModel, full

SCALES = 1, 4, 16, 64, 256
"""Cells of the scales of a picture whose finest has 16 x 16."""
CUTS = {"top-k 1": 1.15, "half depth": 1.15}


def one_picture(model: Ernest, states: Tensor, counts: Sequence[int]) -> float:
    """Seconds of the processor for the trunk and the head of bits on `states` `[positions, width]`, group by group of
    so many."""
    config, device = model.config, model.token_embedding.weight.device
    has_kernels = usable(model.backbone, config)
    cache = Cache(config, device, torch.float32, has_kernels, columns=sum(counts))
    blocks = CompiledBlocks(list(model.backbone.blocks), config, model.final_norm)
    trunk = blocks if has_kernels else PlainBlocks(model.trunk, bf16=False)
    begun, start = time.process_time(), 0
    for count in counts:
        ends = np.full(count, start + count)
        places = Places(np.array([0]), np.array([start]), np.array([count]), ends)
        x, position = states[start : start + count].clone(), np.full((count, 3), float(start))
        hidden, _ = trunk(x, position, places, cache, None, None)
        model.bit_head(hidden)
        start += count
    return time.process_time() - begun


def groups(rounds: int) -> Figure:
    """On random states, which go to all experts; equal ones would find two of them in the processor's caches."""
    model, ratios = Now().engine.model, []
    states = torch.randn(sum(SCALES), model.config.width, generator=torch.Generator().manual_seed(0))
    for turn in range(1 + 3 * rounds):
        single, together = (one_picture(model, states, counts) for counts in ([1] * sum(SCALES), SCALES))
        ratios += [single / together] if turn else []
    return Figure("generation: one position at a time ÷ next group, 16 x 16 cells", median(ratios), 8.0)


def submodels(rounds: int) -> tuple[list[Figure], list[tuple[str, ...]]]:
    """Of a network of 12 layers and top-k 4; `whole / cut` in time, and in operations of the backbone."""
    config = replace(load_recipe().model, layers=12, top_k=4)
    side = Now(config)
    whole = full(config)
    kept = (0, 1, *range(config.layers - side.engine.model.spec.levels, config.layers))
    cuts = {"top-k 1": replace(whole, top_k=1), "half depth": replace(whole, layers=kept)}
    figures, rows = [], []
    for name, bar in CUTS.items():
        ratios = []
        for turn in range(1 + 2 * rounds):
            before, after = (_seconds(side, submodel) for submodel in (whole, cuts[name]))
            ratios += [before / after] if turn else []
        wanted = active_parameters(config) / active_parameters(config, cuts[name])
        figures.append(Figure(f"generation: whole ÷ {name}, 12 layers, top-k 4", median(ratios), bar))
        rows.append((name, f"{median(ratios):.2f}", f"{wanted:.2f}"))
    return figures, rows


def _seconds(side: Now, submodel: SubModel) -> float:
    side.engine.submodel = submodel
    begun = time.process_time()
    made = side.make("text", [f"a red seven {n}" for n in range(16)])
    return (time.process_time() - begun) / made


def first_scale(side: Now, words: str) -> float:
    """Share of a picture's time after which its first scale is drawn; each later one is drawn too, as in the playground."""
    begun, total, drawn = time.process_time(), torch.zeros(()), []
    side.engine.submit(Request(side.segment(words), ("image",)))
    ended = False
    while not ended:
        for event in side.engine.step():
            if event.group == "bits":
                total = total + side.tokenizers.vision.quantiser.lookup(event.value[None], event.scale)
                side.engine.draw([total])
                drawn.append(time.process_time() - begun)
            ended = ended or event.answer is not None
    return drawn[0] / (time.process_time() - begun)


def first_scales(rounds: int) -> list[Figure]:
    """A picture of K scales takes K passes, the first of them with the prompt: a share of 1 / K is the least there is."""
    figures = []
    for pixels in (32, 64):
        side = Now(side=pixels)
        shares = [first_scale(side, f"{SENTENCES[0]} {turn}") for turn in range(1 + 7 * rounds)][1:]
        figures.append(Figure(f"generation: first scale ÷ whole picture, {pixels} x {pixels}", median(shares), 0.3, less=True))
    return figures


def measure(folder: Path, rounds: int, quick: bool, progress: Callable[[str], None]) -> Findings:
    del folder, quick
    torch.set_num_threads(1)
    with torch.inference_mode():
        progress("groups")
        figures = [groups(rounds)]
    progress("sub-models")
    cut, rows = submodels(rounds)
    table = Table("Sub-models, 16 texts", ("cut", "time, whole ÷ cut", "operations, whole ÷ cut"), tuple(rows))
    progress("first scales")
    return Findings((*figures, *cut, *first_scales(rounds)), (table,))
