"""What a run was begun with, as its folder says: it goes on with the same, and a folder of something else is left alone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ernest.config.rl import RLRecipe
from ernest.rl.state import fixed_settings
from ernest.storage import fingerprint, folder_fingerprint, is_leftover, write_text
from ernest.training.resume import newest_state
from ernest.training.run_settings import leaves
from ernest.verifiers.verdict import Verifier

BEGUN = "begun.json"
RECIPE = "recipe.json"
SAMPLER = "sampler"
"""The folder of a run in which tokenizers lie for a process that makes rollouts; a kill may leave it."""


def begun_with(checkpoint: Path, judges: Path | None, recipe: RLRecipe, own: Mapping[str, Verifier]) -> dict[str, Any]:
    """The weights, the judges and the user's functions by their fingerprints, and the recipe's fields that must stay."""
    return {
        "checkpoint": fingerprint(checkpoint / "model.safetensors"),
        "judges": None if judges is None else folder_fingerprint(judges),
        "verifiers": {name: getattr(verify, "fingerprint", "") for name, verify in own.items()},
        "recipe": fixed_settings(recipe),
    }


def check_run(run: Path, begun: Mapping[str, Any]) -> None:
    """Raises ValueError for a folder of something else, whose files a run would replace, and, by name, for what a run that has a
    state was begun with otherwise."""
    others = [entry for entry in run.iterdir() if entry.name != SAMPLER and not is_leftover(entry)] if run.is_dir() else []
    if others and not _is_rl(run / RECIPE):
        raise ValueError(f"{run} holds something else than a run of `ernest rl`: choose a new folder")
    if newest_state(run) is None or not (run / BEGUN).is_file():
        return
    before, now = leaves(json.loads((run / BEGUN).read_text())), leaves(json.loads(json.dumps(begun)))
    differing = sorted(name for name in before | now if before.get(name) != now.get(name))
    if differing:
        more = ", …" if len(differing) > 3 else ""
        raise ValueError(
            f"{run} holds a run that was begun with others ({', '.join(differing[:3])}{more}): restore them to go on, or choose "
            "another folder"
        )


def note_begun(run: Path, begun: Mapping[str, Any], recipe: Mapping[str, Any]) -> None:
    """Writes what a run is begun, or goes on, with."""
    write_text(run / BEGUN, json.dumps(begun, indent=1))
    write_text(run / RECIPE, json.dumps(recipe, indent=1, ensure_ascii=False))


def _is_rl(path: Path) -> bool:
    """Whether a file is the recipe of a run of reinforcement learning: no other one has tasks."""
    try:
        return "tasks" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False
