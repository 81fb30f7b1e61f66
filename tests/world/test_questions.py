"""Questions of the world: every step of a working is right, its end is the answer, and the answer that is worked out anew."""

from itertools import pairwise

import numpy as np
import pytest

from ernest.world import questions
from ernest.world.questions import NUMBERS, Question, answer, conclusion

MAKERS = {
    maker.__name__: maker
    for maker in (
        *(questions.sum_of_two, questions.difference, questions.comparison),
        *(questions.about_voices, questions.about_things, questions.among),
    )
}
LONGEST_TEXT = 48
"""Tokens that the demo makes at most."""


def drawn(maker: str, count: int = 300) -> list[Question]:
    return [MAKERS[maker](np.random.default_rng(seed)) for seed in range(count)]


def steps(question: Question) -> list[list[str]]:
    return [step.split() for step in question.working.split(", ")]


@pytest.mark.parametrize("maker", MAKERS)
def test_the_answer_is_the_one_that_is_worked_out_anew_and_ends_what_is_made(maker):
    asked = drawn(maker)
    assert len({question.words for question in asked}) > 100
    for question in asked:
        assert answer(question.words) == question.answer == conclusion(str(question))
        assert len(str(question).replace(",", " ,").replace(".", " .").replace(":", " :").split()) + 2 < LONGEST_TEXT


@pytest.mark.parametrize(("maker", "sign"), [("sum_of_two", 1), ("difference", -1), ("comparison", 0)])
def test_numbers_go_down_together_until_one_is_zero(maker, sign):
    """a + b and a - b stay what they are from step to step, and so does which of two numbers is the greater."""
    for question in drawn(maker, 100):
        told = steps(question)[: -1 if maker == "comparison" else None]
        values = [[NUMBERS.index(word) for word in step] for step in told]
        assert all(number in question.words for number in told[0])
        for (left, right), (next_left, next_right) in pairwise(values):
            assert (next_left, next_right) == (left + (sign or -1), right - 1)
        assert maker != "comparison" or not any(0 in step for step in values[:-1])
        assert values[-1][1] == 0 or (maker == "comparison" and values[-1][0] == 0)


@pytest.mark.parametrize("maker", ["about_voices", "about_things", "among"])
def test_what_was_told_is_gone_through_until_it_fits(maker):
    for question in drawn(maker, 100):
        for *_, key, asked, verdict in steps(question):
            assert verdict == ("yes" if key == asked else "no")
        assert all(step[-1] == "no" for step in steps(question)[:-1])


@pytest.mark.parametrize(
    ("question", "right"),
    [
        ("what is three plus four?", "seven"),
        ("what is nine times nine?", "81"),
        ("what is 31 - 8?", "23"),
        ("is five less than two?", "no"),
        ("is 12 greater than 7?", "yes"),
        ("is red among green, red, pink and blue?", "yes"),
        ("is ben among anna, carla, adam and rosa?", "no"),
        ("there is a red seven at the top right and a blue two at the top left. where is the blue one?", "at the top left"),
        ("there is a red seven at the top right and a blue two at the top left. which digit is red?", "seven"),
        ("there is a red seven at the top right and a blue two at the top left. which digit is green?", None),
        ("listen: anna says seven and ben says two. who says two?", "ben"),
        ("listen: anna says red and ben says blue. who says red?", "anna"),
        ("listen: anna says seven and ben says two. what does anna say?", "seven"),
        ("listen: anna says seven and ben says two. what does carl say?", None),
        ("what is three plus red?", None),
        ("what is 3 plus four?", None),
        ("is red less than two?", None),
        ("there is a dog. where is it?", None),
        ("why?", None),
    ],
)
def test_answers(question, right):
    assert answer(question) == right


def test_a_conclusion_is_what_stands_behind_the_working():
    assert conclusion("think: two zero. answer: two") == "two"
    assert conclusion("seven") == "seven"
    assert conclusion("think: two one. answer: one, one zero. answer: one") == "one"
