"""Whether experts specialise: known tables, chance by brute force, and a network whose router was made to."""

from itertools import combinations

import numpy as np
import pytest
import torch

from ernest.checkpoint import save_model
from ernest.config.tables import SequenceConfig
from ernest.data.decoded import DecodedRecords
from ernest.data.record_writer import save_records
from ernest.data.records import read_lines
from ernest.data.store import ExampleStore
from ernest.evaluation.routing import usage
from ernest.evaluation.specialisation import (
    AUDIO,
    GROUPS,
    IMAGE_IN,
    IMAGE_OUT,
    TEXT,
    VIDEO_IN,
    VIDEO_OUT,
    Specialisation,
    chance_overlap,
    count_by_document,
    group_of,
    information,
    shuffled,
    specialisation,
    usage_by,
)
from ernest.sequence.record import Record, made
from ernest.training.run_settings import RUN_FILE
from tests.small import CONFIG, documents, network, tokenizers


def made_up(counts: np.ndarray, labels: np.ndarray) -> Specialisation:
    groups = GROUPS[: labels.max() + 1]
    return Specialisation(groups, labels, counts, shuffled(counts, labels, len(groups), seed=0, rounds=200))


def test_examples_go_to_the_groups_of_the_report():
    found = {example.task: group_of(example) for example in documents()}
    assert found["text→image"] == IMAGE_OUT
    assert found["image→text"] == IMAGE_IN
    assert found["text→speech"] == found["speech→text"] == AUDIO
    assert found["text→video"] == found["text→first frame"] == VIDEO_OUT
    assert found["video→text"] == VIDEO_IN
    assert found["text"] == TEXT


def test_information_of_known_tables():
    """Two groups on experts of their own tell a bit, on the same ones nothing; groups count alike, however long they are."""
    apart = np.array([[[9, 0]], [[0, 400]]])
    alike = np.array([[[5, 5]], [[300, 300]]])
    labels = np.array([0, 1])
    assert information(apart, labels, 2) == pytest.approx([1.0])
    assert information(alike, labels, 2) == pytest.approx([0.0], abs=1e-12)
    half = np.array([[[1, 1, 0, 0]], [[0, 1, 1, 0]]])  # H(1/4, 1/2, 1/4) - H(1/2, 1/2)
    assert information(half, labels, 2) == pytest.approx([0.5])


def test_shuffled_labels_tell_what_chance_does():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 30)
    noise = rng.multinomial(40, np.full(8, 1 / 8), size=(90, 2))
    told = noise.copy()
    told[labels == 2, 1] = rng.multinomial(40, [0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], size=30)
    found = made_up(told, labels)
    assert found.chance[1] == pytest.approx(1 / 201)
    assert found.information[1] > 2 * found.shuffled[:, 1].max()
    # Over many tables of noise the chance is even between 0 and 1.
    chances = [made_up(rng.multinomial(40, np.full(8, 1 / 8), size=(90, 4)), labels).chance for _ in range(10)]
    assert 0.3 < np.mean(chances) < 0.7


@pytest.mark.parametrize(("experts", "top"), [(8, 2), (9, 3), (6, 6)])
def test_chance_overlap_is_that_of_all_pairs_of_sets(experts, top):
    first = set(range(top))
    iou = np.array([len(first & set(other)) / len(first | set(other)) for other in combinations(range(experts), top)])
    mean, quantile = chance_overlap(experts, top)
    assert mean == pytest.approx(iou.mean())
    assert (iou > quantile).mean() <= 0.001 < (iou >= quantile).mean()


def test_of_48_experts_two_random_quarters_share_a_seventh():
    assert chance_overlap(48, 12)[0] == pytest.approx(1 / 7, abs=0.01)


def test_a_group_with_itself_is_two_halves_of_its_documents():
    counts = np.zeros((8, 1, 8), np.int64)
    counts[:4, 0, :2] = 5  # steady: both halves use the same two
    counts[4::2, 0, 2:4], counts[5::2, 0, 4:6] = 5, 5  # each half another two
    found = made_up(counts, np.repeat([0, 1], 4))
    assert found.overlap[0].diagonal() == pytest.approx([1.0, 0.0])
    assert found.top == 2


def test_documents_are_counted_as_usage_counts_them(tmp_path):
    """Each in a row of its own, padded, in whatever order: the sums are those of packed rows."""
    ExampleStore.write(tmp_path / "part", [*documents(0), *documents(1)])
    store, model = ExampleStore(tmp_path), network()
    packed = usage(model, store, tokenizers(), SequenceConfig(rows=2, length=120))
    names = list(packed)
    examples = [store[i] for i in range(len(store))]
    counts = count_by_document(model, tokenizers(), examples)
    assert (counts.sum(2) == counts.sum(2)[:, :1]).all()
    assert counts.shape == (len(examples), CONFIG.layers, CONFIG.experts)
    labels = np.array([names.index(example.task) for example in examples])
    assert usage_by(counts, labels, len(names)) == pytest.approx(np.stack([packed[name] for name in names]), abs=1e-3)


def test_a_router_that_knows_a_group_is_found_out():
    """Text tokens all go to experts 0 and 1 of the first layer, all else where it would."""
    model, examples = network(biased=False), [example for seed in range(8) for example in documents(seed)]
    with torch.no_grad():
        model.token_embedding.weight[:, 0] += 50.0  # what every text token has and nothing else
        model.backbone.blocks[0].moe.router.weight[:, 0] = torch.tensor([50.0, 50.0, *[0.0] * (CONFIG.experts - 2)])
    counts = count_by_document(model, tokenizers(), examples)
    labels = np.array([0 if group_of(example) == TEXT else 1 for example in examples])
    assert counts[labels == 0][:, 0, :2].sum() == counts[labels == 0][:, 0].sum()
    assert made_up(counts, labels).chance[0] < 0.01


def test_a_run_that_encodes_what_it_draws_is_looked_at_without_data_held_out(tmp_path):
    picture = np.zeros((32, 32, 3), np.uint8)
    save_records(tmp_path / "data", [Record((made("text", "seven"),), "→text"), Record((made("image", picture),), "→image")] * 2)
    DecodedRecords.write(tmp_path / "decoded", read_lines(tmp_path / "data"), lambda line, record: None)
    (tmp_path / RUN_FILE).write_text("{}")
    save_model(tmp_path / "model", network(), tokenizers(), {}, torch.ones(CONFIG.layers, CONFIG.experts))
    found = specialisation(tmp_path / "model")
    assert found.groups == (TEXT, IMAGE_OUT)
    assert found.counts.sum(axis=2).shape == (4, CONFIG.layers)
