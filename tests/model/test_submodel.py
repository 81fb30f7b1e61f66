"""The elastic draw (row 31)."""

from collections import Counter

import numpy as np
import pytest

from ernest.config.tables import ElasticConfig, ModelConfig
from ernest.model.submodel import SubModel, draw, droppable, full, stack

CONFIG = ModelConfig(layers=8, width=64, heads=1, kv_heads=1, experts=8, top_k=4)
LEVELS = 4


@pytest.fixture(scope="module")
def draws() -> list[SubModel]:
    rng = np.random.default_rng(0)
    return [draw(CONFIG, LEVELS, ElasticConfig(), rng) for _ in range(100_000)]


def test_frequencies(draws):
    everything = full(CONFIG)
    depth = np.array([s.layers == everything.layers for s in draws])
    width = np.array([s.experts == everything.experts for s in draws])
    sparsity = np.array([s.top_k == CONFIG.top_k for s in draws])
    assert abs(depth.mean() - 0.75) <= 0.01
    assert abs(width.mean() - 0.80) <= 0.01
    assert abs(sparsity.mean() - 0.80) <= 0.01
    # The dimensions are drawn independently: the whole network runs in 48 of 100 rows.
    assert abs((depth & width & sparsity).mean() - 0.48) <= 0.01
    smaller = Counter(s.top_k for s in draws if s.top_k < CONFIG.top_k)
    assert sorted(smaller) == [1, 2, 3]
    assert all(abs(n / smaller.total() - 1 / 3) <= 0.02 for n in smaller.values())
    depths = Counter(len(s.layers) for s in draws if len(s.layers) < CONFIG.layers)
    assert sorted(depths) == [5, 6, 7]
    assert all(abs(n / depths.total() - 1 / 3) <= 0.02 for n in depths.values())


def test_no_draw_breaks_a_rule(draws):
    kept_always = {0, 4, 5, 6, 7}
    for submodel in set(draws):
        assert kept_always <= set(submodel.layers)
        assert list(submodel.layers) == sorted(set(submodel.layers))
        assert 1 <= submodel.top_k <= CONFIG.top_k
        for chosen in submodel.experts:
            assert list(chosen) == sorted(set(chosen))
            assert len(chosen) in (4, 8)
            assert len(chosen) >= submodel.top_k


def test_every_middle_layer_and_every_expert_goes_at_times(draws):
    gone = Counter(layer for s in draws for layer in range(CONFIG.layers) if layer not in s.layers)
    assert sorted(gone) == [1, 2, 3]
    halves = [s.experts for s in draws[:30_000] if s.experts != full(CONFIG).experts]
    kept = np.zeros((CONFIG.layers, CONFIG.experts))
    for experts in halves:
        for layer, chosen in enumerate(experts):
            kept[layer, list(chosen)] += 1
    assert np.abs(kept / len(halves) - 0.5).max() <= 0.02
    assert any(experts[0] != experts[1] for experts in halves)  # each layer has a half of its own


def test_droppable_layers_lie_between_the_first_and_the_heads():
    assert droppable(CONFIG, 4) == (1, 2, 3)
    assert droppable(ModelConfig(layers=5), 4) == ()


@pytest.mark.parametrize("layers", [5, 8])
def test_a_network_that_cannot_shrink_is_drawn_whole(layers):
    config = ModelConfig(layers=layers, width=64, heads=1, kv_heads=1, experts=1, top_k=1)
    rng = np.random.default_rng(0)
    never = ElasticConfig(full_depth=0.0, full_width=0.0, full_sparsity=0.0)
    drawn = draw(config, 4, never, rng)
    assert drawn.top_k == 1
    assert drawn.experts == full(config).experts
    assert len(drawn.layers) == 5 or layers == 8


def test_masks_of_rows():
    halves = SubModel((0, 3), ((0, 1), (0, 1), (0, 1), (2, 3)), 1)
    config = ModelConfig(layers=4, experts=4, top_k=2)
    masks = stack([full(config), halves], config)
    assert masks.running == (None, (0,), (0,), None)
    assert masks.most == 2
    assert masks.experts[1].tolist() == [[True, True, False, False]] * 3 + [[False, False, True, True]]
    assert masks.experts[0].all()
    assert masks.top_k.tolist() == [2, 1]
    assert stack([full(config)], config).experts is None
    assert stack([halves, halves], config).running == (None, (), (), None)
    assert stack([halves, halves], config).most == 1
