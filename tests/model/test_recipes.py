"""Every legal recipe trains, is cut down and generates, in both types; what cannot is refused before any work."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ernest.checkpoint import tokenizer_spec
from ernest.config.submodel_size import SubModelSize
from ernest.config.tables import ModelConfig
from ernest.data.collate import collate
from ernest.data.examples import EncodedSegment
from ernest.generation.engine import Engine
from ernest.generation.request import MaxLengths
from ernest.model.network import Ernest
from ernest.model.slicing import choose, expert_importance, extract
from ernest.model.submodel import draw, stack
from ernest.training.loss import LossBalancer
from ernest.training.optimizer import make_optimizer
from ernest.training.schedule import ScheduleValues
from ernest.training.step import StepState, step
from tests.small import LEVELS, OFTEN_SMALLER, documents, placed, recipe, tokenizers

SIZES = {
    "layers": st.integers(-1, 6),
    "width": st.sampled_from([0, 8, 16, 24, 40, 60, 64]),
    "heads": st.integers(0, 4),
    "kv_heads": st.integers(0, 4),
    "experts": st.integers(0, 9),
    "top_k": st.integers(0, 4),
    "expert_width": st.sampled_from([0, 1, 8, 16, 20, 24, 40, 50, 60]),
    "vit_width": st.sampled_from([0, 4, 6, 8, 20]),
    "vit_layers": st.integers(-1, 2),
    "qk_norm": st.booleans(),
    "multi_token": st.booleans(),
    "rope_base": st.sampled_from([-1.0, 0.0, 1.0, 1e4, 1e6]),
    "norm_eps": st.sampled_from([-1.0, 0.0, 1e-5]),
}
SMALLEST = {
    "layers": LEVELS + 1, "width": 8, "heads": 1, "kv_heads": 1, "experts": 1, "top_k": 1, "expert_width": 8, "vit_width": 4,
    "vit_layers": 0, "qk_norm": False, "multi_token": False, "rope_base": 1e4, "norm_eps": 1e-5,
}  # fmt: skip


def use(config: ModelConfig, bf16: bool) -> None:
    """One step, a cut, one token. Nothing may fail once the network stands."""
    model = Ernest(config, tokenizer_spec(tokenizers())).train()
    batch = collate([[placed(document)] for document in documents()], 100, tokenizers())
    state = StepState(make_optimizer(model, recipe().training), LossBalancer({}), 1.0, bf16)
    rng = np.random.default_rng(0)
    submodels = [draw(config, LEVELS, OFTEN_SMALLER, rng) for _ in documents()]
    metrics = step(model, batch, stack(submodels, config), state, ScheduleValues(1e-3, 1e-3, 0.3))
    assert all(torch.isfinite(torch.tensor(value)) for value in metrics.values()), metrics
    importance = expert_importance(model, [batch])
    small = extract(model, choose(model, importance, SubModelSize(LEVELS + 1, max(1, config.experts // 2), 1)))
    engine = Engine(small, tokenizers(), max_lengths=MaxLengths(tokens=1), bf16=bf16)
    assert len(engine.answers([[EncodedSegment("text", "a", False)]], "text")) == 1


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bfloat16"])
@example(sizes=SMALLEST | {"expert_width": 50})
@example(sizes=SMALLEST | {"expert_width": 60})
@example(sizes=SMALLEST | {"width": 12})
@example(sizes=SMALLEST | {"width": 24, "heads": 4, "kv_heads": 2})
@example(sizes=SMALLEST)
@settings(max_examples=20)
@given(sizes=st.fixed_dictionaries(SIZES))
def test_a_recipe_runs_or_is_refused_at_once(bf16, sizes):
    spec = tokenizer_spec(tokenizers())
    try:
        config = ModelConfig(**sizes)
        with torch.device("meta"):
            Ernest(config, spec)
    except ValueError:
        return
    use(config, bf16)


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bfloat16"])
@settings(max_examples=10)
@given(data=st.data())
def test_recipes_that_are_legal_by_construction_run(bf16, data):
    """The same on sizes of which none is refused, so that every example does the work."""
    heads = data.draw(st.sampled_from([1, 2, 4]))
    experts = data.draw(st.integers(1, 9))
    config = ModelConfig(
        layers=data.draw(st.integers(LEVELS + 1, LEVELS + 3)),
        width=8 * heads * data.draw(st.integers(1, 3)),
        heads=heads,
        kv_heads=data.draw(st.sampled_from([k for k in (1, 2, 4) if heads % k == 0])),
        experts=experts,
        top_k=data.draw(st.integers(1, min(experts, 4))),
        expert_width=8 * data.draw(st.integers(1, 5)),
        vit_width=4 * data.draw(st.integers(1, 5)),
        vit_layers=data.draw(st.integers(0, 2)),
        qk_norm=data.draw(st.booleans()),
        multi_token=data.draw(st.booleans()),
    )
    use(config, bf16)


@pytest.mark.parametrize(("name", "value"), [("expert_width", 50), ("expert_width", 60), ("width", 12)])
def test_rows_that_products_cannot_take_are_refused_in_one_line(name, value):
    with pytest.raises(ValueError, match=rf"^model\.{name} = {value} must be a multiple of 8[^\n]*$"):
        replace(ModelConfig(width=16, heads=1, kv_heads=1), **{name: value})
