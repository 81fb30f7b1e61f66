"""Losses of a batch and their balancer weights (row 29), and that there are no others (row 44)."""

import math

import pytest
import torch
import torch.nn.functional as F

from ernest.data.collate import collate
from ernest.training.loss import LOSSES, MODALITIES, LossBalancer, combine, loss_sums, mean_losses
from tests.small import CODES, LEVELS, documents, network, placed, tokenizers


@pytest.fixture(scope="module")
def batch():
    return collate([[placed(d)] for d in documents()], 100, tokenizers())


def test_text_vision_audio_and_the_token_after_next_are_all_there_is():
    assert LOSSES == ("text", "mtp", "vision", "audio")
    assert MODALITIES == ("text", "vision", "audio")


@torch.inference_mode()
def test_losses_are_means_over_what_is_made(batch):
    """Each loss again, target by target: per token, per bit of a frame whose cells are weighted, per level of a codec frame."""
    model = network()
    out = model(batch)
    told = mean_losses(*loss_sums(out, batch))
    assert list(told) == list(LOSSES)
    targets = batch.token_target[batch.token_target >= 0]
    by_hand = [-F.log_softmax(logits, 0)[target] for logits, target in zip(out.text, targets, strict=True)]
    assert told["text"] == pytest.approx(float(torch.stack(by_hand).mean()), abs=1e-5)
    ahead = batch.mtp.target[batch.mtp.index >= 0]
    by_hand = [-F.log_softmax(logits, 0)[target] for logits, target in zip(out.mtp, ahead, strict=True)]
    assert told["mtp"] == pytest.approx(float(torch.stack(by_hand).mean()), abs=1e-5)
    frames = len(batch.cell_targets.index) / 21
    p = torch.sigmoid(out.bits.double())
    cell = -torch.where(batch.cell_targets.bits > 0, p, 1 - p).log().mean(dim=1)
    assert told["vision"] == pytest.approx(float((cell * batch.cell_targets.weight).sum() / frames), abs=1e-5)
    by_hand = [
        -F.log_softmax(out.codes[level][n], 0)[code]
        for n, frame in enumerate(batch.code_targets.value)
        for level, code in enumerate(frame)
    ]
    assert told["audio"] == pytest.approx(float(torch.stack(by_hand).mean()), abs=1e-5)
    # An untrained network knows nothing: about the entropy of an even choice.
    assert abs(told["audio"] - math.log(CODES + 1)) < 0.7
    assert abs(told["vision"] - math.log(2)) < 0.3


@torch.inference_mode()
def test_parts_of_a_batch_add_up(batch):
    """Sums and counts of single rows make those of all, so that processes may share one mean."""
    model = network()
    whole = loss_sums(model(batch), batch)
    alone = [collate([[placed(d)]], 100, tokenizers()) for d in documents()]
    parts = [loss_sums(model(one), one) for one in alone]
    for total, rows in zip(whole, zip(*parts, strict=True), strict=True):
        torch.testing.assert_close(torch.stack(rows).sum(0), total, rtol=1e-5, atol=1e-4)


@torch.inference_mode()
def test_losses_that_a_batch_does_not_hold_are_not_told():
    model = network()
    for document in documents():
        batch = collate([[placed(document)]], 100, tokenizers())
        told = mean_losses(*loss_sums(model(batch), batch))
        expected = {"image": {"text", "vision"}, "video": {"text", "vision"}, "first frame": {"vision"}, "speech": {"audio"}}
        kinds = expected.get(document.task.partition("→")[2], {"text", "mtp"})
        assert kinds <= set(told) <= kinds | {"text", "mtp"}, document.task
        assert all(math.isfinite(value) for value in told.values())


def test_weights_bring_losses_to_one_interval():
    balancer = LossBalancer({"text": 2.0, "vision": 0.8, "audio": 4.0})
    weights = balancer.weights()
    products = [weights[name] * balancer.running[name] for name in MODALITIES]
    assert max(products) / min(products) == pytest.approx(1.0)
    assert sum(weights.values()) == pytest.approx(3.0)


def test_weights_are_bounded():
    weights = LossBalancer({"text": 1e-3, "vision": 1.0, "audio": 100.0}).weights()
    assert max(weights.values()) / min(weights.values()) <= 9.001
    assert weights["text"] / weights["vision"] == pytest.approx(1.0)  # both would want more than three times
    assert all(math.isfinite(w) for w in LossBalancer({"text": 0.0, "vision": 1.0, "audio": 1.0}).weights().values())


def test_weights_follow_losses_slowly_and_start_even():
    balancer = LossBalancer({})
    assert balancer.weights() == dict.fromkeys(MODALITIES, 1.0)
    balancer = balancer.observe({"text": 4.0, "vision": 0.5, "mtp": 9.0})
    assert balancer.running == {"text": 4.0, "vision": 0.5}
    balancer = balancer.observe({"text": 2.0, "audio": 3.0})
    assert balancer.running == pytest.approx({"text": 0.98 * 4 + 0.02 * 2, "vision": 0.5, "audio": 3.0})
    unseen = LossBalancer({"text": 2.0, "vision": 1.0}).weights()
    assert unseen["audio"] == pytest.approx(1.5 / 1.5 / ((1.5 / 2 + 1.5 + 1) / 3))


def test_the_objective_is_the_weighted_sum_of_means():
    total, count = torch.tensor([10.0, 8.0, 3.0, 0.0]), torch.tensor([5.0, 4.0, 6.0, 0.0])
    balancer = LossBalancer({"text": 2.0, "vision": 0.5, "audio": 4.0})
    w = balancer.weights()
    expected = w["text"] * 2.0 + 0.3 * w["text"] * 2.0 + w["vision"] * 0.5
    assert float(combine(total, count, balancer, 0.3)) == pytest.approx(expected)


def test_levels_are_in_the_audio_loss_alike(batch):
    model = network().train()
    total, count = loss_sums(model(batch), batch)
    (total[3] / count[3]).backward()
    norms = [float(head.weight.grad.norm()) for head in model.audio.code_heads]
    assert len(norms) == LEVELS
    assert max(norms) < 5 * min(norms)
    assert model.bit_head.weight.grad is None or not model.bit_head.weight.grad.any()
