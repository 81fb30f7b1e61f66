"""Derives the sizes of a network from one number, and scales a recipe's steps and records by a share of the effort."""

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a recipe is made with `sized`
    from ernest.config.recipe import Recipe


def sized(size: int) -> dict[str, Any]:
    """The network of a size: as many layers, 32 columns and 8 columns of an expert for each, heads of 64 columns."""
    if size < 5:
        raise ValueError(f"size = {size} must be at least 5: four layers carry audio heads, and one stands below them")
    width = max(64, 32 * size // 64 * 64)
    heads = width // 64
    return {
        "layers": size,
        "width": width,
        "heads": heads,
        "kv_heads": heads // 2 if heads % 2 == 0 else heads,
        "expert_width": 8 * size,
    }


def with_effort(recipe: "Recipe", share: float) -> "Recipe":
    """Every stage's steps scaled by `share`; below 1 the world shrinks with its square root."""
    scale = lambda steps, least: max(min(steps, least), round(steps * share))  # noqa: E731
    tokenizers, world = recipe.tokenizers, recipe.world
    steps = {f.name: scale(getattr(tokenizers, f.name), 8) for f in fields(tokenizers) if f.name.endswith("_steps")}
    shrink = min(1.0, share) ** 0.5
    amounts = {f.name: max(min(40, amount), round(amount * shrink)) for f in fields(world) for amount in [getattr(world, f.name)]}
    training = replace(
        recipe.training,
        steps=scale(recipe.training.steps, 12),
        warmup=scale(recipe.training.warmup, 2),
        show_every=scale(recipe.training.show_every, 6),
        save_every=scale(recipe.training.save_every, 6),
    )
    return replace(recipe, tokenizers=replace(tokenizers, **steps), world=replace(world, **amounts), training=training)
