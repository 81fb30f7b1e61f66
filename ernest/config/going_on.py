"""The recipe of a training that goes on from a trained network: what that fixes, and what suits it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ernest.config.recipe import Recipe
from ernest.config.sizes import sized
from ernest.config.tables import ModelConfig
from ernest.overrides import read_tree

GENTLE = 0.25
"""Share of the recipe's learning rate with which training goes on from a trained network: a high one forgets."""


def going_on(recipe: Recipe, sizes: ModelConfig) -> Recipe:
    """The recipe of a training that goes on from a network of these sizes; adapters leave its choice of experts as it is.

    Raises ValueError for adapters that are no smaller than what they change.
    """
    rank, most = recipe.training.adapter_rank, sizes.width // 2
    if rank > most:
        raise ValueError(
            f"training.adapter_rank = {rank}: above {most}, factors hold more numbers than matrices {sizes.width} wide: choose a "
            "smaller rank, or 0 to train all weights"
        )
    training = replace(recipe.training, bias_speed=0.0) if recipe.training.adapter_rank else recipe.training
    return replace(recipe, model=sizes, training=training)


def check_named(file: Path, sizes: ModelConfig) -> None:
    """Raises ValueError where a recipe's file asks for another network than that of these sizes, which is taken as it is. The
    usual size is not asked for: a recipe names it that is about other things."""
    tree = read_tree(file)
    size, named = tree.get("size", Recipe.size), tree.get("model", {})
    asked: Mapping[str, Any] = (sized(size) if size != Recipe.size else {}) | named
    for name, value in asked.items():
        if value != (fixed := getattr(sizes, name)):
            field = f"model.{name} = {value}" if name in named else f"size = {size}"
            raise ValueError(f"{file}: {field}: the network goes on as it is, with model.{name} = {fixed}: leave {field} out")
