"""Elastic training beside the controls that would judge it (ERNIE 5.0 §6.4.2, Tables 9 to 12): runs of equal steps, seeds and
records, elastic and plain, and networks of the reduced size that are trained on their own.

All runs take the demo's examples and tokenizers, and are scored by its judges on records held out of the world.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ernest.checkpoint import tokenizer_spec
from ernest.config.going_on import GENTLE
from ernest.config.recipe import Recipe
from ernest.config.submodel_size import SubModelSize
from ernest.config.tables import ModelConfig
from ernest.evaluation.run import CURVE_DIRECTIONS
from ernest.model.cost import active_parameters, total_parameters, training_flops
from ernest.model.network import Ernest
from ernest.model.slicing import choose, extract
from ernest.results.small_runs import PLAIN, Study, in_one_process, scores, trained
from ernest.results.units import file_name, kept
from ernest.storage import save_tensors
from ernest.training.export import training_importance

RECORDS = 100
"""Held out, of each direction that is scored."""
TOLD = 50
"""Steps between lines that tell how far a run is."""
SIZES: Mapping[str, Mapping[str, int]] = {
    "full": {},
    "depth": {"layers": 5},
    "width": {"experts": 24},
    "sparsity": {"top_k": 1},
    "all three": {"layers": 5, "experts": 24, "top_k": 1},
}
"""What is run of the network, as in the report's tables; `all three` has 54 % of its active and 36 % of all its parameters."""
REDUCED = "all three"
OWN, OWN_COMPUTE, COMPACT = "own size, same records", "own size, same compute", "compact, trained on"
SYSTEMS = (*(f"{run}, {size}" for run in ("elastic", "plain") for size in SIZES), OWN, OWN_COMPUTE, COMPACT)
"""What is scored, in this order."""


@dataclass(frozen=True)
class Length:
    """Steps of the elastic and of the plain run, and rows of a step."""

    steps: int
    rows: int


SHORT = Length(300, 16)
"""About a quarter of the positions that the demo's training has."""


def whole_length(study: Study) -> Length:
    """That of the demo's training."""
    return Length(study.whole().training.steps, study.whole().sequence.rows)


def recipe_of(study: Study, seed: int, length: Length) -> Recipe:
    """The demo's, of this length, in one process."""
    return in_one_process(study.whole(), seed, length.rows, steps=length.steps, warmup=max(1, length.steps // 14), save_every=50)


def settings(study: Study, length: Length) -> dict[str, Any]:
    """What a result depends on."""
    return {"steps": length.steps, "rows": length.rows, "records": RECORDS, "sizes": SIZES, "gentle": GENTLE,
            "examples": study.store.fingerprint}  # fmt: skip


def measure(study: Study, seed: int, length: Length) -> dict[str, dict[str, float]]:
    """The scores of every system by direction, of one seed; runs and scores that are kept are not made again."""
    recipe, folder = recipe_of(study, seed, length), study.build / f"seed-{seed}"
    scored = partial(_scored, study, folder, seed, settings(study, length))
    runs = {
        "elastic": _trained(study, folder / "elastic", recipe),
        "plain": _trained(study, folder / "plain", replace(recipe, elastic=PLAIN)),
    }
    importance = {name: training_importance(network, study.store, study.tokenizers, recipe) for name, network in runs.items()}
    found = {}
    for name, network in runs.items():
        for size, numbers in SIZES.items():
            found[f"{name}, {size}"] = scored(f"{name}, {size}", network, importance[name], numbers)
    small = extract(runs["elastic"], choose(runs["elastic"], importance["elastic"], SubModelSize(**SIZES[REDUCED])))
    for name, own in _own_runs(recipe, small.config).items():
        begin = _keep(small, folder / "slice.safetensors") if name == COMPACT else None
        network = _trained(study, folder / file_name(name), own, begin)
        found[name] = scored(name, network)
    return found


def sizes(study: Study) -> tuple[float, float]:
    """The reduced network's share of the active and of all parameters."""
    config, spec = study.whole().model, tokenizer_spec(study.tokenizers)
    small = replace(config, **SIZES[REDUCED])
    return active_parameters(small) / active_parameters(config), total_parameters(small, spec) / total_parameters(config, spec)


def active_shares(study: Study) -> dict[str, float]:
    """The active parameters of each system, as a share of those of the full network."""
    config = study.whole().model
    shares = {size: active_parameters(replace(config, **numbers)) / active_parameters(config) for size, numbers in SIZES.items()}
    return {name: shares.get(name.partition(", ")[2], shares[REDUCED]) for name in SYSTEMS}


def _own_runs(recipe: Recipe, small: ModelConfig) -> dict[str, Recipe]:
    """Recipes of the reduced network: on its own with the same records, with the compute of the full one and of what the compact
    one is trained on for, and the compact one."""
    length, tenth = recipe.sequence.length, max(1, round(recipe.training.steps / 10))
    own = replace(recipe, model=small, elastic=PLAIN)
    spent = recipe.training.steps * training_flops(recipe.model, length) / training_flops(small, length)
    gentle = replace(own.training, steps=tenth, warmup=1, decay_share=1.0, learning_rate=GENTLE * own.training.learning_rate)
    return {
        OWN: own,
        OWN_COMPUTE: replace(own, training=replace(own.training, steps=round(spent) + tenth)),
        COMPACT: replace(own, training=gentle),
    }


# ------------------------------------------------------------------ training and scoring


def _trained(study: Study, run: Path, recipe: Recipe, begin_with: Path | None = None) -> Ernest:
    """The network at the end of a run, which tells how far it is."""

    def tell(number: int, metrics: Mapping[str, float], network: Ernest) -> None:
        if (number + 1) % TOLD == 0:
            study.tell(f"seed {recipe.seed}, {run.name}: step {number + 1} of {recipe.training.steps}")

    return trained(study, recipe, run, tell, begin_with)


def _scored(
    study: Study,
    folder: Path,
    seed: int,
    depends_on: dict[str, Any],
    system: str,
    network: Ernest,
    importance: torch.Tensor | None = None,
    numbers: Mapping[str, int] | None = None,
) -> dict[str, float]:
    """The score of each direction, of the network or of a sub-model of it."""
    chosen = choose(network, importance, SubModelSize(**numbers)) if numbers and importance is not None else None

    score = lambda: scores(study, network, CURVE_DIRECTIONS, seed, RECORDS, chosen)
    return kept(folder / "scores" / f"{system}.json", depends_on, score)


def _keep(network: Ernest, path: Path) -> Path:
    """Its weights as a file to begin with."""
    if not path.is_file():
        save_tensors(path, network.state_dict())
    return path
