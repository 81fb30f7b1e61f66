"""Losses on records that no run has seen, encoded once: per token, per bit by scale, per code by level."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.config.tables import SequenceConfig
from ernest.data import collate as collating
from ernest.data.examples import encode
from ernest.data.layout import lay_out_example
from ernest.data.store import ExampleStore
from ernest.model.network import Ernest
from ernest.model.submodel import SubModel, SubModels, stack
from ernest.results.small_runs import Study
from ernest.sequence.batch import Batch
from ernest.tokenizers.bundle import Tokenizers
from ernest.world.split import HELD_OUT
from ernest.world.world import records

COUNTS: Mapping[str, int] = {
    "text→image": 200, "image→text": 200, "text→speech": 200, "speech→text": 200, "text": 400, "text→video": 16, "video→text": 32,
}  # fmt: skip
"""Held-out records of each direction."""
LOSSES: Mapping[str, tuple[str, ...]] = {
    "text": ("text, text", "text, image→text", "text, speech→text", "text, video→text"),
    "pictures": ("bits, text→image",),
    "videos": ("bits, text→video",),
    "sounds": tuple(f"codes, level {level}" for level in (1, 2, 3, 4)),
}
"""The losses of all directions by their modality, under the names that `losses` gives them."""
BATCH = 50


def held_out(study: Study) -> ExampleStore:
    """The examples of the held-out records of a demo's world, which are encoded where they are not there yet."""
    folder, seed = study.build / "held-out", study.whole().seed
    if not any(folder.glob("*/index.json")):
        made = (records(task, seed, range(HELD_OUT, HELD_OUT + count)) for task, count in COUNTS.items())
        ExampleStore.write(folder / "own", encode([record for each in made for record in each], study.tokenizers))
    return ExampleStore(folder)


@torch.inference_mode()
def losses(
    network: Ernest,
    store: ExampleStore,
    tokenizers: Tokenizers,
    tasks: Sequence[str],
    submodel: SubModel | None = None,
    corruption: SequenceConfig | None = None,
    wrong_first_codes: bool = False,
) -> dict[str, float]:
    """Mean losses by name: `text, TASK` in nats a token, `bits, TASK` in nats a bit and `bits, scale K`, `codes, level Q` in nats
    a code. With `corruption`, bits of the history of made pictures are corrupted as in training; with `wrong_first_codes` the
    first code of a frame is fed back as that of another frame."""
    network.eval()
    found: dict[str, list[Tensor]] = {}
    for task in tasks:
        indices = store.tasks[task]
        for start in range(0, len(indices), BATCH):
            batch = _batch(store, indices[start : start + BATCH], tokenizers, corruption)
            submodels = None if submodel is None else stack([submodel] * len(batch.token_id), network.config)
            for name, values in _each(network, batch, submodels, task, wrong_first_codes).items():
                found.setdefault(name, []).append(values.flatten())
    return {name: float(torch.cat(values).double().mean()) for name, values in found.items()}


def _batch(store: ExampleStore, indices: np.ndarray, tokenizers: Tokenizers, corruption: SequenceConfig | None) -> Batch:
    packed = [lay_out_example(store[index], tokenizers, tokenizers.text.encode) for index in indices]
    length = max(len(example.layout) for example in packed)
    return collating.collate([[example] for example in packed], length, tokenizers, corruption, [int(index) for index in indices])


def _each(network: Ernest, batch: Batch, submodels: SubModels | None, task: str, wrong: bool) -> dict[str, Tensor]:
    """The loss of every target of a batch, by what it is."""
    codes = batch.code_targets.value
    fed = replace(batch, code_targets=replace(batch.code_targets, value=_wrong_first(codes))) if wrong else batch
    predictions = network(fed, submodels)
    found = {}
    if len(batch.token_index):
        ids = batch.token_target.flatten()[batch.token_index]
        found[f"text, {task}"] = F.cross_entropy(predictions.text, ids, reduction="none")
    if len(batch.cell_targets.index):
        bits = F.binary_cross_entropy_with_logits(predictions.bits, batch.cell_targets.bits, reduction="none").mean(dim=1)
        found[f"bits, {task}"] = bits
        found |= {f"bits, {task}, scale {k + 1}": bits[batch.cell_targets.scale == k]
                  for k in range(int(batch.cell_targets.scale.max()) + 1)}  # fmt: skip
    if len(codes):
        found |= {f"codes, level {q + 1}": F.cross_entropy(logits, codes[:, q], reduction="none")
                  for q, logits in enumerate(predictions.codes)}  # fmt: skip
    return found


def _wrong_first(codes: Tensor) -> Tensor:
    """Codes `[N, levels]` whose first level is that of the frame after."""
    return torch.cat([codes[:, :1].roll(-1, 0), codes[:, 1:]], dim=1)
