"""One of several processes that take steps together: `python -m tests.training.sharded FOLDER REPLICATE SHARD`, started by the
launcher. The first writes the state of training at the end, and the losses of each step."""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from ernest.config.recipe import ParallelConfig
from ernest.data.collate import collate
from ernest.device import HOST, set_threads
from ernest.model.submodel import SubModel, full, stack
from ernest.tokenizers.vision import to_frames
from ernest.training.distributed import process_group
from ernest.training.loss import LossBalancer
from ernest.training.optimizer import make_optimizer
from ernest.training.parallelize import parallelize
from ernest.training.resume import TrainerState, load_progress, save_progress
from ernest.training.schedule import ScheduleValues
from ernest.training.step import StepState, step
from tests.small import CONFIG, documents, network, placed, recipe, tokenizers

STEPS, ROWS = 6, 4
NOW = ScheduleValues(1e-3, 1e-3, 0.3)
SMALLER = SubModel((0, 3, 4, 5), ((0, 5, 6, 7),) * 6, 1)
"""Of the last row: it leaves layers and experts out, which another process runs."""


def features(frames: np.ndarray) -> torch.Tensor:
    """Of each frame alone: in company, a tokenizer's sums of float32 may end in other bits."""
    vision = tokenizers().vision
    return torch.cat([vision.features(to_frames(frames[i : i + 1])) for i in range(len(frames))])


def batch_of(number: int, rank: int, world: int, dtype: torch.dtype):
    """The rows of a process, of all kinds of documents but for the last row, which is words alone, and their sub-models."""
    kinds = [*documents(number), *documents(number + 1)]
    rows = [[placed(one) for one in kinds[row::ROWS][:2]] for row in range(ROWS - 1)]
    rows.append([placed(one) for one in kinds if one.task == "text"])
    submodels = [full(CONFIG)] * (ROWS - 1) + [SMALLER]
    batch = collate(rows[rank::world], 220, tokenizers(), features=features)
    return batch.to(HOST, dtype), stack(submodels[rank::world], CONFIG)


def take_steps(folder: Path, parallel: ParallelConfig, rank: int = 0, world: int = 1, dtype: torch.dtype = torch.float64) -> None:
    """Half of the steps, a state on disk, and the rest from there by a network that was made anew."""
    told = []
    for half in (range(STEPS // 2), range(STEPS // 2, STEPS)):
        model = parallelize(network(biased=False).to(dtype).train(), parallel)
        config = recipe(clip=0.5).training
        optimizer = make_optimizer(model, config)
        progress = load_progress(folder / "states", model, optimizer, "these")
        assert (progress is None) == (half.start == 0)
        state = StepState(optimizer, LossBalancer(progress.running if progress else {}), config.clip, bf16=False)
        told += [step(model, *batch_of(number, rank, world, dtype), state, NOW) for number in half]
        running = dict(state.balancer.running)
        save_progress(folder / "states", model, optimizer, TrainerState(half.stop, running, "these"), writes=rank == 0)
        if world > 1:
            torch.distributed.barrier()  # what one writes, all read
    if rank == 0:
        (folder / "losses.json").write_text(json.dumps(told))


if __name__ == "__main__":
    set_threads(1)
    with process_group() as (rank, world):
        take_steps(Path(sys.argv[1]), ParallelConfig(int(sys.argv[2]), int(sys.argv[3])), rank, world)
