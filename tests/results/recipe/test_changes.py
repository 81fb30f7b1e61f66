"""What an ablation changes in code, and that it is put back."""

import pytest
import torch

from ernest.data import collate as collating
from ernest.model import encoder
from ernest.model.encoder import PatchMerger
from ernest.model.router import Router
from ernest.results.held_out import losses
from ernest.results.recipe import changes
from ernest.sequence.positions import rotary_angles
from ernest.training import loop, makers
from ernest.training.loss import LossBalancer
from tests.results.small import store_of
from tests.small import documents, network, placed, recipe, tokenizers


def test_places_in_order_are_those_of_ordinary_rotary_embedding():
    rows = [[placed(documents()[1]), placed(documents()[7])]]
    length = sum(len(one.layout) for one in rows[0]) + 2
    with changes.places(changes.in_order):
        batch, of_a_run = collating.collate(rows, length, tokenizers()), makers.collate(rows, length, tokenizers())
    first = len(rows[0][0].layout)
    assert batch.position[0, :first, 1].tolist() == list(range(first))
    assert batch.position[0, first : first + 3, 0].tolist() == [0, 1, 2]
    assert torch.equal(batch.position, of_a_run.position)
    cos, _ = rotary_angles(batch.position, 16, 1e4)
    assert torch.equal(cos[0, 1], cos[0, first + 1])
    with changes.places(changes.in_time):
        batch = collating.collate(rows, length, tokenizers())
    plain = collating.collate(rows, length, tokenizers())
    assert torch.equal(batch.position[..., 1], plain.position[..., 0])
    assert not torch.equal(batch.position, plain.position)


def test_without_feedback_no_code_reaches_a_later_level():
    model = network()
    wrong = lambda: losses(model, store_of(2), tokenizers(), ("text→speech",), wrong_first_codes=True)
    right = lambda: losses(model, store_of(2), tokenizers(), ("text→speech",))
    assert wrong()["codes, level 1"] == right()["codes, level 1"]
    assert wrong()["codes, level 2"] != right()["codes, level 2"]
    with changes.without_feedback():
        assert wrong() == right()


def test_each_path_alone_hears_nothing_of_the_other():
    cnn, vit = torch.randn(3, 4, 12), torch.randn(3, 4, 16)
    for kind, same, other in (
        (changes.CnnAlone, (cnn, 2 * vit), (2 * cnn, vit)),
        (changes.VitAlone, (2 * cnn, vit), (cnn, 2 * vit)),
    ):
        torch.manual_seed(0)
        merge = kind(12, 16, 8)
        assert torch.equal(merge(cnn, vit), merge(*same))
        assert not torch.equal(merge(cnn, vit), merge(*other))
        merge(cnn, vit).sum().backward()
        assert all(parameter.grad is not None for parameter in merge.parameters())
    with changes.merger(changes.MlpMerger):
        assert encoder.PatchMerger is changes.MlpMerger
        assert network().encoder.merger(cnn[:, :, :1].expand(-1, -1, network().spec.features), vit).shape == (3, 64)
    assert encoder.PatchMerger is PatchMerger


def test_weights_of_scales_and_losses_and_the_balance_are_put_back():
    scales = ((1, 1), (2, 2))
    with changes.even_scales(), changes.equal_losses(), changes.steady_balance(), changes.skewed_routers():
        assert collating.scale_weights(scales).tolist() == pytest.approx([0.2] * 5)
        assert set(LossBalancer({"text": 5.0, "vision": 0.1}).weights().values()) == {1.0}
        late = loop.schedule_values(6, recipe().training)
        skewed = loop.build_network(recipe().model, network().spec, recipe().parallel).backbone
        weights = [one.weight.abs() for one in skewed.modules() if isinstance(one, Router)]
    assert late.bias_speed == recipe().training.bias_speed
    assert all(one[: changes.SKEWED].mean() > 5 * one[changes.SKEWED :].mean() for one in weights)
    assert collating.scale_weights(scales)[0] > 0.2
    assert LossBalancer({"text": 5.0, "vision": 0.1}).weights()["vision"] > 1
    assert loop.schedule_values(6, recipe().training).bias_speed == pytest.approx(late.bias_speed / 10)
