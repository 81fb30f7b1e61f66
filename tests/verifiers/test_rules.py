"""Each exact verifier passes what is correct and tells a subtle mistake from it, naming the part that is wrong."""

from collections.abc import Sequence

import numpy as np
import pytest

from ernest.sequence.record import Record, Segment, given, made
from ernest.verifiers import rules
from ernest.verifiers.verdict import Verdict, Verifier, all_pass, compare
from ernest.world import images, video
from ernest.world.world import TASKS, records

BLANK = made("text", "?")
RED_SEVEN = Record((BLANK,), facts={"digit": 7, "colour": "red", "place": "top left"})


def said(text: str) -> list[Segment]:
    return [made("text", text)]


def asked(question: str) -> Record:
    return Record((given("text", question), BLANK), "text")


@pytest.fixture(scope="module")
def disk() -> np.ndarray:
    """A video of a disk that shrinks."""
    return video.simulate(0, 0, [0])[0]


# ------------------------------------------------------------------ words


@pytest.mark.parametrize(
    ("verifier", "record", "right", "wrong", "part"),
    [
        (rules.caption, RED_SEVEN, "a red seven at the top left", "a red seven at the top right", "place"),
        (rules.caption, RED_SEVEN, "a red seven at the top left", "a pink seven at the top left", "colour"),
        (rules.caption, RED_SEVEN, "a red seven at the top left", "a red nine at the top left", "digit"),
        (rules.word, Record((BLANK,), facts={"word": "nine"}), "nine", "five", "word"),
        (rules.word, Record((BLANK,), facts={"word": "nine"}), "nine", "nine nine", "word"),
        (
            *(rules.video_caption, Record((BLANK,), facts={"family": "two discs merging"})),
            *("two discs merging", "two drops merging", "family"),
        ),
        (
            *(rules.video_caption, Record((BLANK,), facts={"family": "moving digit", "digit": 6, "direction": "up"})),
            *("a six moving up", "a six moving down", "family"),
        ),
        (rules.picture_answer, Record((BLANK,), facts={"answer": "at the top left"}), "at the top left", "at the top", "answer"),
        (rules.text_answer, asked("what is three plus four?"), "seven", "eight", "answer"),
        (rules.text_answer, asked("what is 12 + 7?"), "19", "20", "answer"),
        (rules.text_answer, asked("is 41 less than 14?"), "no", "yes", "answer"),
        (rules.text_answer, asked("what is one plus one?"), "think: one one, two zero. answer: two", "answer: one", "answer"),
        (rules.statement, asked("?"), "three plus four is seven", "three plus four is six", "true"),
        (rules.statement, asked("?"), "9 is less than 14", "9 is greater than 14", "true"),
    ],
)
def test_words_are_correct_or_subtly_wrong(verifier: Verifier, record: Record, right: str, wrong: str, part: str):
    passed, failed = verifier(record, said(right)), verifier(record, said(wrong))
    assert (passed.passed, passed.score, passed.reason) == (True, 1.0, "")
    assert not failed.passed
    assert failed.score < 1
    assert failed.parts[part] == 0
    assert failed.parts.keys() == passed.parts.keys()
    assert repr(wrong) in failed.reason or part in failed.reason


def test_a_caption_with_one_mistake_keeps_the_rest_of_its_score():
    verdict = rules.caption(RED_SEVEN, said("a red seven at the top right"))
    assert verdict.score == pytest.approx(2 / 3)
    assert verdict.reason == "place: expected 'top left', found 'top right'"


@pytest.mark.parametrize(
    "words", ["a red seven", "red seven at the top left", "a red seven in the top left", "a red seven at the top left."]
)
def test_what_is_no_caption_by_the_grammar_scores_nothing(words: str):
    assert rules.caption(RED_SEVEN, said(words)).score == 0


def test_a_sentence_that_cannot_be_checked_is_not_passed_and_has_no_parts():
    verdict = rules.statement(asked("?"), said("anna says seven"))
    assert (verdict.passed, dict(verdict.parts)) == (False, {})


def test_a_question_of_another_world_is_no_output_s_fault():
    with pytest.raises(ValueError, match="no question that can be answered exactly"):
        rules.text_answer(asked("why?"), said("because"))


# ------------------------------------------------------------------ pictures and videos


