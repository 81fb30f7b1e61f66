"""The processes that train a run: how many, with how many threads each, and whether those of a launcher such as torchrun fit."""

import os

from ernest.config.recipe import Recipe
from ernest.config.stages import fewest_rows
from ernest.device import count_processors
from ernest.training.launch import PARENT

LAUNCHED = ("RANK", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher of several processes tells each of them, beside WORLD_SIZE."""
ELASTIC = "TORCHELASTIC_RUN_ID"
"""What torchrun sets, also for one process."""
MOST_PROCESSES = 8
"""Processes without a launcher, unless a recipe asks for more: they share the bandwidth of one memory."""


def launched_processes() -> int:
    """How many processes a launcher has started, this one among them; 1 without a launcher.

    Raises ValueError where the environment speaks of several, and does not say which one this is or where they meet.
    """
    told = "1" if PARENT in os.environ else os.environ.get("WORLD_SIZE", "1")
    if not told.isdecimal() or int(told) < 1:
        raise ValueError(f"WORLD_SIZE = {told!r} in the environment: expected a number of processes, as a launcher sets it")
    world = int(told)
    if world > 1:
        missing = [name for name in LAUNCHED if not os.environ.get(name)]
        rank = os.environ.get("RANK", "")
        if missing or not rank.isdecimal() or int(rank) >= world:
            fault = f"{', '.join(missing)} not" if missing else f"RANK is {rank!r}"
            raise ValueError(
                f"WORLD_SIZE = {world} is set in the environment, and {fault}: start with torchrun, or unset WORLD_SIZE"
            )
    return world


def is_launched() -> bool:
    """Whether a launcher has started this process, even if it is the only one."""
    return launched_processes() > 1 or (PARENT not in os.environ and {"WORLD_SIZE", ELASTIC} <= os.environ.keys())


def process_count(recipe: Recipe) -> int:
    """In how many processes a run trains: those that a launcher started, else as the recipe asks, else as many as pay."""
    if is_launched():
        return launched_processes()
    return recipe.parallel.asked or min(count_processors(), fewest_rows(recipe), MOST_PROCESSES)


def thread_count(processes: int) -> int:
    """Threads of each of the processes of a run: what the user's OMP_NUM_THREADS says, else all processors, shared out."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) else max(1, count_processors() // processes)


def check_alone(command: str) -> None:
    """Raises ValueError where a launcher has started several of a `command` that is one process, or starts its own."""
    if launched_processes() > 1:
        raise ValueError(f"`{command}` is started once, and a launcher has started {launched_processes()}: start it without")


def is_follower() -> bool:
    """Whether another one of the launched processes is the first."""
    return launched_processes() > 1 and int(os.environ["RANK"]) > 0


def check_group(recipe: Recipe) -> None:
    """Raises ValueError where the launched processes are not those that the recipe asks for, or some have no row in a step, and
    for more makers of batches beside each of them than this machine has processors."""
    if recipe.training.workers > (most := count_processors()):
        raise ValueError(f"training.workers = {recipe.training.workers} must be at most {most}, the processors of this machine")
    world, parallel = launched_processes(), recipe.parallel
    copies, left_over = divmod(world, parallel.parts)
    if is_launched() and (left_over or parallel.replicate not in (0, copies)):
        raise ValueError(f"{parallel}: the launcher has started {world} process{'es' if world > 1 else ''}")
    if world // parallel.tensor > recipe.sequence.rows:
        who, need = ("each", "needs") if parallel.tensor == 1 else (f"each {parallel.tensor}", "need")
        raise ValueError(
            f"sequence.rows = {recipe.sequence.rows}: {who} of the {world} launched processes {need} a row of a step"
        )
    if (fewest := fewest_rows(recipe)) < (processes := max(world, parallel.asked)) // parallel.tensor:
        raise ValueError(f"{processes} processes: some steps have {fewest} rows, and each process takes one")
