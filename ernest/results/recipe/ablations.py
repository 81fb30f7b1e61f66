"""Trains the arms of the ablations on the examples of a demo with its tokenizers, and measures them alike."""

import shutil
from collections.abc import Sequence
from dataclasses import replace

from ernest.model.network import Ernest
from ernest.model.submodel import full
from ernest.results.held_out import held_out, losses
from ernest.results.recipe import changes
from ernest.results.recipe.arms import ALL, ARMS, BASE, FOUR, MIXTURES, NO_FLIPS, PICTURES, ROWS, SIZE, SOUNDS, Arm, recipe_of
from ernest.results.recipe.watched import watch, watched
from ernest.results.small_runs import Study, evenness, scores, trained
from ernest.results.units import kept

DRAWN = 150
"""Pictures that are drawn, and described, for a score."""
INJECTED, CELLS = 0.2, 4
"""Share of the bits that are turned over while a picture is drawn, at the scale of so many cells."""
Measures = dict[str, float]


def measure(study: Study, seed: int, arms: Sequence[Arm] = ARMS) -> dict[str, dict[str, Measures]]:
    """What was measured of each arm, by base and name, of one seed; what is kept is not measured again."""
    found: dict[str, dict[str, Measures]] = {}
    for arm in arms:
        folder = study.build / f"seed-{seed}"
        settings = {"size": SIZE, "rows": ROWS, "steps": MIXTURES[arm.base].steps, "weights": MIXTURES[arm.base].weights,
                    "drawn": DRAWN, "examples": study.store.fingerprint}  # fmt: skip
        made = kept(folder / f"{arm.folder}.json", settings, lambda arm=arm: _measured(study, arm, seed))
        found.setdefault(arm.base, {})[arm.name] = made
    return found


def _measured(study: Study, arm: Arm, seed: int) -> Measures:
    """Trains an arm, or goes on, and measures it; the run itself is not kept."""
    recipe, run = recipe_of(study, arm, seed), study.build / f"seed-{seed}" / arm.folder
    study.tell(f"seed {seed}: {arm.base}, {arm.name}")
    with arm.within():
        network = trained(study, recipe, run, watch(study, recipe, run) if arm.base == ALL else None)
        found = _held_out_losses(study, arm, network)
        if arm.draws:
            found |= _drawn(study, arm, network, seed)
    if arm.base == ALL:
        found |= evenness(study, recipe, network) | watched(run)
    if arm.name == FOUR:
        found |= _cut_to_one(study, network)
    shutil.rmtree(run)
    return found


# ------------------------------------------------------------------ what is measured


def _held_out_losses(study: Study, arm: Arm, network: Ernest) -> Measures:
    examples = held_out(study)
    found = losses(network, examples, study.tokenizers, MIXTURES[arm.base].tasks)
    if arm.base == PICTURES:
        flipped = losses(network, examples, study.tokenizers, ("text→image",), corruption=study.whole().sequence)
        found |= {f"{name}, flipped history": value for name, value in flipped.items()}
    if arm.base == SOUNDS:
        wrong = losses(network, examples, study.tokenizers, ("text→speech",), wrong_first_codes=True)
        found |= {f"{name}, wrong first code": value for name, value in wrong.items()}
    return found


def _drawn(study: Study, arm: Arm, network: Ernest, seed: int) -> Measures:
    """Scores of pictures drawn and described, and drawn again while bits of a scale are turned over."""
    plain = scores(study, network, ("text→image", "image→text"), seed, DRAWN)
    found = {f"score, {name}": value for name, value in plain.items()}
    if arm.name in (BASE, NO_FLIPS):
        with changes.flipped_draws(CELLS, INJECTED, seed):
            flipped = scores(study, network, ("text→image",), seed, DRAWN)
        found["score, text→image, flipped bits"] = flipped["text→image"]
    return found


def _cut_to_one(study: Study, network: Ernest) -> Measures:
    """Losses with one expert a token."""
    one = replace(full(network.config), top_k=1)
    found = losses(network, held_out(study), study.tokenizers, MIXTURES[ALL].tasks, one)
    return {f"{name}, one expert": value for name, value in found.items()}
