"""One of several processes that train together: `python -m tests.training.replica FOLDER`, started by the launcher.

FOLDER holds examples/; one run goes through in `unbroken`, another is cut between two saves and resumed in `cut`.
"""

import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from ernest.config.tables import SequenceConfig
from ernest.data.store import ExampleStore
from ernest.training.distributed import process_group
from ernest.training.loop import train
from tests.small import recipe, tokenizers

STAGES = recipe(steps=5, save_every=2, ramp=3, decay_share=0.4)
RECIPE = replace(STAGES, sequence=SequenceConfig(rows=8, length=120, grows_to=(240,)))
"""Steps of 2, 4 and 6 rows, then, in mid-training, of 4."""


class Cut(Exception):
    pass


def cut(step, metrics, model) -> None:
    if step == 2:
        raise Cut


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    store = ExampleStore(folder / "examples")
    with process_group() as (rank, world):
        train(RECIPE, store, tokenizers(), folder / "unbroken", rank, world)
        with suppress(Cut):
            train(RECIPE, store, tokenizers(), folder / "cut", rank, world, on_step=cut)
        train(RECIPE, store, tokenizers(), folder / "cut", rank, world)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
