"""Log-probabilities of groups against single positions taken from logits one by one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ernest.data.collate import collate
from ernest.model.likelihood import first_positions, group_log_probs, target_log_probs
from tests.references import likelihood
from tests.small import BITS, CONFIG, LEVELS, documents, network, placed, tokenizers

ROWS = [[4, 0, 2], [6, 1, 7], [3, 8, 5]]


@pytest.fixture(scope="module")
def batch():
    every = [placed(d) for d in documents()]
    return collate([[every[i] for i in row] for row in ROWS], 150, tokenizers())


def test_sums_are_those_of_the_reference(batch):
    """Of every row and kind, however the targets of a row divide into groups."""
    with torch.inference_mode():
        predictions = network()(batch)
        found = group_log_probs(predictions, batch)
    nothing = torch.zeros(batch.token_id.shape, dtype=torch.bool)
    assert (found.text.sum(1) - likelihood.symbols_of(predictions, batch, 3, nothing)).abs().max() <= 1e-4
    assert (found.bits.sum(1) - likelihood.bits_of(predictions, batch, 3)).abs().max() <= 1e-3
    assert (found.codes.sum(1) - likelihood.codes_of(predictions, batch, [1000] * 3)).abs().max() <= 1e-4


def test_every_group_has_its_own_number(batch):
    """One token each; one scale each, whose bits add up; all levels of one codec frame each."""
    with torch.inference_mode():
        predictions = network()(batch)
        each, found = target_log_probs(predictions, batch), group_log_probs(predictions, batch)
    assert each.bits.shape == (len(batch.cell_targets.index), BITS)
    assert each.codes.shape == (len(batch.code_targets.index), LEVELS)
    by_hand = {name: np.zeros(batch.token_id.numel()) for name in ("text", "bits", "codes")}
    document, group = batch.document.flatten().tolist(), batch.group.flatten().tolist()
    targets = {"text": batch.token_index, "bits": batch.cell_targets.index, "codes": batch.code_targets.index}
    for name, index in targets.items():
        for place, log_prob in zip(index.tolist(), getattr(each, name), strict=True):
            first = place
            while first % 150 and (document[first - 1], group[first - 1]) == (document[place], group[place]):
                first -= 1
            by_hand[name][first] += float(log_prob.sum())
        np.testing.assert_allclose(getattr(found, name).flatten().numpy(), by_hand[name], atol=1e-4)
        assert np.count_nonzero(by_hand[name]) > 3
    scales = len(tokenizers().vision.quantiser.sizes)
    frames = sum(len(s.data) for d in documents() for s in d.segments if s.form == "latent")
    assert np.count_nonzero(by_hand["bits"]) == scales * frames
    assert torch.equal(first_positions(batch)[:, 0], torch.tensor([0, 150, 300]))


def test_another_token_moves_its_own_group_and_later_ones(batch):
    model = network()
    with torch.inference_mode():
        before = group_log_probs(model(batch), batch)
        target = batch.token_target.clone()
        place = int(batch.token_index[2])
        target.view(-1)[place] = (target.view(-1)[place] + 1) % 200
        after = group_log_probs(model(replace(batch, token_target=target)), batch=replace(batch, token_target=target))
    assert (before.text != after.text).flatten().nonzero()[:, 0].tolist() == [int(first_positions(batch).view(-1)[place])]
    assert torch.equal(before.bits, after.bits)


def test_it_has_a_gradient(batch):
    model = network().train()
    found = group_log_probs(model(batch), batch)
    (found.text.sum() + found.bits.sum() + found.codes.sum()).backward()
    assert all(block.moe.w_down.grad.any() for block in model.backbone.blocks)
    assert len(model.backbone.blocks) == CONFIG.layers