def test_a_record_without_what_it_is_judged_by_is_named():
    """Somebody's own film may have no family, or another one."""
    film = [made("video", np.zeros((2, 8, 8, 3), np.uint8))]
    for facts, message in (
        ({}, "of the task 'mine' has no fact 'family'"),
        ({"family": "waves"}, "family = 'waves': the area law"),
    ):
        with pytest.raises(ValueError, match=message):
            rules.area_law(Record((given("text", "a film"), *film), "mine", facts), film)
    assert not rules.energy_law(Record(tuple(film)), film).passed


def test_colour_and_place_of_a_picture():
    for shown in images.pictures(0, range(20)):
        record = Record((BLANK,), facts={"digit": shown.digit, "colour": shown.colour, "place": shown.place})
        assert rules.colour_and_place(record, [made("image", shown.pixels)]).passed
        mirrored = rules.colour_and_place(record, [made("image", np.ascontiguousarray(shown.pixels[:, ::-1]))])
        assert mirrored.parts == {"colour": 1.0, "place": float(shown.place == "centre")}


def test_ink_of_another_colour_is_the_wrong_colour():
    """The same strokes in the next ink of the list."""
    shown = next(one for one in images.pictures(0, range(99)) if one.colour == "red")
    green = np.ascontiguousarray(shown.pixels[..., [1, 0, 2]])
    record = Record((BLANK,), facts={"digit": shown.digit, "colour": "red", "place": shown.place})
    verdict = rules.colour_and_place(record, [made("image", green)])
    assert verdict.parts == {"colour": 0.0, "place": 1.0}
    assert verdict.reason == "colour: expected 'red', found 'green'"


def test_a_video_whose_energy_rises_once_breaks_the_law(disk: np.ndarray):
    record = Record((BLANK,), facts={"family": "a disk shrinking"})
    assert rules.energy_law(record, [made("video", disk)]) == Verdict(1.0, True, "", {"energy law": 1.0})
    swapped = disk[[0, 1, 2, 4, 3, 5, 6, 7, 8]]
    verdict = rules.energy_law(record, [made("video", swapped)])
    assert (verdict.passed, verdict.parts) == (False, {"energy law": 0.0})
    assert verdict.reason.count(",") == 8


def test_a_video_that_stands_still_breaks_the_law(disk: np.ndarray):
    assert not rules.energy_law(Record((BLANK,)), [made("video", np.repeat(disk[:1], 9, 0))]).passed


@pytest.mark.parametrize(("change", "exact", "coarse"), [(0.0, True, True), (0.02, False, True), (0.04, False, False)])
def test_areas_keep_their_law_exactly_or_as_far_as_they_can_be_drawn(disk: np.ndarray, change: float, exact: bool, coarse: bool):
    """A still picture whose last frame has so much more of the bright phase: rows of the canvas turned bright."""
    still = np.repeat(disk[:1], 9, 0).copy()
    dark = still[-1].reshape(-1, 3)
    bright, paper = video.colours(np.ones(1))[0], video.colours(-np.ones(1))[0]
    turned = np.flatnonzero((dark == paper).all(-1))[: round(change * len(dark))]
    dark[turned] = bright
    assert np.ptp(video.areas(still)) == pytest.approx(change, abs=1e-3)
    record = Record((BLANK,), facts={"family": "a mixture separating"})
    found = [verify(record, [made("video", still)]) for verify in (rules.area_law, rules.coarse_area_law)]
    assert [one.passed for one in found] == [exact, coarse]
    assert [list(one.parts) for one in found] == [["area law"], ["coarse area law"]]


# ------------------------------------------------------------------ of all


@pytest.mark.parametrize(
    ("verifier", "record"),
    [
        (rules.caption, RED_SEVEN),
        (rules.word, Record((BLANK,), facts={"word": "nine"})),
        (rules.video_caption, Record((BLANK,), facts={"family": "two discs merging"})),
        (rules.picture_answer, Record((BLANK,), facts={"answer": "yes"})),
        (rules.text_answer, asked("what is 1 + 1?")),
        (rules.statement, asked("?")),
        (rules.colour_and_place, RED_SEVEN),
        (rules.energy_law, RED_SEVEN),
    ],
)
def test_nothing_and_another_kind_and_two_segments_are_not_passed(verifier: Verifier, record: Record):
    sound = made("audio", np.zeros(8, np.float32))
    for output in ([], [sound], [sound, sound]):
        verdict = verifier(record, output)
        assert not verdict.passed
        assert verdict.score == 0
        assert verdict.reason


