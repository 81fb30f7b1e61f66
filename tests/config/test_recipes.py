"""The recipes that come with Ernest: they are read, they build, and they are as large as they say."""

from dataclasses import replace

import pytest
import torch

from ernest.checkpoint import tokenizer_spec
from ernest.config.recipe import Recipe, find_recipe, load_recipe
from ernest.config.tokenizer_spec import TokenizerSpec
from ernest.model.cost import active_parameters, total_parameters, trained_parameters
from ernest.model.network import Ernest
from ernest.tokenizers.text import TextTokenizer
from ernest.training.loop import train
from ernest.training.tokenizers import check_network


def spec_of(recipe: Recipe) -> TokenizerSpec:
    """With as many tokens as the recipe asks for."""
    return replace(tokenizer_spec(check_network(recipe, TextTokenizer())), vocabulary=recipe.tokenizers.vocabulary)


@pytest.mark.parametrize(
    ("name", "millions", "active"),
    [
        ("tiny", (20, 23), 0.12),
        ("small", (90, 110), 0.1),
        ("sparse", (55, 60), 0.03),
        ("base", (950, 1050), 0.03),
        ("trillion", (2.39e6, 2.41e6), 0.03),
    ],
)
def test_a_recipe_builds_and_is_as_large_as_it_says(name, millions, active):
    recipe = load_recipe(find_recipe(name))
    spec = spec_of(recipe)
    with torch.device("meta"):
        network = Ernest(recipe.model, spec)
    assert sum(p.numel() for p in network.parameters()) == trained_parameters(recipe.model, spec)
    total = total_parameters(recipe.model, spec)
    assert millions[0] < total / 1e6 < millions[1]
    assert active_parameters(recipe.model) / total < active


@pytest.mark.long
def test_the_recipe_small_trains(store, tmp_path):
    """At a reduced batch: nothing on the way is tied to the demo's sizes."""
    from tests.small import tokenizers

    recipe = load_recipe(
        find_recipe("small"), ["sequence.rows=1", "sequence.length=120", "training.steps=3", "training.show_every=0"]
    )
    recipe = replace(recipe, mixture={})
    model = train(recipe, store, tokenizers(), tmp_path)
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())
