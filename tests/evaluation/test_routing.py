"""Statistics of the choice of experts, on cases whose answers are known, and on a real network whose choices are forced."""

import numpy as np
import pytest
import torch

from ernest.config.tables import SequenceConfig
from ernest.data.collate import collate
from ernest.data.store import ExampleStore
from ernest.evaluation.routing import (
    choices,
    count_choices,
    max_violation,
    mixture_load,
    normalised_entropy,
    overlaps,
    shares,
    top_experts,
    usage,
)
from ernest.sequence.packing import fill_row
from tests.small import CONFIG, documents, network, placed, tokenizers

SEQUENCE = SequenceConfig(rows=2, length=120)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> ExampleStore:
    folder = tmp_path_factory.mktemp("run") / "examples"
    ExampleStore.write(folder / "part", [*documents(0), *documents(1)])
    return ExampleStore(folder)


def test_entropy_of_known_loads():
    loads = np.array([[1, 1, 1, 1], [4, 0, 0, 0], [1, 1, 0, 0], [3, 3, 1, 1]])
    mixed = -(0.75 * np.log(0.375) + 0.25 * np.log(0.125)) / np.log(4)
    assert normalised_entropy(loads) == pytest.approx([1.0, 0.0, 0.5, mixed])


def test_entropy_of_one_expert_and_of_no_choices_is_even():
    assert normalised_entropy(np.array([[7]])).tolist() == [1.0]
    assert normalised_entropy(np.zeros((2, 5))) == pytest.approx([1.0, 1.0])


def test_violation_of_known_loads():
    assert max_violation(np.array([[5, 5, 5, 5], [2, 1, 1, 0], [8, 0, 0, 0]])) == pytest.approx([0.0, 1.0, 3.0])


def test_shares_sum_to_one_whatever_the_counts():
    counts = np.array([[3, 1, 0, 0], [0, 0, 0, 0]])
    assert shares(counts).tolist() == [[0.75, 0.25, 0, 0], [0.25] * 4]


def test_counts_leave_out_what_was_not_chosen():
    chosen = torch.tensor([[0, 2], [2, -1], [2, 3]])
    assert count_choices(chosen, 5).tolist() == [1, 0, 3, 1, 0]


def test_top_experts_are_a_quarter_and_of_equals_the_first():
    assert top_experts(np.array([0.0, 0.4, 0.1, 0.2, 0.3, 0.0, 0.0, 0.0])).nonzero()[0].tolist() == [1, 4]
    assert top_experts(np.full(8, 0.125)).nonzero()[0].tolist() == [0, 1]


def test_overlap_of_known_tasks():
    """Quarters {0, 1}, {1, 2} and {6, 7} of eight experts: one of three shared, or none."""
    tasks = [np.zeros((1, 8)) for _ in range(3)]
    for task, experts in zip(tasks, ([0, 1], [1, 2], [6, 7]), strict=True):
        task[0, experts] = 0.5
    expected = [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]]
    assert overlaps(tasks)[0] == pytest.approx(np.array(expected))


def test_overlap_of_random_tasks_is_a_seventh():
    rng = np.random.default_rng(0)
    iou = overlaps([rng.random((4000, 48)) for _ in range(2)])
    assert iou[:, 0, 1].mean() == pytest.approx(1 / 7, abs=0.005)


def test_every_valid_position_makes_its_choices_in_every_layer():
    model = network()
    examples = iter([placed(document) for document in documents()] * 4)
    rows = [fill_row(examples, lambda p: len(p.layout), 120, patience=2)[0] for _ in range(2)]
    batch = collate(rows, 120, tokenizers())
    assert not batch.valid.all()
    counts = choices(model, batch)
    assert counts.shape == (CONFIG.layers, CONFIG.experts)
    assert (counts.sum(1) == int(batch.valid.sum()) * CONFIG.top_k).all()


def test_padding_changes_nothing():
    model, document = network(), placed(documents()[0])
    tight = choices(model, collate([[document]], len(document.layout), tokenizers()))
    loose = choices(model, collate([[document]], 120, tokenizers()))
    assert np.array_equal(tight, loose)


def test_looking_leaves_the_network_as_it_was():
    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    choices(model, collate([[placed(documents()[0])]], 120, tokenizers()))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_usage_of_a_network_whose_choice_is_forced(store):
    """A bias that no score can outweigh: layer l chooses experts l and l + 1 for whatever task."""
    model = network()
    for layer, block in enumerate(model.backbone.blocks):
        block.moe.router.selection_bias.zero_()
        block.moe.router.selection_bias[[layer, layer + 1]] = 10.0
    found = usage(model, store, tokenizers(), SEQUENCE, per_task=2)
    assert set(found) == {document.task for document in documents()}
    expected = np.zeros((CONFIG.layers, CONFIG.experts))
    for layer in range(CONFIG.layers):
        expected[layer, [layer, layer + 1]] = 0.5
    for share in found.values():
        assert share == pytest.approx(expected)


def test_usage_does_not_depend_on_how_documents_are_packed(store):
    model = network()
    narrow = usage(model, store, tokenizers(), SequenceConfig(rows=1, length=100), per_task=2)
    wide = usage(model, store, tokenizers(), SequenceConfig(rows=4, length=240), per_task=2)
    for task in narrow:
        assert narrow[task].sum(-1) == pytest.approx(np.ones(CONFIG.layers))
        # Rounding may turn a choice that was a tie; two documents of a task are some hundred choices.
        assert np.abs(narrow[task] - wide[task]).max() < 0.02


def test_mixture_load_is_drawn_as_training_is_and_again_the_same(store):
    weights = {"text": 1.0, "text→image": 3.0}
    load = mixture_load(network(), store, weights, tokenizers(), SEQUENCE, seed=3)
    assert load.shape == (2, CONFIG.layers, CONFIG.experts)
    assert (load.sum(-1) == load.sum(-1)[:, :1]).all()
    assert not np.array_equal(load[0], load[1])
    assert np.array_equal(load, mixture_load(network(), store, weights, tokenizers(), SEQUENCE, seed=3))
