"""Measures which experts are used, by which task, and how evenly (ERNIE 5.0 §6.4.1, Fig. 8 to 10).

A usage is an array `[layers, experts]`: the share of a layer's choices that went to each expert, summing to 1 in every layer.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ernest.config.tables import SequenceConfig
from ernest.data.collate import collate
from ernest.data.drawn import Examples
from ernest.data.layout import PackedExample, lay_out_example
from ernest.data.sampler import plan
from ernest.model.network import Ernest
from ernest.sequence.batch import Batch
from ernest.tokenizers.bundle import Tokenizers

TOP_SHARE = 0.25
"""Overlap is measured between the quarters of the experts that two tasks use most; two random quarters share 1/7."""


def usage(
    model: Ernest, store: Examples, tokenizers: Tokenizers, sequence: SequenceConfig, per_task: int = 48
) -> dict[str, np.ndarray]:
    """The usage `[layers, experts]` of every task, on its first `per_task` documents, which are read as in training but whole:
    nothing is dropped, hidden or flipped."""
    usages = {}
    for task, indices in store.tasks.items():
        packed = (lay_out_example(store[index], tokenizers, tokenizers.text.encode) for index in indices[:per_task])
        rows = list(_rows(packed, sequence.length))
        counts = np.zeros((model.config.layers, model.config.experts), np.int64)
        for start in range(0, len(rows), sequence.rows):
            counts += choices(model, collate(rows[start : start + sequence.rows], sequence.length, tokenizers))
        usages[task] = shares(counts)
    return usages


def mixture_load(
    model: Ernest,
    store: Examples,
    weights: Mapping[str, float],
    tokenizers: Tokenizers,
    sequence: SequenceConfig,
    seed: int,
    batches: int = 2,
) -> np.ndarray:
    """Choices of every expert `[batches, layers, experts]` on batches drawn as training draws them."""
    loads = []
    for step in range(batches):
        rows = plan(store, weights, tokenizers, sequence, seed, step)
        seeds = [int(np.random.default_rng((seed, step, row)).integers(2**62)) for row in range(len(rows))]
        loads.append(choices(model, collate(rows, sequence.length, tokenizers, sequence, seeds)))
    return np.stack(loads)


@torch.inference_mode()
def choices(model: Ernest, batch: Batch) -> np.ndarray:
    """Counts how often each expert was chosen on a batch, int64 `[layers, experts]`; padding does not count."""
    training = model.training
    try:
        expert_ids = model.eval()(batch).router_output.expert_ids
    finally:
        model.train(training)
    return np.stack([count_choices(layer[batch.valid], model.config.experts) for layer in expert_ids])


def count_choices(expert_ids: Tensor, experts: int) -> np.ndarray:
    """Chosen experts `[tokens, k]`, -1 where a token took fewer, as counts int64 `[experts]`."""
    return torch.bincount(expert_ids[expert_ids >= 0], minlength=experts).numpy()


def shares(counts: np.ndarray) -> np.ndarray:
    """Counts `[..., experts]` as shares that sum to 1; a layer without choices counts as even."""
    total = counts.sum(-1, keepdims=True)
    return np.where(total > 0, counts / np.maximum(total, 1), 1 / counts.shape[-1])


def normalised_entropy(load: np.ndarray) -> np.ndarray:
    """NE = -Σ p log p / log N over the last axis: 1 where all N experts are used alike, 0 where one does everything."""
    p = shares(load)
    if p.shape[-1] == 1:
        return np.ones(p.shape[:-1])
    terms = np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0)
    # Rounding can bring an even load a hair above 1 and a single expert a hair below 0.
    return np.clip(-terms.sum(-1) / np.log(p.shape[-1]), 0.0, 1.0)


def max_violation(load: np.ndarray) -> np.ndarray:
    """MaxVio = max / mean - 1 over the last axis: 0 where the load is even."""
    return shares(load).max(-1) * load.shape[-1] - 1


def top_experts(load: np.ndarray) -> np.ndarray:
    """The experts `[..., experts]` (bool) that are used most: `TOP_SHARE` of them, at least one; of equals the first."""
    count = max(1, round(TOP_SHARE * load.shape[-1]))
    indices = np.argsort(-load, axis=-1, kind="stable")[..., :count]
    top = np.zeros(load.shape, bool)
    np.put_along_axis(top, indices, True, axis=-1)
    return top


def overlaps(usages: Sequence[np.ndarray]) -> np.ndarray:
    """Intersection over union of the top experts of every two tasks, `[layers, tasks, tasks]`."""
    top = np.stack([top_experts(load) for load in usages], axis=1)
    both = (top[:, :, None] & top[:, None]).sum(-1)
    either = (top[:, :, None] | top[:, None]).sum(-1)
    return both / either


def _rows(packed: Iterator[PackedExample], length: int) -> Iterator[list[PackedExample]]:
    """Documents in order, as many to a row as fit."""
    row: list[PackedExample] = []
    room = length
    for document in packed:
        if len(document.layout) > room and row:
            yield row
            row, room = [], length
        row.append(document)
        room -= len(document.layout)
    if row:
        yield row
