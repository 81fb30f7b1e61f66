"""Questions with their workings: right, worked out anew from the words, read whole or not at all."""

from collections import Counter

import pytest

from ernest.world.solutions import Checked, check, read, solve, worked
from ernest.world.split import HELD_OUT

TRAIN = [worked(0, index) for index in range(2000)]
HELD = [worked(seed, HELD_OUT + index) for seed in (0, 1) for index in range(400)]


def question(record) -> str:
    return record.segments[0].data


def test_a_record_is_a_function_of_seed_and_index_and_none_is_held_out():
    assert [question(worked(0, index)) for index in range(50)] == list(map(question, TRAIN[:50]))
    assert [question(worked(1, index)) for index in range(50)] != list(map(question, TRAIN[:50]))
    assert not set(map(question, TRAIN)) & set(map(question, HELD))
    assert len(set(map(question, TRAIN))) > 1500


def test_workings_are_right_by_arithmetic_that_shares_nothing_with_them():
    kinds = Counter()
    for record in TRAIN + HELD:
        asked, said = (segment.data for segment in record.segments)
        assert [segment.made for segment in record.segments] == [False, True]
        solution = read(said)
        assert str(solution) == said
        numbers = [int(word.strip(".,")) for word in asked.split() if word.strip(".,").isdigit()]
        kind = "which" if "which" in asked else next(sign for sign in ("+", "-", "*", "together", "more") if sign in asked)
        kinds[kind] += 1
        if kind == "which":
            a, b, c, d = numbers
            right = f"{a} + {b}" if (a + b > c + d) == ("greater" in asked) else f"{c} + {d}"
        else:
            a, b = numbers
            right = str({"+": a + b, "together": a + b, "-": a - b, "more": a - b, "*": a * b}[kind])
        assert solution.answer == right == record.facts["answer"]
        assert check(asked, solution) == Checked((True,) * len(solution.steps), True, True)
        for step in solution.steps:
            if " = " in step:
                left, result = step.split(" = ")
                assert eval(left) == int(result)
    assert min(kinds.values()) > 300
    assert len(kinds) == 6


SUM = "work out 47 + 38."


@pytest.mark.parametrize(
    ("said", "steps", "concludes", "answer"),
    [
        ("think: 7 + 8 = 15. 40 + 30 = 70. 70 + 15 = 85. answer: 85", (True, True, True), True, True),
        ("think: 47 + 30 = 77. 77 + 8 = 85. answer: 85", (True, True), True, True),  # another way
        ("think: 7 + 8 = 16. 40 + 30 = 70. 70 + 16 = 86. answer: 85", (False, True, False), False, True),  # of a wrong result
        ("think: 7 + 8 = 16. 40 + 30 = 70. 70 + 15 = 85. answer: 85", (False, True, False), True, True),
        ("think: 7 + 8 = 15. answer: 85", (True,), False, True),  # leads elsewhere
        ("think: 50 + 35 = 85. answer: 85", (False,), True, True),  # true of numbers that nobody gave
        ("think: 7 + 8 = 15. 40 + 30 = 70. 70 + 15 = 85. answer: 84", (True, True, True), False, False),
        ("think: 85 is greater than 47. answer: 85", (False,), False, True),
    ],
)
def test_each_way_to_be_wrong_is_told(said, steps, concludes, answer):
    assert check(SUM, read(said)) == Checked(steps, concludes, answer)


def test_of_two_sums_the_last_step_compares_the_one_with_the_other():
    asked = "work out which is less, 12 + 7 or 9 + 8."
    right = "think: 12 + 7 = 19. 9 + 8 = 17. 17 is less than 19. answer: 9 + 8"
    assert str(solve(asked)) == right
    for wrong, expected in (
        (right.replace("17 is less than 19", "19 is greater than 17"), Checked((True,) * 3, False, True)),
        (right.replace("answer: 9 + 8", "answer: 12 + 7"), Checked((True,) * 3, False, False)),
        (right.replace("answer: 9 + 8", "answer: 17"), Checked((True,) * 3, False, False)),
        (right.replace("9 + 8 = 17", "9 + 8 = 18").replace("17 is", "18 is"), Checked((True, False, False), False, True)),
    ):
        assert check(asked, read(wrong)) == expected


@pytest.mark.parametrize(
    "said",
    [
        "85",
        "think: 47 + 38 = 85.",
        "think: 47 + 38 = 85. answer: 85 ",
        "think: 47 + 38 = 85. answer: 8 5",
        "think: 47 + 38 = 85. answer: 85.0",
        "think: 47 + 38 = 85. answer: 12,345",
        "think: 47 + 38 = 85. answer: 1e5",
        "think: 47 + 38 = 85. answer: -85",
        "think: 47 + 38 = 85. answer: 085",
        "think: 47 + 38 = 85. answer: ٨٥",
        "think: 47 + 38 = 85. let me see. answer: 85",
        "think: 47 + 38 = 85. answer: 85. answer: 85",
        "think: . answer: 85",
        "think: 47 + 38 = 85. answer: 85\n",
    ],
)
def test_what_cannot_be_read_whole_is_not_read(said):
    assert read(said) is None


@pytest.mark.parametrize(
    "asked", ["what is 3 + 4?", "work out 38 - 47.", "anna has 9 drops and ben has 3. work out how many more ben has.", ""]
)
def test_other_questions_are_none_of_this_world(asked):
    assert solve(asked) is None
    with pytest.raises(ValueError, match="no question that can be worked out"):
        check(asked, read("think: 3 + 4 = 7. answer: 7"))
