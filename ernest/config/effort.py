"""Scales a recipe's steps and records by a share of the effort."""

from dataclasses import fields, replace

from ernest.config.recipe import Recipe

LEAST = {"pictures": 40, "clips": 40, "videos": 40, "texts": 40, "held_out": 12}
"""Records of the world, however small the effort: some must be learnt from, and a few show that they can be scored."""


def with_effort(recipe: Recipe, share: float) -> Recipe:
    """Every stage's steps scaled by `share`; below 1 the world shrinks with its square root."""
    scale = lambda steps, least: max(min(steps, least), round(steps * share))
    tokenizers, world = recipe.tokenizers, recipe.world
    steps = {f.name: scale(getattr(tokenizers, f.name), 8) for f in fields(tokenizers) if f.name.endswith("_steps")}
    shrink = min(1.0, share) ** 0.5
    amounts = {name: max(min(least, getattr(world, name)), round(getattr(world, name) * shrink)) for name, least in LEAST.items()}
    training = replace(
        recipe.training,
        steps=scale(recipe.training.steps, 12),
        warmup=scale(recipe.training.warmup, 2),
        ramp=scale(recipe.training.ramp, 2),
        show_every=scale(recipe.training.show_every, 6),
        save_every=scale(recipe.training.save_every, 6),
    )
    return replace(recipe, tokenizers=replace(tokenizers, **steps), world=replace(world, **amounts), training=training)
