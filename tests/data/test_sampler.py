"""Rows: which examples come, how their words are cut, and that nothing else decides."""

from collections import Counter
from dataclasses import fields, replace
from itertools import chain

import numpy as np
import pytest
import torch

from ernest.config.tables import SequenceConfig
from ernest.data.collate import collate
from ernest.data.examples import EncodedSegment, Example
from ernest.data.layout import lay_out_example, tokenise_segments
from ernest.data.sampler import draw_versions, plan, row
from ernest.data.store import ExampleStore
from ernest.sequence.batch import Batch
from ernest.sequence.groups import lay_out
from tests.small import documents, tokenizers


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))


CONFIG = SequenceConfig(rows=4, length=120)


def drawn(store, step: int, config: SequenceConfig = CONFIG, weights=None) -> list:
    return plan(store, weights or dict.fromkeys(store.tasks, 1.0), tokenizers(), config, 0, step)


def batch_of(store, step: int) -> Batch:
    return collate(drawn(store, step), CONFIG.length, tokenizers(), CONFIG, [11, 12, 13, 14])


def test_a_batch_is_a_function_of_seed_and_step(store):
    torch.manual_seed(1)
    first = batch_of(store, 5)
    torch.manual_seed(2)
    np.random.default_rng(0)
    assert same(first, batch_of(store, 5))
    assert not same(first.token_id, batch_of(store, 6).token_id)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_a_row_is_the_same_whoever_makes_it(store, world):
    """A process makes only its own rows, and they are those that one process alone makes."""
    alone = drawn(store, 3)
    for rank in range(world):
        mine = plan(store, dict.fromkeys(store.tasks, 1.0), tokenizers(), CONFIG, 0, 3, rank, world)
        assert same(collate(mine, 120, tokenizers()), collate(alone[rank::world], 120, tokenizers()))
    third = row(store, dict.fromkeys(store.tasks, 1.0), tokenizers(), replace(CONFIG, rows=1), 0, 3, 2)
    assert same(collate([third], 120, tokenizers()), collate(alone[2:3], 120, tokenizers()))


def test_long_examples_come_as_often_as_they_are_drawn(store):
    """Rows into which the longest fits once, and only if it comes early: shares of tasks stay those of the weights."""
    longest = max(len(lay_out_example(store[i], tokenizers(), tokenizers().text.encode).layout) for i in range(len(store)))
    config = SequenceConfig(rows=400, length=longest + 20, bpe_dropout=0.0)
    tasks = [one.example.task for packed in drawn(store, 0, config) for one in packed]
    shares = np.array([tasks.count(task) for task in store.tasks]) / len(tasks) * len(store.tasks)
    assert len(tasks) > 800
    assert np.abs(shares - 1).max() < 0.3


def test_what_is_longer_than_a_row_waits_until_rows_have_grown(store):
    """In the first rows only what fits, of all tasks that have some; then everything, in rows that are as full."""
    first = SequenceConfig(rows=40, length=60, grows_to=(120, 240))
    lengths = lambda config: [[len(one.layout) for one in row] for row in drawn(store, 0, config)]
    short, long = lengths(first), lengths(first.grown())
    assert max(map(max, short)) <= 60 < max(map(max, long))
    assert len({one.example.task for row in drawn(store, 0, first) for one in row}) > 4
    assert (first.grown().rows, first.grown().grown().rows) == (20, 10)
    full = [sum(map(sum, lengths(config))) for config in (first, first.grown(), first.grown().grown())]
    assert full == sorted(full)
    assert full[-1] > 0.94 * 40 * 60
    with pytest.raises(
        ValueError, match=r"^sequence\.length = 3: no example of the mixture seems to fit a row before rows grow$"
    ):
        drawn(store, 0, SequenceConfig(rows=1, length=3, grows_to=(120,)))
    with pytest.raises(ValueError, match=r"positions is longer than a row of 60: raise sequence\.length"):
        drawn(store, 0, replace(first, grows_to=()))


def test_flips_of_a_row_are_its_own(store):
    """A row is corrupted alike whoever collates it, so that processes may share the rows of a step."""
    rows = drawn(store, 4)
    together = collate(rows, 120, tokenizers(), SequenceConfig(bit_flip_rate=0.3), [1, 2, 3, 4])
    last = collate(rows[2:], 120, tokenizers(), SequenceConfig(bit_flip_rate=0.3), [3, 4])
    mine = together.cells.index >= 2 * 120
    assert mine.any()
    assert torch.equal(together.cells.value[mine], last.cells.value)
    assert torch.equal(together.cells.index[mine] - 2 * 120, last.cells.index)


