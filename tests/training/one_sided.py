"""One of two processes that take a step: `python -m tests.training.one_sided FOLDER`, started by the launcher.

The first holds rows of every kind; the second a row that has no picture, no sound and nothing to predict.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from ernest.data.collate import collate
from ernest.data.examples import Example
from ernest.model.submodel import SubModel, full, stack
from ernest.sequence.batch import Batch
from ernest.storage import save_tensors
from ernest.training.distributed import process_group
from ernest.training.loss import LossBalancer
from ernest.training.optimizer import make_optimizer
from ernest.training.schedule import ScheduleValues
from ernest.training.step import StepState, step
from tests.small import CONFIG, Maker, documents, network, placed, recipe, tokenizers

NOW = ScheduleValues(1e-3, 1e-3, 0.3)
SMALLER = SubModel((0, 3, 4, 5), ((0, 5, 6, 7),) * 6, 1)


def rows_of(rank: int) -> list:
    make = Maker(np.random.default_rng(0))
    silent = Example((make.text(False), make.text(False)), "nothing to predict")
    return [[placed(document)] for document in documents()] if rank == 0 else [[placed(silent)]]


def batch_of(ranks: list[int]) -> tuple[Batch, list[SubModel]]:
    """The rows of these processes; those of the second run a smaller network."""
    rows = [row for rank in ranks for row in rows_of(rank)]
    submodels = [full(CONFIG) if rank == 0 else SMALLER for rank in ranks for _ in rows_of(rank)]
    return collate(rows, 100, tokenizers()), submodels


def take_step(ranks: list[int]) -> dict[str, torch.Tensor]:
    """The weights after one step on the rows of `ranks`."""
    model = network(biased=False).train()
    batch, submodels = batch_of(ranks)
    config = recipe().training
    state = StepState(make_optimizer(model, config), LossBalancer({}), config.clip, False)
    metrics = step(model, batch, stack(submodels, CONFIG), state, NOW)
    assert {"text", "mtp", "vision", "audio"} <= metrics.keys()
    return model.state_dict()


if __name__ == "__main__":
    torch.set_num_threads(1)
    with process_group() as (rank, _):
        save_tensors(Path(sys.argv[1]) / f"{rank}.safetensors", take_step([rank]))
