from collections import Counter

import numpy as np
import pytest

from ernest.data.record_writer import save_records
from ernest.data.records import load_records
from ernest.sequence.record import Record
from ernest.tokenizers.text import TextTokenizer
from ernest.world import images, video
from ernest.world.speech import UNHEARD_VOICES, VOICES, WORDS
from ernest.world.split import HELD_OUT
from ernest.world.world import MOVING, TASKS, UNTRAINED, record, records, texts_for_bpe

KINDS = {
    "text→image": ("text", "IMAGE"),
    "image→text": ("image", "TEXT"),
    "text→speech": ("text", "AUDIO"),
    "speech→text": ("audio", "TEXT"),
    "text→video": ("text", "VIDEO"),
    "video→text": ("video", "TEXT"),
    "text→first frame": ("text", "VIDEO"),
    "question about image": ("image", "text", "TEXT"),
    "image→speech": ("image", "AUDIO"),
    "speech→image": ("audio", "IMAGE"),
}


def assert_equal(one: Record, other: Record) -> None:
    assert (one.task, dict(one.facts)) == (other.task, dict(other.facts))
    for left, right in zip(one.segments, other.segments, strict=True):
        assert (left.kind, left.made, left.open) == (right.kind, right.made, right.open)
        assert np.array_equal(left.data, right.data)


@pytest.mark.parametrize("task", TASKS + UNTRAINED)
def test_a_record_is_a_function_of_seed_and_index_alone(task):
    indices = [3, 17, HELD_OUT + 3, 4, 3]
    batch = records(task, 5, indices)
    for index, one in zip(indices, batch, strict=True):
        assert one.task == task
        assert_equal(one, record(5, index, task))
    assert_equal(batch[0], batch[-1])
    texts = [[segment.data.tobytes() if segment.kind != "text" else segment.data for segment in one.segments] for one in batch]
    assert texts[0] != texts[2]
    assert texts[0] != texts[3]


def test_tasks_take_turns():
    assert [record(0, index).task for index in range(len(TASKS))] == list(TASKS)
    assert_equal(record(0, 9), record(0, 9, TASKS[0]))


@pytest.mark.parametrize("task", KINDS)
def test_what_is_given_and_what_is_made(task):
    one = record(0, 1, task)
    assert tuple(segment.kind.upper() if segment.made else segment.kind for segment in one.segments) == KINDS[task]


@pytest.mark.parametrize("held_out", [0, HELD_OUT])
def test_captions_say_what_the_pictures_show(held_out):
    for one in records("image→text", 0, range(held_out, held_out + 40)):
        picture, words = (segment.data for segment in one.segments)
        assert images.parse(words) == (one.facts["digit"], one.facts["colour"], one.facts["place"])
        assert images.read_colour(picture) == one.facts["colour"]
        assert images.read_place(picture) == one.facts["place"]


def test_questions_about_pictures_are_answered_by_their_captions():
    answers = Counter()
    for one in records("question about image", 0, range(300)):
        facts, question, answer = one.facts, one.segments[1].data, one.segments[2].data
        caption = images.caption(facts["digit"], facts["colour"], facts["place"])
        if answer in ("yes", "no"):
            said = question.removeprefix("is it ").removesuffix("?")
            assert (said in caption) == (answer == "yes")
        else:
            assert answer in caption
        assert (question, answer) == (facts["question"], facts["answer"])
        answers[answer] += 1
    assert answers["yes"] > 40
    assert answers["no"] > 25


def test_speech_and_its_words():
    for make, hear in zip(records("text→speech", 0, range(20)), records("speech→text", 0, range(20)), strict=True):
        facts = hear.facts
        assert np.array_equal(make.segments[1].data, hear.segments[0].data)
        assert make.segments[0].data == f"{facts['voice']} says {facts['word']}"
        assert hear.segments[1].data == facts["word"]
        assert facts["word"] in WORDS
    unheard = records("speech→text", 0, range(20), UNHEARD_VOICES)
    assert not {one.facts["voice"] for one in unheard} & {voice.name for voice in VOICES}


def test_videos_obey_their_laws_and_all_families_come():
    shown = records("video→text", 0, range(HELD_OUT, HELD_OUT + 60))
    families = Counter(one.facts["family"] for one in shown)
    assert set(families) == {*video.FAMILIES, MOVING}
    for one in shown:
        frames, words = (segment.data for segment in one.segments)
        if one.facts["family"] == MOVING:
            assert words == video.moving_caption(one.facts["digit"], one.facts["direction"])
            assert video.read_direction(frames) == one.facts["direction"]
        else:
            assert words == one.facts["family"]
            assert video.obeys_energy_law(frames)


def test_the_first_frame_is_that_of_the_whole_video_and_open():
    for whole, first in zip(records("text→video", 0, range(6)), records("text→first frame", 0, range(6)), strict=True):
        assert np.array_equal(whole.segments[1].data[:1], first.segments[1].data)
        assert (whole.segments[1].open, first.segments[1].open) == (False, True)
        assert whole.segments[0].data == first.segments[0].data


def test_pictures_and_the_digit_spoken():
    for say, draw in zip(records("image→speech", 0, range(10)), records("speech→image", 0, range(10)), strict=True):
        assert say.facts["word"] == images.DIGITS[say.facts["digit"]]
        assert np.array_equal(say.segments[0].data, draw.segments[1].data)
        assert np.array_equal(say.segments[1].data, draw.segments[0].data)


def test_an_unknown_task_is_an_error():
    with pytest.raises(ValueError, match="task: 'text→smell' is none of text→image"):
        record(0, 0, "text→smell")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size: expected a whole number from 1 on, got 0"),
        ({"size": 32.0}, r"size: expected a whole number from 1 on, got 32\.0"),
        ({"size": (32, 32)}, r"size: expected a whole number from 1 on, got \(32, 32\)"),
        ({"frames": 0}, "frames: expected a whole number from 1 on, got 0"),
        ({"seed": -1}, "seed of the world: expected 0 or more, got -1"),
    ],
)
def test_sizes_and_seeds_that_cannot_be_are_named(arguments, message):
    for task in ("text→image", "text→speech"):
        with pytest.raises(ValueError, match=f"^{message}$"):
            records(task, **{"seed": 0, "indices": [0], **arguments})


def test_the_world_comes_back_from_disk(tmp_path):
    made = [record(0, index) for index in range(2 * len(TASKS))]
    save_records(tmp_path / "world", made)
    for one, other in zip(made, load_records(tmp_path / "world"), strict=True):
        assert_equal(one, other)


def test_words_of_the_world_are_one_or_two_tokens():
    texts = texts_for_bpe(0, 8000)
    tokenizer = TextTokenizer.train(texts, 768)
    assert texts == texts_for_bpe(0, 8000)
    for word in WORDS:
        assert len(tokenizer.encode(word)) <= 2
        assert len(tokenizer.encode(f" {word}")) == 1
    for caption in video.FAMILIES:
        assert len(tokenizer.encode(caption)) <= len(caption.split()) + 1
    held = [segment.data for one in records("text", 0, range(HELD_OUT, HELD_OUT + 200)) for segment in one.segments]
    words = sum(len(text.split()) for text in held)
    assert sum(len(tokenizer.encode(text)) for text in held) / words < 1.35