def test_tasks_come_by_their_weight(store):
    weights = dict.fromkeys(store.tasks, 1.0) | {"text": 3.0, "text→video": 0.0}
    config = SequenceConfig(rows=1, length=10_000)
    tasks = [one.example.task for one in drawn(store, 0, config, weights)[0]]
    assert len(tasks) > 200
    assert "text→video" not in tasks
    assert abs(tasks.count("text") / len(tasks) - 3 / 10) < 0.08


def test_words_are_cut_anew_and_hidden_at_times(store):
    text = tokenizers().text
    config = SequenceConfig(rows=1, length=40_000, bpe_dropout=0.2, condition_dropout=0.25)
    found = drawn(store, 0, config)[0]
    hidden = [one for one in found if text.null in one.layout.content[one.layout.source == 0]]
    tasks = {one.example.task for one in hidden}
    assert tasks == {"text→image", "text→speech", "text→video", "text→first frame"}
    asked = [one for one in found if one.example.task in tasks]
    assert abs(len(hidden) / len(asked) - 0.25) < 0.06
    cuts = {tuple(one.layout.content) for one in found if one.example.task == "text"}
    assert len(cuts) > len({one.example.segments[0].data for one in found if one.example.task == "text"})


@pytest.mark.parametrize("drop_condition", [False, True])
def test_layouts_by_form_are_those_of_their_words(drop_condition):
    """Documents of one form share a layout up to their words; in every array each is what its words alone would give."""
    text, rng = tokenizers().text, np.random.default_rng(0)
    made = documents()
    for example in (*made, *made, Example(tuple(segment for one in made for segment in one.segments), "")):
        cuts = [text.encode(segment.data, 0.3, rng) for segment in example.segments if segment.form == "text"]
        first, second = iter(cuts), iter(cuts)
        found = lay_out_example(example, tokenizers(), lambda _, cut=first: next(cut), drop_condition).layout
        segments = tokenise_segments(example.segments, tokenizers(), lambda _, cut=second: next(cut), drop_condition)
        right = lay_out(segments, tokenizers().control_tokens)
        for field in fields(right):
            np.testing.assert_array_equal(getattr(found, field.name), getattr(right, field.name), strict=True)


def test_a_hidden_prompt_is_nulls_in_its_place():
    example = documents()[0]
    text = tokenizers().text
    open_, hidden = (
        lay_out_example(example, tokenizers(), text.encode, drop_condition).layout for drop_condition in (False, True)
    )
    words = len(text.encode(example.segments[0].data))
    assert hidden.content[:words].tolist() == [text.null] * words
    np.testing.assert_array_equal(hidden.content[words:], open_.content[words:])
    assert hidden.content[words] == text.boi
    np.testing.assert_array_equal(hidden.position, open_.position)


def test_one_of_several_texts_is_drawn_each_time(tmp_path):
    """Both where it is given and where it is made; an example with one text draws nothing, and so stays as it was."""
    made = EncodedSegment("text", "x", True)
    several = Example((EncodedSegment("text", "a cat", False, others=("the pet", "an animal")), made), "t")
    one = Example((EncodedSegment("text", "a dog", False), made), "t")
    ExampleStore.write(tmp_path / "several/own", [several])
    ExampleStore.write(tmp_path / "one/own", [one])
    config = replace(CONFIG, bpe_dropout=0.0, condition_dropout=0.0)
    text = tokenizers().text

    def told(name: str) -> Counter[str]:
        rows = drawn(ExampleStore(tmp_path / name), 0, config)
        return Counter(text.decode(one.layout.content) for one in chain.from_iterable(rows))

    times = told("several")
    assert set(times) == {"a catx", "the petx", "an animalx"}
    assert min(times.values()) > times.total() / 5
    assert set(told("one")) == {"a dogx"}
    rng = np.random.default_rng(3)
    assert draw_versions(one.segments, rng) == (0, 0)
    assert rng.random() == np.random.default_rng(3).random()


@pytest.mark.parametrize("length", [30, 18])
def test_a_sound_of_several_lengths_comes_at_each_that_fits(tmp_path, length):
    """As often at each; where a row has no room for a longer one, the sound itself stands there."""
    sounds = [np.full((frames, 3), frames, np.int16) for frames in (10, 5, 20)]
    segments = EncodedSegment("codes", sounds[0], False, others=tuple(sounds[1:])), EncodedSegment("text", "x", True)
    ExampleStore.write(tmp_path / "own", [Example(segments, "t")])
    config = replace(CONFIG, rows=200, length=length)
    rows = drawn(ExampleStore(tmp_path), 0, config)
    assert all(sum(len(one.layout) for one in row) <= length for row in rows)
    lengths = Counter(len(one.example.segments[0].data) for one in chain.from_iterable(rows))
    assert set(lengths) == ({5, 10, 20} if length == 30 else {5, 10})
    assert min(lengths.values()) > lengths.total() / 5
    batch = collate(rows, length, tokenizers())
    assert set(batch.codes.value[:, 0].tolist()) == {*lengths, 32}  # with the ends
