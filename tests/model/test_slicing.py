"""A sub-model cut out is the masked parent (row 33)."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ernest.config.submodel_size import FULL_SIZE, SubModelSize
from ernest.config.tables import ElasticConfig
from ernest.data.collate import collate
from ernest.model.network import Ernest
from ernest.model.slicing import choose, expert_importance, extract
from ernest.model.submodel import SubModel, draw, full, stack
from tests.small import CONFIG, LEVELS, documents, network, placed, tokenizers

ALWAYS_SMALLER = ElasticConfig(full_depth=0.3, full_width=0.3, full_sparsity=0.3)


@pytest.fixture(scope="module")
def model() -> Ernest:
    return network()


@pytest.fixture(scope="module")
def batch():
    rows = [[placed(document) for document in documents(seed)[:3]] for seed in range(2)]
    return collate([*rows, [placed(document) for document in documents()[4:6]]], 160, tokenizers())


@torch.inference_mode()
@pytest.mark.parametrize("seed", range(6))
def test_logits_are_those_of_the_masked_parent(model, batch, seed):
    submodel = draw(CONFIG, LEVELS, ALWAYS_SMALLER, np.random.default_rng((5, seed)))
    small = extract(model, submodel)
    masked = model(batch, stack([submodel] * len(batch.token_id), CONFIG))
    alone = small(batch)
    for expected, got in zip([masked.text, masked.bits, *masked.codes], [alone.text, alone.bits, *alone.codes], strict=True):
        assert (expected - got).abs().max() <= 1e-5
    assert (masked.mtp - alone.mtp).abs().max() <= 1e-5
    if submodel != full(CONFIG):
        assert (model(batch).text - alone.text).abs().max() > 1e-3


def test_sizes_follow_the_formula(model):
    submodel = SubModel((0, 2, 3, 4, 5), ((0, 1, 2),) * 6, 1)
    small = extract(model, submodel)
    assert small.config == replace(CONFIG, layers=5, experts=3, top_k=1)
    count = lambda module: sum(p.numel() for p in module.parameters())
    width, hidden = CONFIG.width, CONFIG.expert_width
    expert = 3 * width * hidden + width  # two matrices in, one out, and a row of the router
    block = count(model.backbone.blocks[0])
    assert count(small.backbone) == 5 * (block - 5 * expert)
    assert count(small.backbone) < 0.5 * count(model.backbone)


def test_a_whole_extraction_is_a_copy(model):
    copy = extract(model, full(CONFIG))
    for name, value in model.state_dict().items():
        assert torch.equal(value, copy.state_dict()[name])
    copy.token_embedding.weight.add_(1.0)
    assert not torch.equal(copy.token_embedding.weight, model.token_embedding.weight)


def test_uneven_experts_cannot_be_extracted(model):
    with pytest.raises(ValueError, match="equally many experts"):
        extract(model, SubModel(full(CONFIG).layers, ((0, 1), *((0, 1, 2),) * 5), 1))


def test_experts_are_kept_by_what_they_add(model, batch):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    quiet = network()
    silenced = [3, 6]
    with torch.no_grad():
        for block in quiet.backbone.blocks:
            block.moe.w_down[silenced] = 0.0
    added = expert_importance(quiet, [batch])
    assert added.shape == (CONFIG.layers, CONFIG.experts)
    assert not added[:, silenced].any()
    chosen = choose(quiet, added, SubModelSize(4, 5, 1))
    for kept, amounts in zip(chosen.experts, added, strict=True):
        gone = [expert for expert in range(CONFIG.experts) if expert not in kept]
        assert len(kept) == 5
        assert amounts[list(kept)].min() >= amounts[gone].max()
    assert len(chosen.layers) == 4
    assert {0, 3, 4, 5} <= set(chosen.layers)
    assert chosen.top_k == 1
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_padding_says_nothing_of_experts(model):
    rows = [[placed(document)] for document in documents()[:3]]
    tight, loose = (expert_importance(model, [collate(rows, length, tokenizers())]) for length in (50, 90))
    torch.testing.assert_close(tight, loose)


def test_choosing_everything_is_the_full_model(model):
    assert choose(model, torch.rand(CONFIG.layers, CONFIG.experts), FULL_SIZE) == full(CONFIG)


@pytest.mark.parametrize(
    ("size", "name"), [({"layers": 3}, "layers = 3"), ({"layers": 7}, "layers = 7"), ({"experts": 0}, "experts = 0"),
                       ({"experts": 9}, "experts = 9"), ({"top_k": 0}, "top_k = 0"), ({"top_k": 3}, "top_k = 3")],
)  # fmt: skip
def test_impossible_sizes_are_named(model, size, name):
    with pytest.raises(ValueError, match=name):
        choose(model, torch.rand(CONFIG.layers, CONFIG.experts), SubModelSize(**size))
