"""The facts of a run: its share of the machine's products counts each core once, however many threads are set."""

import os
from types import SimpleNamespace
from typing import Any

import torch

from ernest.config.recipe import Recipe
from ernest.config.tokenizer_spec import usual_spec
from ernest.device import threads
from ernest.evaluation import run_facts
from ernest.model.cost import training_flops


def test_cores_are_counted_once(monkeypatch):
    recipe, measured_in = Recipe(), []

    def rate(dtype: torch.dtype) -> float:
        measured_in.append(torch.get_num_threads())
        return 1e11

    monkeypatch.setattr(run_facts, "matmul_rate", rate)
    model: Any = SimpleNamespace(config=recipe.model, spec=usual_spec(recipe.tokenizers.vocabulary, recipe.media))
    with threads(2):
        facts = run_facts.facts_of(model, recipe, [{"positions": 5000.0, "seconds": 1.0}])
        assert torch.get_num_threads() == 2
    cores = os.cpu_count() or 1
    share = 5000 * training_flops(recipe.model, recipe.sequence.length) / (cores * 1e11)
    assert measured_in == [1]
    assert f"{share:.0%} of the measured rate of products on {cores} threads" in facts["speed"]