def test_a_correct_answer_said_twice_is_not_passed():
    nine = Record((BLANK,), facts={"word": "nine"})
    assert rules.word(nine, said("nine")).passed
    assert not rules.word(nine, [*said("nine"), *said("nine")]).passed


@pytest.mark.parametrize(
    ("task", "verifier"),
    [
        ("image→text", rules.caption),
        ("speech→text", rules.word),
        ("video→text", rules.video_caption),
        ("question about image", rules.picture_answer),
        ("text→image", rules.colour_and_place),
    ],
)
def test_true_records_pass(task: str, verifier: Verifier):
    assert task in TASKS
    for record in records(task, 3, range(24)):
        assert verifier(record, record.segments[-1:]).passed


def test_true_answers_in_words_pass():
    asking = [record for record in records("text", 3, range(200)) if "question" in record.facts]
    assert len(asking) > 50
    assert all(rules.text_answer(record, record.segments[-1:]).passed for record in asking)


def test_verifiers_together_pass_what_each_passes():
    def length(record: Record, output: Sequence[Segment]) -> Verdict:
        return compare({"length": 4}, {"length": len(output[0].data)})

    both = all_pass(rules.word, length)
    nine, three = (Record((BLANK,), facts={"word": word}) for word in ("nine", "three"))
    assert both(nine, said("nine")) == Verdict(1.0, True, "", {"word": 1.0, "length": 1.0})
    for record, words, reason in [
        (nine, "five", "word: expected 'nine', found 'five'"),
        (three, "three", "length: expected 4, found 5"),
    ]:
        verdict = both(record, said(words))
        assert (verdict.passed, verdict.score, verdict.reason) == (False, 0.5, reason)


def test_scores_without_parts_count_in_a_joint_verdict():
    """Such as a user's own verifier may give."""
    bare = lambda record, output: Verdict(0.3, True)
    two = lambda record, output: Verdict(0.5, False, "half", {"a": 1.0, "b": 0.0})
    assert all_pass(bare)(RED_SEVEN, []) == Verdict(0.3, True)
    joint = all_pass(bare, two)(RED_SEVEN, [])
    assert joint.score == pytest.approx((0.3 + 2 * 0.5) / 3)
    assert (joint.passed, joint.reason, joint.parts) == (False, "half", {"a": 1.0, "b": 0.0})


# ------------------------------------------------------------------ workings


SUM = Record((given("text", "work out 47 + 38."), BLANK), facts={"question": "work out 47 + 38.", "answer": "85"})


@pytest.mark.parametrize(
    ("text", "passed", "parts", "reason"),
    [
        ("think: four seven plus three eight, seven seven plus eight, eight five. answer: 85", True, (1, 1, 1), ""),
        (
            "think: four seven plus three eight, seven seven plus nine. answer: 85",
            False,
            (0.5, 0, 1),
            "wrong step: 'seven seven plus nine'; the last step does not",
        ),
        ("think: eight six. answer: 86", False, (0, 1, 0), "wrong step: 'eight six'; answer: expected '85', found '86'"),
        ("85", False, (0, 0, 0), "not a working that can be read whole: '85'"),
    ],
)
def test_a_right_answer_with_a_wrong_working_is_told_apart(text, passed, parts, reason):
    verdict = rules.worked_solution(SUM, said(text))
    assert (verdict.passed, tuple(verdict.parts.values())) == (passed, parts)
    assert list(verdict.parts) == ["steps", "concludes", "answer"]
    assert verdict.score == pytest.approx(sum(parts) / 3)
    assert verdict.reason.startswith(reason)
    assert bool(verdict.reason) != passed
    assert rules.worked_answer(SUM, said(text)).passed == (parts[2] == 1)


def test_a_working_of_nothing_and_of_a_picture_is_none():
    for output in ([], [made("image", np.zeros((32, 32, 3), np.uint8))]):
        assert rules.worked_solution(SUM, output).score == 0
        assert not rules.worked_answer(SUM, output).passed
