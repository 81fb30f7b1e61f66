"""What makes long films: corruption that grows along them, and frames that training hides, beside plain training.

A film is measured in three ways. Held-out films are read under teacher forcing; each of their frames is hidden in turn, and what
that costs the later ones is the cost of a frame's removal. And films of physics go on freely from their true first frame, to four
times the length of those in training: the energy of a true one never rises, so its rise above the least so far is their error.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.config.recipe import Recipe
from ernest.data.collate import collate
from ernest.data.examples import EncodedSegment, encode
from ernest.data.layout import lay_out_example
from ernest.generation.engine import Engine, bf16_pays
from ernest.generation.request import MaxLengths
from ernest.model.network import Ernest
from ernest.results.small_runs import PLAIN, Study, in_one_process, trained
from ernest.results.units import file_name, kept
from ernest.sequence.batch import Batch
from ernest.sequence.history import hide_frames
from ernest.world.split import HELD_OUT
from ernest.world.video import FAMILIES, energies
from ernest.world.world import records

STEPS, ROWS, LAYERS, WIDTH = 200, 8, 5, 128
TASK = "text→video"
READ, DRAWN, LONGER = 48, 24, 4
"""Held-out films that are read, films that are drawn, and how many times as long as in training."""
BASE, GROWING, HIDDEN, WINDOW = "plain", "corruption that grows", "hidden frames", "window and hidden frames"
Measures = dict[str, float]


@dataclass(frozen=True)
class Arm:
    """A run, by what it sets in `sequence` and in `model`."""

    name: str
    sequence: Mapping[str, float | bool]
    model: Mapping[str, int]


FLIPS = {"bit_flip_rate": 0.25}
ARMS = (
    Arm(BASE, FLIPS, {}),
    Arm(GROWING, FLIPS | {"bit_flip_growth": 0.01, "bit_flip_inheritance": True}, {}),
    Arm(HIDDEN, FLIPS | {"frame_mask_rate": 0.2}, {}),
    Arm(WINDOW, FLIPS | {"frame_mask_rate": 0.2}, {"frame_window": 4}),
)
"""VideoAR's values (2601.05966), and shares of frames from the middle of what is usual."""


def small(study: Study, seed: int, weights: Mapping[str, float], **training: int) -> Recipe:
    """The demo's recipe in a network of `LAYERS`, without sub-models, for the tasks of these weights."""
    whole = study.whole()
    return replace(
        in_one_process(whole, seed, ROWS, save_every=50, **training),
        elastic=PLAIN,
        mixture=dict.fromkeys(study.store.tasks, 0.0) | dict(weights),
        model=replace(whole.model, layers=LAYERS, width=WIDTH, heads=4, kv_heads=2, experts=16, expert_width=32),
    )


def recipe_of(study: Study, arm: Arm, seed: int) -> Recipe:
    """What an arm is trained by."""
    recipe = small(study, seed, {TASK: 1.0}, steps=STEPS, warmup=STEPS // 10)
    sequence, model = replace(recipe.sequence, **arm.sequence), replace(recipe.model, **arm.model)
    return replace(recipe, sequence=sequence, model=model)


def measure(study: Study, seed: int) -> dict[str, Measures]:
    """What was measured of each arm, of one seed; what is kept is not measured again."""
    settings = {"steps": STEPS, "rows": ROWS, "layers": LAYERS, "width": WIDTH, "read": READ, "drawn": DRAWN, "longer": LONGER}
    found = {}
    for arm in ARMS:
        path = study.build / f"seed-{seed}" / f"{file_name(arm.name)}.json"
        own = settings | {"sequence": arm.sequence, "model": arm.model, "examples": study.store.fingerprint}
        found[arm.name] = kept(path, own, lambda arm=arm, path=path: _measured(study, arm, seed, path))
    return found


def _measured(study: Study, arm: Arm, seed: int, path: Path) -> Measures:
    run = path.with_suffix("")
    study.tell(f"seed {seed}: {arm.name}")
    network = trained(study, recipe_of(study, arm, seed), run)
    found = removal(study, network) | drift(study, network, seed)
    shutil.rmtree(run)
    return found


# ------------------------------------------------------------------ a frame that is gone


@torch.inference_mode()
def removal(study: Study, network: Ernest) -> Measures:
    """Nats a bit of held-out films, and how much those behind a frame rise where it is hidden: by attention and beside the cells
    of the next frame, as training hides it, and by attention alone. Means over all frames that have two behind them."""
    batch = _read(study)
    frames = len(batch.cells.frame_index) // len(batch.token_id)
    plain = _by_frame(network, batch, frames)
    found = {"nats a bit": float(plain.mean())}
    for name, hide in (
        ("a frame hidden", hide_frames),
        ("a frame out of attention", lambda cells, flags: replace(cells, hidden=flags)),
    ):
        costs = []
        for gone in range(frames - 2):
            flags = (torch.arange(frames) == gone).repeat(len(batch.token_id))
            losses = _by_frame(network, replace(batch, cells=hide(batch.cells, flags)), frames)
            costs.append(float((losses - plain)[:, gone + 1 :].mean()))
        found |= {f"{name}, rise": float(np.mean(costs)), f"{name}, rise behind the first": costs[0]}
    return found


def _read(study: Study) -> Batch:
    """Held-out films, one in a row."""
    made = records(TASK, study.whole().seed, range(HELD_OUT, HELD_OUT + READ))
    rows = [[lay_out_example(one, study.tokenizers, study.tokenizers.text.encode)] for one in encode(made, study.tokenizers)]
    return collate(rows, max(len(row[0].layout) for row in rows), study.tokenizers)


def _by_frame(network: Ernest, batch: Batch, frames: int) -> Tensor:
    """Mean nats a bit of every frame of films that lie one in a row, `[films, frames]`."""
    bits = F.binary_cross_entropy_with_logits(network(batch).bits, batch.cell_targets.bits, reduction="none")
    return bits.mean(1).view(len(batch.token_id), frames, -1).mean(2)


# ------------------------------------------------------------------ films that go on


def drift(study: Study, network: Ernest, seed: int) -> Measures:
    """Of films that go on freely: the error of a frame on average, by how much it rises from frame to frame, and what it is at
    the end of the length in training and of the whole."""
    usual = study.tokenizers.media.frames
    frames = 1 + LONGER * (usual - 1)
    made = records(TASK, study.whole().seed, range(HELD_OUT + READ, HELD_OUT + READ + 3 * DRAWN))
    physics = [record for record in made if record.facts["family"] in FAMILIES][:DRAWN]
    prompts = [[EncodedSegment("text", record.segments[0].data, False)] for record in physics]
    first = torch.stack([torch.from_numpy(one.segments[1].data[:1]) for one in encode(physics, study.tokenizers)])
    limits = replace(MaxLengths.of(study.tokenizers.media), frames=frames)
    engine = Engine(network, study.tokenizers, max_lengths=limits, bf16=bf16_pays(network))
    error = np.mean([energy_rise(film) for film in engine.videos(prompts, seed=seed, first=first, frames=frames)], axis=0)
    slope = float(np.polyfit(np.arange(frames), error, 1)[0])
    return {"error, mean": float(error.mean()), "error, a frame": slope, "error, trained length": float(error[usual - 1]),
            "error, last frame": float(error[-1])}  # fmt: skip


def energy_rise(film: np.ndarray) -> np.ndarray:
    """How far the energy of each frame of a film uint8 `[frames, height, width, 3]` lies above the least so far, in units of that
    of the first; of a true film it is 0."""
    energy = energies(film)
    return (energy - np.minimum.accumulate(energy)) / energy[0]
