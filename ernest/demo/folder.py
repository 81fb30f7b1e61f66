"""The demo's folder: which recipe it belongs to, what the demo leaves in it, and the seconds that its parts have taken."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from ernest.config.recipe import Recipe, to_tree
from ernest.device import processor_seconds
from ernest.evaluation.own_run import DEMO
from ernest.evaluation.results import StageTime
from ernest.storage import is_leftover, read_json, remove_files, write_text
from ernest.training.resume import STATE_FILES
from ernest.training.run_settings import differing_settings, fixed_tree, without_free

RECIPE, TIMES = DEMO, "times.json"
OUTPUTS = (
    *("judges/*.safetensors", "tokenizers/*.safetensors", "tokenizers/text.json"),
    *("examples/*/examples.jsonl", "examples/*/index.json", "examples/*/*.npy"),
    *(f"step-*/{name}" for name in STATE_FILES),
    *(
        "model/model.json",
        "model/recipe.json",
        "model/*.safetensors",
        "model/tokenizers/*.safetensors",
        "model/tokenizers/text.json",
    ),
    *("findings/findings.json", "findings/arrays.npz", "bench/*.jsonl"),
    *("recipe.json", TIMES, "metrics.jsonl", "report.html"),
)
"""Files that the demo leaves beside `RECIPE`, as patterns of names."""


def claim(build: Path, recipe: Recipe, console: Console) -> None:
    """Takes `build` over for `recipe`: what the demo made there by another recipe is removed.

    Raises ValueError for a folder that holds something else.
    """
    build.mkdir(parents=True, exist_ok=True)
    recipe_file = build / RECIPE
    if not recipe_file.exists() and not all(map(is_leftover, build.iterdir())):
        raise ValueError(f"{build} is not empty and holds no demo: choose a new folder")
    if recipe_file.exists() and _differs(recipe_file, recipe):
        console.print(f"{build} holds another recipe's work: starting anew")
        remove_files(build, *OUTPUTS)
    elif recipe_file.exists():
        console.print(f"going on in {build}")
    write_text(recipe_file, json.dumps(to_tree(recipe), indent=1))


def _differs(stored: Path, recipe: Recipe) -> bool:
    """Whether the stored recipe would give other numbers, in one of the fields that it has."""
    now = json.loads(json.dumps(fixed_tree(recipe)))
    return bool(differing_settings({"recipe": without_free(read_json(stored))}, {"recipe": now}))


@contextmanager
def timed(build: Path, name: str) -> Iterator[None]:
    """Adds the seconds of the body, by the clock and of processors, to what `name` took before it was interrupted."""
    wall, cpu = time.monotonic(), processor_seconds()
    try:
        yield
    finally:
        add_times(build, {name: (time.monotonic() - wall, processor_seconds() - cpu)})


def add_times(build: Path, spent: Mapping[str, tuple[float, float]], within: str = "") -> None:
    """Adds seconds, by the clock and of processors, to what each part took before; parts `within` another are counted there."""
    known = times(build)
    for name, (wall, cpu) in spent.items():
        before = known.get(name, StageTime(name, 0.0, 0.0, within))
        known[name] = replace(before, wall=before.wall + wall, cpu=before.cpu + cpu)
    write_text(build / TIMES, json.dumps([asdict(stage) for stage in known.values()]))


def times(build: Path) -> dict[str, StageTime]:
    """What each part took so far, by its name, in the order in which they were ended."""
    path = build / TIMES
    return {entry["name"]: StageTime(**entry) for entry in json.loads(path.read_text())} if path.exists() else {}
