"""What makes a run the same run: the settings with which it must go on, and the check that a folder is free for them."""

import json
from pathlib import Path
from typing import Any

from ernest.config.recipe import Recipe, to_tree
from ernest.data.records import LINES, RecordFolder
from ernest.storage import fingerprint

RUN_FILE = "run.json"
RESUME_OVERRIDABLE = ("save_every", "show_every", "tensorboard")
"""Fields of `training` with which a run may go on differently, as with all of `parallel`: they change none of its numbers."""


def fixed_tree(recipe: Recipe) -> dict[str, Any]:
    """The recipe as a tree, without the fields with which a run may go on differently."""
    tree = to_tree(recipe)
    for name in RESUME_OVERRIDABLE:
        del tree["training"][name]
    del tree["parallel"]
    return tree


def check_run(records: RecordFolder, out: Path, recipe: Recipe, checkpoint: Path | None) -> str:
    """The settings of a run on `records` in the folder `out`.

    Raises ValueError for a mixture that the tasks of the records do not allow, and for an `out` that holds something else.
    """
    recipe.weights(sorted({record.task for record in records.stored}))
    settings = run_settings(records.path, recipe, checkpoint)
    check_free(out, settings)
    return settings


def run_settings(data: Path, recipe: Recipe, checkpoint: Path | None) -> str:
    """The records, the recipe and, where they were brought, the tokenizers of a run, as the JSON of its `RUN_FILE`."""
    lines = fingerprint(data / LINES)
    tree = {"records": lines, "tokenizers": checkpoint and str(checkpoint.resolve()), "recipe": fixed_tree(recipe)}
    return json.dumps(tree, indent=1)


def check_free(out: Path, settings: str) -> None:
    """The command that began a run goes on in its folder. Raises ValueError for another one, or a folder of something else."""
    existing = out / RUN_FILE
    if existing.is_file() and existing.read_text() != settings:
        raise ValueError(f"{out} holds a run on other records, tokenizers or settings: choose another folder, or remove it")
    if not existing.is_file() and out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} holds something else than a run of `ernest train`: choose a new folder")
