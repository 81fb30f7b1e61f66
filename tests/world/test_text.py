import re
from collections import Counter

import pytest

from ernest.sequence.record import Record
from ernest.world.split import HELD_OUT
from ernest.world.text import NUMBERS, answer, holds, story

TRAIN = [story(0, index) for index in range(3000)]
HELD = [story(seed, HELD_OUT + index) for seed in (0, 1) for index in range(500)]


def texts(record: Record) -> tuple[str, ...]:
    return tuple(segment.data for segment in record.segments)


def test_a_record_is_a_function_of_seed_and_index():
    assert [texts(story(0, index)) for index in range(50)] == [texts(record) for record in TRAIN[:50]]
    assert [texts(story(1, index)) for index in range(50)] != [texts(record) for record in TRAIN[:50]]


def test_no_held_out_text_is_ever_a_text_for_training():
    assert not {texts(record) for record in TRAIN} & {texts(record) for record in HELD}


def test_every_form_is_told_and_texts_rarely_repeat():
    forms = Counter(record.facts["form"] for record in TRAIN)
    assert set(forms) == {"caption", "question", "arithmetic", "comparison", "tale"}
    assert min(forms.values()) > 500
    assert len({texts(record) for record in TRAIN}) > 2500
    tales = [texts(record) for record in TRAIN if record.facts["form"] == "tale"]
    assert len(set(tales)) == len(tales)


def test_questions_are_given_and_their_answers_made_and_right():
    asked = [record for record in TRAIN + HELD if "question" in record.facts]
    assert len(asked) > 1000
    for record in asked:
        question, right = record.segments
        assert not question.made
        assert right.made
        assert (question.data, right.data) == (record.facts["question"], record.facts["answer"])
        assert answer(question.data) == right.data


def test_statements_hold():
    told = [record for record in TRAIN + HELD if record.facts["form"] in ("arithmetic", "comparison")]
    told = [record.segments[0].data for record in told if "question" not in record.facts]
    assert len(told) > 300
    assert all(holds(text) for text in told)


def test_sums_and_comparisons_within_the_tales_are_right():
    tales = " ".join(texts(record)[0] for record in TRAIN if record.facts["form"] == "tale")
    sums = re.findall(r"says (\w+) and \w+ says (\w+)\. (together they make|the difference is) (\w+)\.", tales)
    energies = re.findall(r"from (\d+) to (\d+)", tales)
    digits = re.findall(r"a (\w+) (\w+) sits [^.]* and a (\w+) (\w+) sits [^.]*\. the (\w+) one is greater", tales)
    assert min(len(sums), len(energies), len(digits)) > 50
    for first, second, kind, result in sums:
        left, right = NUMBERS.index(first), NUMBERS.index(second)
        assert NUMBERS.index(result) == (left + right if kind.startswith("together") else left - right)
    assert all(int(high) > int(low) for high, low in energies)
    for colour, digit, other_colour, other, greater in digits:
        assert greater == (colour if NUMBERS.index(digit) > NUMBERS.index(other) else other_colour)


def test_articles():
    assert not re.search(r"\ba eight (is|moves)|\ban (?!eight)", " ".join(" ".join(texts(record)) for record in TRAIN))


@pytest.mark.parametrize(
    ("question", "right"),
    [
        ("what is three plus four?", "seven"),
        ("what is nine times nine?", "81"),
        ("what is 31 - 8?", "23"),
        ("is five less than two?", "no"),
        ("is 12 greater than 7?", "yes"),
        ("which is less, three or nine?", "three"),
        ("is four even or odd?", "even"),
        ("there is a red seven in the centre. what colour is it?", "red"),
        ("there is a red seven in the centre and a blue two at the top left. where is the two?", "at the top left"),
        ("there is a red seven in the centre and a blue two at the top left. what is in the centre?", "a red seven"),
        ("anna says seven and ben says two. who says two?", "ben"),
        ("anna says seven and ben says two. what does anna say?", "seven"),
        ("anna says seven and ben says two. what does carl say?", None),
        ("what is three plus red?", None),
        ("what is 3 plus four?", None),
        ("is red less than two?", None),
        ("which is less, red or two?", None),
        ("is red even or odd?", None),
        ("there is a dog. where is it?", None),
        ("why?", None),
    ],
)
def test_answers(question, right):
    assert answer(question) == right


@pytest.mark.parametrize(
    ("statement", "verdict"),
    [
        ("three plus four is seven", True),
        ("three plus four is eight", False),
        ("12 + 7 = 19", True),
        ("12 + 7 = 20", False),
        ("nine is greater than two", True),
        ("9 is less than 4", False),
        ("red is less than two", None),
        ("a red seven", None),
    ],
)
def test_statements(statement, verdict):
    assert holds(statement) is verdict
