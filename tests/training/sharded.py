"""One of several processes that take steps together: `python -m tests.training.sharded FOLDER REPLICATE SHARD EXPERT TENSOR SAVES
DTYPE START STOP PART`, started by the launcher, from the state in FOLDER if that is not step 0; broken off after PART steps each,
and in unbroken-STOP not. The first writes the losses of each step; all write the state of training, and how much they hold."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch

from ernest.config.parallel import ParallelConfig
from ernest.data.collate import collate
from ernest.device import HOST, set_threads
from ernest.model.network import Ernest
from ernest.model.submodel import SubModel, full, stack
from ernest.storage import append_line
from ernest.tokenizers.vision import to_frames
from ernest.training.distributed import process_group
from ernest.training.loss import LossBalancer
from ernest.training.optimizer import make_optimizer
from ernest.training.parallelize import parallelize
from ernest.training.resume import TrainerState, load_progress, save_progress
from ernest.training.schedule import ScheduleValues
from ernest.training.step import StepState, step
from tests.small import CONFIG, documents, network, placed, recipe, tokenizers

STEPS, ROWS, STATES = 8, 4, "states"
NOW = ScheduleValues(1e-3, 1e-3, 0.3)
SMALLER = SubModel((0, 3, 4, 5), ((0, 5, 6, 7),) * 6, 1)
OTHER = SubModel((0, 2, 3, 4, 5), ((0, 1, 2), (1, 2, 6, 7), (1, 2), (2, 3, 4), (6, 7), (1, 4, 5)), 2)
"""Of the odd rows: they leave layers and experts out, which other processes run."""


def features(frames: np.ndarray) -> torch.Tensor:
    """Of each frame alone: in company, a tokenizer's sums of float32 may end in other bits."""
    vision = tokenizers().vision
    return torch.cat([vision.features(to_frames(frames[i : i + 1])) for i in range(len(frames))])


def batch_of(number: int, rank: int, world: int, dtype: torch.dtype):
    """The rows of a process and their sub-models. Even rows hold two kinds of documents, over the steps all; odd ones are words
    alone, whose sub-models all leave layer 1 out: with as many processes or half as many, every second one holds only such."""
    kinds = [*documents(number), *documents(number + 1)]
    words = [one for one in kinds if one.task == "text"]
    rows = [kinds[row + number :: ROWS][:2] if row % 2 == 0 else words[row // 2 :] for row in range(ROWS)]
    submodels = [full(CONFIG), OTHER, full(CONFIG), SMALLER]
    batch = collate([[placed(one) for one in row] for row in rows[rank::world]], 220, tokenizers(), features=features)
    return batch.to(HOST, dtype), stack(submodels[rank::world], CONFIG)


def take_steps(
    folder: Path,
    parallel: ParallelConfig,
    start: int = 0,
    stop: int = STEPS,
    rank: int = 0,
    world: int = 1,
    dtype: torch.dtype = torch.float64,
    part: int = 1,
) -> Ernest:
    """Steps from `start` to `stop`, a `part` at a time: after each a state is on disk, from which a network that is made anew
    goes on."""
    told, model = folder / "losses.jsonl", network()
    rows = rank // parallel.tensor, world // parallel.tensor
    for first in range(start, stop, part):
        model = parallelize(network(biased=False).to(dtype).train(), parallel)
        config = recipe(clip=0.5).training
        optimizer = make_optimizer(model, config)
        progress = load_progress(folder / STATES, model, optimizer, "these")
        assert (progress.step if progress else 0) == first
        state = StepState(optimizer, LossBalancer(progress.running if progress else {}), config.clip, bf16=False)
        for number in range(first, first + part):
            losses = step(model, *batch_of(number, *rows, dtype), state, NOW)
            if rank == 0:
                append_line(told, json.dumps(losses))
        save_progress(folder / STATES, model, optimizer, TrainerState(first + part, dict(state.balancer.running), "these"))
        if world > 1:
            torch.distributed.barrier()  # what all write, all read
    return model


def count_own(model: Ernest) -> dict[str, int]:
    """Numbers that this process holds of the backbone's experts, of what else a tensor mesh cuts, and of the rest."""
    own = {name: getattr(value, "_local_tensor", value).numel() for name, value in model.named_parameters()}
    experts = sum(count for name, count in own.items() if name.startswith("backbone.") and ".moe.w_" in name)
    cut = ".attention.qkv.", ".attention.out.", "mtp.block.moe.w_"
    matrices = sum(count for name, count in own.items() if not name.startswith("encoder.") and any(one in name for one in cut))
    return {"experts": experts, "matrices": matrices, "dense": sum(own.values()) - experts - matrices}


if __name__ == "__main__":
    set_threads(1)
    folder, sizes, dtype = Path(sys.argv[1]), [int(size) for size in sys.argv[2:7]], getattr(torch, sys.argv[7])
    start, stop, part = map(int, sys.argv[8:])
    parallel = ParallelConfig(*sizes[:4], checkpoint_activations=bool(sizes[4]))
    with process_group() as (rank, world):
        unbroken = folder / f"unbroken-{stop}"
        if rank == 0:
            unbroken.mkdir()
        if rank == 0 and start:
            shutil.copytree(folder / STATES, unbroken / STATES)
        torch.distributed.barrier()
        take_steps(unbroken, parallel, start, stop, rank, world, dtype, part=stop - start)
        trained = take_steps(folder, parallel, start, stop, rank, world, dtype, part)
        (folder / f"own-{rank}.json").write_text(json.dumps(count_own(trained)))
