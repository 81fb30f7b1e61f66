"""The state of a run of reinforcement learning on disk, from which one that was killed goes on bit for bit.

Beside weights and moments it holds the rollouts that wait for their turn, and those that were cut.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from ernest.config.rl import RLRecipe, TaskConfig
from ernest.rl.buffer import RolloutBuffer
from ernest.rl.packed import pack_rollouts, unpack_rollouts
from ernest.rl.rollout import Ask, Key, Response
from ernest.storage import fingerprint, load_tensors, save_tensors, write_text
from ernest.training.resume import TrainerState, load_progress, save_progress, weight_parts
from ernest.training.run_settings import leaves

FREE = (
    *("update.save_every", "update.assess_every", "update.assess", "update.steps", "rollout.worker", "rollout.timeout"),
    *("verifying.timeout", "verifying.retries", "verifying.at_once"),
)
"""Fields that a run may go on with otherwise than it began: they change none of its numbers, or say where it ends."""


@dataclass
class RunState:
    """What one iteration hands to the next, beside weights and moments: the buffer, rollouts that are not trained yet, those
    `taken` for the next update where they are there before it, by the words of a prompt its success rate and how far the hint of
    one that is `hard` has fallen, the number of hinted groups of prompts under way, and the usual entropy."""

    buffer: RolloutBuffer
    rollouts: dict[Key, Response] = field(default_factory=dict)
    taken: dict[Key, Response] = field(default_factory=dict)
    success: dict[str, float] = field(default_factory=dict)
    hard: dict[str, float] = field(default_factory=dict)
    hints: dict[int, int] = field(default_factory=dict)
    entropy: float | None = None


def origin_of(model: torch.nn.Module, recipe: RLRecipe) -> str:
    """What a state must share with the run that goes on from it: the weights that the run began with, and the recipe's fields
    that are not at their usual values. Those of one that a later version adds are not among them."""
    return fingerprint(json.dumps(fixed_settings(recipe), sort_keys=True), *weight_parts(model))


def fixed_settings(recipe: RLRecipe) -> dict[str, Any]:
    """By their dotted names the fields with which a run must go on that are not at their usual values."""
    fields, usual = _fields(recipe), _fields(RLRecipe((TaskConfig("", ("",)),) * len(recipe.tasks)))
    return {name: value for name, value in fields.items() if name not in FREE and value != usual[name]}


def _fields(recipe: RLRecipe) -> dict[str, Any]:
    """The values of a recipe by their dotted names; a task has its number for one."""
    tree = asdict(recipe)
    return leaves(tree | {"tasks": {str(number): task for number, task in enumerate(tree["tasks"])}})


def save_state(
    run: Path, step: int, origin: str, model: torch.nn.Module, optimizer: torch.optim.Optimizer, state: RunState
) -> None:
    """Writes `run/step-N`; the one before it goes. The rollouts are written first: a state without them is none."""
    folder = run / "rollouts"
    folder.mkdir(exist_ok=True)
    about, tensors = pack_rollouts(state.rollouts | state.taken)
    save_tensors(folder / f"{step:07d}.safetensors", tensors)
    told = {"buffer": asdict(state.buffer), "rollouts": about, "taken": list(state.taken)}
    told |= {name: getattr(state, name) for name in ("success", "hard", "hints", "entropy")}
    write_text(folder / f"{step:07d}.json", json.dumps(told))
    save_progress(run, model, optimizer, TrainerState(step, {}, origin))
    for old in folder.glob(f"{'[0-9]' * 7}.*"):  # and nothing that the user put there
        if old.stem != f"{step:07d}":
            old.unlink()


def load_state(
    run: Path,
    origin: str,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    ask: Callable[[int, int], Ask],
    state: RunState,
) -> tuple[int, RunState]:
    """The newest state, or `state` at step 0 where there is none; `ask` gives what a prompt of a number asks for
    with so many groups of a hint.

    Raises ValueError where the state belongs to another recipe or checkpoint.
    """
    progress = load_progress(run, model, optimizer, origin)
    if progress is None:
        return 0, state
    name = run / "rollouts" / f"{progress.step:07d}"
    told = json.loads(name.with_suffix(".json").read_text())
    buffer = told["buffer"] | {"turns": {int(number): turn for number, turn in told["buffer"]["turns"].items()}}
    hints = {int(number): groups for number, groups in told["hints"].items()}
    ask_hinted = lambda number: ask(number, hints.get(number, 0))
    rollouts = unpack_rollouts(told["rollouts"], load_tensors(name.with_suffix(".safetensors")), ask_hinted)
    taken = {key: rollouts.pop(key) for key in map(tuple, told.get("taken", ()))}
    found = RunState(RolloutBuffer(**buffer), rollouts, taken, told["success"], told["hard"], hints, told["entropy"])
    return progress.step, found
