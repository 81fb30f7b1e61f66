"""Training of the model of a run, and one process of it: `python -m ernest.training.pretrain RUN`, started by `train_model`, by
torchrun or alone.

RUN holds recipe.json, tokenizers/, and examples/ or decoded/; states, metrics.jsonl and at last model/ are written there.
"""

import json
import sys
import time
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from ernest.checkpoint import tokenizer_spec
from ernest.config.recipe import Recipe, read_recipe, to_tree
from ernest.device import supports_bf16
from ernest.model.cost import trained_parameters
from ernest.storage import own_folder, write_text
from ernest.tokenizers.bundle import Tokenizers
from ernest.training.adapters import factor_count
from ernest.training.distributed import process_group, told_if_long
from ernest.training.export import export_checkpoint
from ernest.training.group import launched_processes, process_count, thread_count
from ernest.training.launch import launch, worker
from ernest.training.loop import run_fingerprint, train
from ernest.training.makers import open_examples
from ernest.training.monitor import Monitor
from ernest.training.progress import remark, tell
from ernest.training.resume import LOG, agreed_state, check_room, newest_state, steps_of
from ernest.training.run_settings import START
from ernest.training.switching import FIRST, switch

LOOK_EVERY = 0.2
"""Seconds between looks at whether a run is prepared."""
PATIENCE = 10.0
"""Seconds in which a process that is just ending lets go of a run."""
PREPARED = "recipe.json"
"""The recipe of a run, the last file that stands before its training begins. Who waits for it may find an old one: it is read
when all have met."""


def train_model(run: Path, recipe: Recipe) -> Path:
    """Trains on `run/examples` with `run/tokenizers`, in as many processes as pay; returns the finished checkpoint's folder.

    Raises ValueError where the recipe asks for TensorBoard and it is not installed, OSError where the disk has no room.
    """
    if recipe.training.tensorboard and find_spec("tensorboard") is None:
        raise ValueError("training.tensorboard = true needs TensorBoard: pip install 'ernest-ai[tensorboard]'")
    write_text(run / PREPARED, json.dumps(to_tree(recipe), indent=1))
    if recipe.training.bf16 and not supports_bf16():
        remark("training.bf16 = true: this processor has no products of bfloat16, and a step takes longer than in float32")
    if not _has_ended(run, recipe):  # else no further state is written
        spec = tokenizer_spec(Tokenizers.load(run / "tokenizers"))
        factors = factor_count(recipe, spec) if recipe.training.adapter_rank else None
        tell(check_room(run, trained_parameters(recipe.model, spec), factors))
    if launched_processes() > 1:
        main(run)
    else:
        processes = process_count(recipe)
        launch("ernest.training.pretrain", [str(run)], processes, thread_count(processes))
    return run / "model"


def main(run: Path) -> None:
    """Trains the model of RUN to its last step. Only the first process writes; it waits for one that is just ending to let go."""
    with process_group() as (rank, world), own_folder(run, "writer", PATIENCE) if rank == 0 else nullcontext():
        pretrain(run, rank, world)


def follow(run: Path) -> NoReturn:
    """Waits until the first of the launched processes has prepared `run`, and trains with it. What comes behind the training is
    the first one's work, so that this process ends there."""
    what = f"waiting for {run.absolute() / PREPARED}, which the first of the launched processes writes: do all see that folder?"
    with told_if_long(what):
        while not (run / PREPARED).exists():
            time.sleep(LOOK_EVERY)
    main(run)
    raise SystemExit(0)


def pretrain(run: Path, rank: int, world: int) -> None:
    """Trains as process `rank` of `world`; the first process shows progress and writes the checkpoint."""
    recipe = read_recipe(run / PREPARED)
    if newest_state(run) is None and _has_ended(run, recipe):  # it would begin anew
        return
    tokenizers = Tokenizers.load(run / "tokenizers")
    store = open_examples(run, tokenizers, recipe.training.hearings)
    if recipe.first_steps:
        _begin_with_few_bits(run, recipe, rank, world, run_fingerprint(recipe, store, tokenizers), tokenizers.vision.spec.bits)
    monitor = Monitor(recipe, tokenizers, store, run) if rank == 0 else None
    start = run / START / "model.safetensors"
    train(recipe, store, tokenizers, run, rank, world, monitor, start if start.is_file() else None)
    if rank == 0:
        export_checkpoint(run, run / "model")


def _has_ended(run: Path, recipe: Recipe) -> bool:
    """Whether the last step of a run has been taken: its newest state says so or, where states were removed behind its model, its
    log."""
    state = newest_state(run)
    if state is not None:
        return steps_of(state) == recipe.training.steps
    if not (run / "model").is_dir() or not (run / LOG).is_file():
        return False
    return len((run / LOG).read_text(encoding="utf-8").splitlines()) == recipe.training.steps


def _begin_with_few_bits(run: Path, recipe: Recipe, rank: int, world: int, origin: str, bits: int) -> None:
    """The steps before the switch, unless it is behind the run."""
    if agreed_state(run) is not None:
        return
    first = run / FIRST
    tokenizers = Tokenizers.load(first / "tokenizers")
    store = open_examples(first, tokenizers)
    monitor = Monitor(recipe, tokenizers, store, run) if rank == 0 else None
    train(recipe, store, tokenizers, first, rank, world, monitor, until=recipe.first_steps)
    if monitor is not None:
        monitor.bar.stop()
        switch(run, recipe.tokenizers.first_bits, bits, recipe.seed, origin)


if __name__ == "__main__":
    with worker():
        main(Path(sys.argv[1]))
