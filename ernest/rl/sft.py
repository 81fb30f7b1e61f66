"""Supervised fine-tuning, before reinforcement learning: the world writes questions with their workings, and a training goes on
from a checkpoint with them. The loss is that of workings and answers; questions are given."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from ernest.checkpoint import network_sizes
from ernest.config.going_on import going_on
from ernest.config.recipe import Recipe
from ernest.config.sft import RecordCounts
from ernest.data.held_out import HELD_OUT as JUDGES
from ernest.data.held_out import split_records
from ernest.data.record_writer import save_records
from ernest.sequence.record import Record
from ernest.storage import write_folder, write_text
from ernest.training.group import is_follower
from ernest.training.prepare import train_on_records
from ernest.training.pretrain import follow
from ernest.training.run_settings import RECORDS, TrainingRun, check_free
from ernest.world import solutions
from ernest.world.split import HELD_OUT
from ernest.world.world import TASKS, records

CHUNK = 250
"""Records of a task that are made at once."""
MADE = "made.json"


def fine_tune(checkpoint: Path, run: Path, counts: RecordCounts, recipe: Recipe) -> Path:
    """Trains the model of a checkpoint on records of the world, going on from what stands in `run`; returns the folder of the new
    checkpoint. The records stay in `run/records`.

    Raises ValueError, before any long work, for a folder of something else and for what the checkpoint does not suit.
    """
    if is_follower():  # whose records are the first one's
        follow(run)
    recipe = going_on(recipe, network_sizes(checkpoint))
    tasks = (solutions.TASK, *(TASKS if counts.others else ()))
    recipe.weights(tasks)
    folder = run / RECORDS
    told = json.dumps(asdict(counts) | {"seed": recipe.seed})
    if (folder / MADE).is_file() and (folder / MADE).read_text() != told:
        raise ValueError(f"{run} holds a run on other records: choose another folder, or remove it")
    if not (folder / MADE).is_file():
        check_free(run, told)
        with write_folder(folder) as aside:
            save_records(aside, world_records(counts.worked, counts.others, recipe.seed), recipe.media)
            others = min(counts.others, counts.held_out)
            save_records(aside / JUDGES, world_records(counts.held_out, others, recipe.seed, HELD_OUT), recipe.media)
            write_text(aside / MADE, told)
    learnt, judges = split_records(folder, 0.5, recipe.media)
    return train_on_records(TrainingRun(learnt, run, recipe, checkpoint, judges, go_on=True))


def world_records(worked: int, others: int, seed: int, first: int = 0) -> Iterator[Record]:
    """So many questions with their workings, and records of each of the world's other tasks, from index `first` on."""
    questions = (solutions.worked(seed, first + number) for number in range(worked))
    return chain(questions, *(_of_task(task, seed, first, others) for task in TASKS))


def _of_task(task: str, seed: int, first: int, count: int) -> Iterator[Record]:
    for start in range(first, first + count, CHUNK):
        yield from records(task, seed, range(start, min(start + CHUNK, first + count)))
