"""Batches are the same whoever makes them, and whenever tokenizers run: losses and weights of a training to the bit."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest

from ernest.data.drawn import DrawnExamples
from ernest.data.examples import EncodedSegment, encode
from ernest.data.layout import lay_out_example
from ernest.data.sampler import plan
from ernest.data.store import ExampleStore
from ernest.training import makers
from ernest.training.loop import MEASURED, train
from ernest.training.makers import BatchMaker
from ernest.training.run_settings import fixed_tree, unusual_settings
from tests.small import recipe, tokenizers
from tests.training.test_loop import lines
from tests.training.test_prepare import EVERYTHING

TASKS = [record.task for record in EVERYTHING]
HEARINGS = 2


def drawn() -> DrawnExamples:
    return DrawnExamples(EVERYTHING, TASKS, tokenizers(), "these", HEARINGS)


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> ExampleStore:
    """The same, encoded before, each alone."""
    folder = tmp_path_factory.mktemp("stored")
    examples = (encode([record], tokenizers(), hearings=HEARINGS) for record in EVERYTHING)
    ExampleStore.write(folder / "own", chain.from_iterable(examples))
    return ExampleStore(folder)


def told(segment: EncodedSegment):
    """A segment as what `==` compares bit for bit."""
    data = segment.data
    if segment.form != "text":
        data = data.shape, data.flags.c_contiguous, data.dtype.str, data.tobytes()
    return replace(segment, data=data, others=())


def test_examples_are_those_that_were_encoded_before(stored):
    kind, parts = drawn().__reduce__()  # as it goes to another process
    for index in range(len(stored)):
        for example in (drawn()[index], drawn().taken(index), kind(*parts).taken(index)):
            assert list(map(told, example.segments)) == list(map(told, stored[index].segments))
            assert example.task == stored[index].task
        for version in range(HEARINGS + 1):
            numbers = tuple(version if segment.form == "codes" and not segment.made else 0 for segment in stored[index].segments)
            here, there = (store.taken(index, numbers).segments for store in (drawn(), stored))
            assert list(map(told, here)) == list(map(told, there))
    assert {task: list(found) for task, found in drawn().tasks.items()} == {task: list(f) for task, f in stored.tasks.items()}


def test_a_glance_runs_no_tokenizer_and_knows_the_length(stored, monkeypatch):
    monkeypatch.setattr(drawn().tokenizers.vision, "encode", None)
    monkeypatch.setattr(drawn().tokenizers.audio, "encode", None)
    cut = tokenizers().text.encode
    for index in range(len(stored)):
        glance, whole = drawn().glance(index), stored[index]
        for version in range(HEARINGS + 1):
            numbers = [min(version, len(segment.others)) for segment in whole.segments]
            layouts = [lay_out_example(one.version(numbers), tokenizers(), cut).layout for one in (glance, whole)]
            assert np.array_equal(layouts[0].position, layouts[1].position)


def test_rows_hold_examples_that_are_encoded(stored):
    settings = recipe()
    for step in range(3):
        rows = [
            plan(store, settings.weights(store.tasks), tokenizers(), settings.sequence, 0, step) for store in (drawn(), stored)
        ]
        here, there = ([[list(map(told, one.example.segments)) for one in row] for row in plans] for plans in rows)
        assert here == there


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.long)])
def test_processes_beside_a_training_change_no_bit_of_it(stored, tmp_path, workers):
    """Batches of pictures, films and sounds among them; and encoded before, here. A process takes seconds to start."""
    settings = recipe(rows=2, steps=4, save_every=4)
    beside = replace(settings, training=replace(settings.training, workers=workers))
    found = []
    for name, one, examples in (("here", settings, drawn()), ("beside", beside, drawn()), ("before", settings, stored)):
        (tmp_path / name).mkdir()
        model = train(one, examples, tokenizers(), tmp_path / name)
        told = [{name: value for name, value in line.items() if name not in MEASURED} for line in lines(tmp_path / name)]
        found.append((told, {name: bytes(value.numpy()) for name, value in model.state_dict().items()}))
        assert all(0 <= line["waiting"] <= line["seconds"] for line in lines(tmp_path / name))
    assert {name for line in found[0][0] for name in line} >= {"text", "vision", "audio"}
    assert found[0] == found[1] == found[2]


def test_a_mistake_beside_a_training_is_the_same_line(stored, monkeypatch):
    """Without another process, which would take seconds to start; its loader words what is raised there as here."""

    def loader(maker, steps, workers):
        for number in steps:
            try:
                yield maker[number]
            except ValueError as error:
                raise ValueError(f"Caught ValueError in DataLoader worker process 0.\n{error}") from None

    settings = recipe(rows=2, steps=4)
    never = replace(settings, sequence=replace(settings.sequence, length=4, grows_to=(8,)))
    beside = replace(never, training=replace(never.training, workers=1))
    monkeypatch.setattr(makers, "_loader", loader)
    monkeypatch.setattr("ernest.data.sampler.PATIENCE", 10)
    for one in (never, beside):
        with (
            makers.batches(BatchMaker(one, stored, tokenizers()), range(4)) as made,
            pytest.raises(ValueError, match=r"^sequence\.length = 4: no example of the mixture seems to fit a row before"),
        ):
            next(made)


def test_only_what_changes_numbers_is_part_of_what_a_run_is():
    plain = fixed_tree(recipe())
    assert fixed_tree(recipe(workers=2)) == plain
    assert fixed_tree(recipe(encode="drawn")) != plain
    assert "training.encode" not in unusual_settings(recipe())
    with pytest.raises(ValueError, match=r"training\.workers = -1 must be at least 0"):
        recipe(workers=-1)
