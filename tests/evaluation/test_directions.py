"""The table of directions: every row can be scored, on held-out records, and names what the report and the benchmarks expect."""

import pytest

from ernest.evaluation.directions import (
    BALANCE,
    DIRECTIONS,
    SPEED,
    Direction,
    Measure,
    every_caption,
    every_word,
    physics,
    questions_in_words,
)
from ernest.evaluation.run import CURVE_DIRECTIONS
from ernest.verifiers import rules
from ernest.world.images import COLOURS, PLACES
from ernest.world.speech import UNHEARD_VOICES, VOICES, WORDS
from ernest.world.video import FAMILIES
from ernest.world.world import records

VERIFIED = {name: direction for name, direction in DIRECTIONS.items() if isinstance(direction, Direction)}
HOW_MANY = {
    "image→text": 12,
    "speech→text": 12,
    "speech→text, voices never heard": 6,
    "question about image": 12,
    "text→image": 12,
    "text→speech": 12,
    "text→video": 8,
    "questions in words": 12,
    "image→speech": 4,
    "speech→image": 4,
}
"""Records of a run's twelve; those of videos that come from the world vary with how many show physics."""


def test_rows_have_names_of_their_own_and_bars_within_reach():
    criteria = [criterion for direction in DIRECTIONS.values() for criterion in direction.criteria]
    assert len({criterion.name for criterion in (*criteria, BALANCE, SPEED)}) == len(criteria) + 2
    assert all(criterion.bar is None or 0 < criterion.bar < 1 for criterion in criteria)
    assert all(criterion.verify for direction in VERIFIED.values() for criterion in direction.criteria)
    assert [name for name, direction in DIRECTIONS.items() if isinstance(direction, Measure)] == ["text"]
    assert set(CURVE_DIRECTIONS) <= DIRECTIONS.keys()


@pytest.mark.parametrize("name", VERIFIED)
def test_records_are_as_many_as_told_and_make_what_is_generated(name: str):
    found = VERIFIED[name].records(0, 12)
    assert len(found) == HOW_MANY.get(name, len(found)) > 0
    assert all(record.segments[-1].made and record.segments[-1].kind == VERIFIED[name].output_kind for record in found)
    assert not any(segment.made for record in found for segment in record.segments[:-1])


def test_there_is_a_record_even_of_a_run_that_holds_out_hardly_any():
    assert all(direction.records(0, 1) for direction in VERIFIED.values())


def test_no_record_was_trained_on():
    """The pictures of a direction are none of those of training's first indices, and its questions none of its texts."""
    trained = {record.segments[0].data.tobytes() for record in records("image→text", 0, range(200))}
    assert not trained & {record.segments[0].data.tobytes() for record in VERIFIED["image→text"].records(0, 50)}
    texts = {" ".join(segment.data for segment in record.segments) for record in records("text", 0, range(500))}
    assert not texts & {" ".join(segment.data for segment in record.segments) for record in questions_in_words(0, 50)}


def test_voices_never_heard_are_the_unheard_ones():
    found = VERIFIED["speech→text, voices never heard"].records(0, 30)
    assert {record.facts["voice"] for record in found} == {voice.name for voice in UNHEARD_VOICES}


def test_captions_and_words_spread_over_all():
    captions = every_caption(0, 300)
    assert len({record.segments[0].data for record in captions}) == 300 == 10 * len(COLOURS) * len(PLACES)
    assert len(every_caption(0, 1000)) == 300
    assert {record.facts["digit"] for record in every_caption(0, 20)} == set(range(10))
    words = every_word(0, 120)
    assert {record.facts["word"] for record in words} == set(WORDS)
    assert {record.facts["voice"] for record in words} == {voice.name for voice in VOICES}
    assert all(record.segments[0].data == f"{record.facts['voice']} says {record.facts['word']}" for record in words)


def test_the_words_of_a_caption_say_its_facts():
    for record in every_caption(0, 60):
        assert rules.caption(record, record.segments[:1]).passed


def test_videos_of_moving_digits_are_left_out():
    found = physics("video→text")(0, 20)
    assert {record.facts["family"] for record in found} <= set(FAMILIES)
    assert len(found) < 20 * 6 // 5
