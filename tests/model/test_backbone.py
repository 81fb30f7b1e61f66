"""Who influences whom, measured (rows 4 and 5b), and rows that run different sub-models (row 31)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.checkpoint import checkpoint

from ernest.data.collate import collate
from ernest.data.examples import Example
from ernest.model.backbone import Routing
from ernest.model.submodel import SubModel, full, stack
from ernest.sequence.mask import allowed
from ernest.sequence.positions import rotary_angles
from tests.references.mask import sees
from tests.small import CONFIG, Maker, network, placed, tokenizers


def mixed_row():
    """Two documents of all forms in one row, and the lengths of their blocks, written out by hand."""
    make = Maker(np.random.default_rng(0))
    cut = lambda words: [1] * len(tokenizers().text.encode(words))
    image = [16]
    scales = [4, 16, 1]
    first = Example((make.text(False, "a red seven"), make.pixels(), make.text(True, "a"), make.latent()), "")
    second = Example((make.codes(False, 3), make.text(True, "seven"), make.latent(2, True, True)), "")
    blocks = [
        [*cut("a red seven"), 1, *image, 1, 1, *cut("a"), 1, *scales, 1],
        [1, 1, 1, 1, 1, *cut("seven"), 1, *scales, *scales],
    ]
    return [placed(first), placed(second)], blocks


def run(model, x, batch, routing=None):
    mask = allowed(batch.document, batch.group, batch.document, batch.group)
    rows = len(x)
    places, masks = batch.position.expand(rows, -1, -1), mask.expand(rows, -1, -1)
    return model.trunk(x, places, masks, routing or Routing(), lambda layer, hidden: hidden)[0]


@torch.inference_mode()
def test_inputs_reach_exactly_the_outputs_that_may_see_them():
    row, blocks = mixed_row()
    visible = sees(blocks)
    length = len(visible)
    assert length == sum(len(p.layout) for p in row) >= 95
    model = network()
    batch = collate([row], length, tokenizers())
    x = model.embed(batch)
    base = run(model, x, batch)
    noise = torch.randn(x.shape[-1], generator=torch.Generator().manual_seed(0))
    perturbed = x.repeat(length, 1, 1)
    perturbed[torch.arange(length), torch.arange(length)] += 3 * noise
    change = (run(model, perturbed, batch) - base).abs().amax(dim=-1).T.numpy()  # [output, input]
    np.testing.assert_array_equal(change > 1e-6, visible)
    assert change[~visible].max() <= 1e-6
    assert change[visible].min() > 1e-5


@torch.inference_mode()
@pytest.mark.parametrize("offset", [(37, 37, 37), (19, 4.5, 230)])
def test_a_common_offset_of_all_places_changes_nothing(offset):
    row, _ = mixed_row()
    batch = collate([row], 110, tokenizers())
    model = network()
    x = model.embed(batch)
    base = run(model, x, batch)
    moved = run(model, x, replace(batch, position=batch.position + torch.tensor(offset)))
    assert (model.text_head(base) - model.text_head(moved)).abs().max() <= 1e-4
    stretched = run(model, x, replace(batch, position=batch.position * 2))
    assert (model.text_head(base) - model.text_head(stretched)).abs().max() > 1e-3


SUBMODELS = [
    full(CONFIG),
    SubModel((0, 2, 3, 4, 5), full(CONFIG).experts, 2),
    SubModel((0, 1, 3, 4, 5), ((0, 1, 2, 3), (1, 3, 5, 7), (4, 5, 6, 7), (0, 2, 4, 6), (0, 1, 6, 7), (2, 3, 4, 5)), 2),
    SubModel((0, 3, 4, 5), ((0, 5, 6, 7),) * 6, 1),
]


@torch.inference_mode()
def test_rows_of_different_submodels_are_each_as_if_alone():
    row, _ = mixed_row()
    batch = collate([row], 110, tokenizers())
    model = network()
    x = model.embed(batch)
    together = run(model, x.repeat(4, 1, 1), batch, Routing(stack(SUBMODELS, CONFIG)))
    outputs = [run(model, x, batch, Routing(stack([submodel], CONFIG))) for submodel in SUBMODELS]
    for alone, among in zip(outputs, together, strict=True):
        assert (alone[0] - among).abs().max() <= 1e-5
    assert (outputs[0] - run(model, x, batch)).abs().max() <= 1e-6
    for i in range(4):
        for j in range(i):
            assert (outputs[i] - outputs[j]).abs().max() > 1e-2


def test_what_a_submodel_leaves_out_gets_no_gradient():
    row, _ = mixed_row()
    batch = collate([row, row], 110, tokenizers())
    model = network().train()
    chosen = [SUBMODELS[2], replace(SUBMODELS[2], top_k=1)]
    x = model.embed(batch)
    mask = allowed(batch.document, batch.group, batch.document, batch.group)
    routing = Routing(stack(chosen, CONFIG), batch.valid)
    out, router_output = model.trunk(x, batch.position, mask, routing, lambda layer, hidden: hidden)
    out.square().sum().backward()
    for layer, block in enumerate(model.backbone.blocks):
        gradients = [p.grad for p in block.parameters()]
        if layer not in SUBMODELS[2].layers:
            assert all(g is not None and not g.any() for g in gradients)  # it ran, on no rows
            assert not router_output.load[layer].any()
            assert (router_output.expert_ids[layer] == -1).all()
            continue
        load, expected_load = router_output.load[layer]
        assert all(g is not None and g.any() for g in gradients)
        gone = [e for e in range(CONFIG.experts) if e not in SUBMODELS[2].experts[layer]]
        assert not block.moe.w_gate_up.grad[gone].any()
        assert not block.moe.w_down.grad[gone].any()
        assert not block.moe.router.weight.grad[gone].any()
        assert not load[gone].any()
        # Fair shares follow what a token could choose from: two choices in the first row, one in the second.
        kept = list(SUBMODELS[2].experts[layer])
        tokens = int(batch.valid[0].sum())
        torch.testing.assert_close(expected_load[kept], torch.full((4,), 3 * tokens / 4))
        assert not expected_load[gone].any()
        assert load.sum() == 3 * tokens


def test_checkpointing_a_block_counts_once():
    """Running it again in the backward pass changes no count, since counts are values; gradients are the same."""
    row, _ = mixed_row()
    batch = collate([row], 110, tokenizers())
    model = network().train()
    x = model.embed(batch).detach()
    mask = allowed(batch.document, batch.group, batch.document, batch.group)
    angles = rotary_angles(batch.position, CONFIG.head_dim, CONFIG.rope_base)
    block, found = model.backbone.blocks[0], []
    for again in (False, True):
        model.zero_grad()
        arguments = x, angles, mask, 0, Routing(valid=batch.valid)
        y, router_output = checkpoint(block, *arguments, use_reentrant=False) if again else block(*arguments)
        y.square().sum().backward()
        found.append((router_output.load, router_output.expert_ids, *(p.grad for p in block.parameters())))
    assert found[0][0][0].sum() == CONFIG.top_k * batch.valid.sum()
    assert all(torch.equal(once, twice) for once, twice in zip(*found, strict=True))


@pytest.mark.parametrize("trains", [True, False])
def test_experts_of_every_layer_can_be_replayed(trains):
    """Bit for bit, rows of different sub-models among them, though routers would by now choose others."""
    row, _ = mixed_row()
    batch = collate([row] * 4, 110, tokenizers())
    model, submodels = network(), stack(SUBMODELS, CONFIG)
    with torch.set_grad_enabled(trains):
        first = model(batch, submodels)
        for block in model.backbone.blocks:
            block.moe.router.selection_bias.normal_()
        again = model(batch, submodels, first.router_output.expert_ids)
        other = model(batch, submodels)
    assert torch.equal(first.router_output.expert_ids, again.router_output.expert_ids)
    assert not torch.equal(first.router_output.expert_ids, other.router_output.expert_ids)
    for one, two in zip([first.text, first.bits, *first.codes], [again.text, again.bits, *again.codes], strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(first.text, other.text)
