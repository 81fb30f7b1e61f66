"""The demo's recipe at a given effort, without torch."""

import math
from dataclasses import replace

from ernest.config.effort import with_effort
from ernest.config.media import USUAL
from ernest.config.recipe import Recipe, find_recipe, load_recipe

FULL_MINUTES = 22.0
"""What the recipe takes on two cores of a current server."""
WHOLE_WORDS = "sequence.bpe_dropout=0.0"
"""What is worked out in words looks back by so many tokens, as many in every text."""


def demo_recipe(minutes: float = FULL_MINUTES, seed: int = 0, overrides: tuple[str, ...] = ()) -> Recipe:
    """The recipe `tiny` on whole words, with `overrides`, its steps and records scaled to `minutes`. Raises ValueError for one
    that cannot be."""
    if not 0 < minutes < math.inf:
        raise ValueError(f"minutes = {minutes} must be positive and finite")
    if seed < 0:
        raise ValueError(f"seed = {seed} must not be negative")
    recipe = load_recipe(find_recipe("tiny"), (WHOLE_WORDS, *overrides))
    if recipe.training.adapter_rank:
        raise ValueError("training.adapter_rank: the demo trains a model from the start: adapters are for `ernest train --from`")
    if recipe.media != USUAL:
        changed = next(name for name, value in vars(recipe.media).items() if value != getattr(USUAL, name))
        raise ValueError(
            f"media.{changed} = {getattr(recipe.media, changed)}: the demo's world and judges are of {getattr(USUAL, changed)}; "
            "`ernest import` and `ernest train` take other sizes and rates"
        )
    return replace(with_effort(recipe, minutes / FULL_MINUTES), seed=seed)
