"""Make the text-only records (questions, captions, true statements, short tales), and tell true statements from others.

Every record is a pure function of `(seed, index)`. No text of a training record is ever the text of a held-out one, whatever the
seeds, and no held-out question is about two numbers or a scene that a training one asks about.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ernest.sequence.record import Record, given, made
from ernest.world import questions
from ernest.world.images import COLOURS, DIGITS, WHERE
from ernest.world.questions import NAMES, NUMBERS, OPERATIONS, Question, answer, computed, one_of, several_of
from ernest.world.split import generator, is_on_its_side


@dataclass(frozen=True)
class _Told:
    """A text that answers nothing. `about` is in the words of `Question.about`: a sum, or the less and the greater number."""

    words: str
    about: str


def _itself(words: str) -> _Told:
    """A text that no question asks about."""
    return _Told(words, words)


def story(seed: int, index: int) -> Record:
    """The text-only record `index`: one made text, or a given question and what is made of it: a working and its answer.

    `facts` hold the `form`, and for questions `question` and `answer`, without the working.
    """
    form, drawn = _draw(seed, index)
    if isinstance(drawn, Question):
        facts = {"form": form, "question": drawn.words, "answer": drawn.answer}
        return Record((given("text", drawn.words), made("text", str(drawn))), "text", facts)
    return Record((made("text", drawn.words),), "text", {"form": form})


def _draw(seed: int, index: int) -> tuple[str, Question | _Told]:
    """Draws until the text lies on the right side."""
    rng = generator(seed, index, "story")
    while True:
        form = list(_FORMS)[rng.choice(len(_FORMS), p=_SHARES)]
        drawn = _FORMS[form][0](rng)
        if is_on_its_side(drawn.about, index):
            return form, drawn


# ------------------------------------------------------------------ forms


def _caption(rng: np.random.Generator) -> _Told:
    """Two objects: one alone has so few captions that they would be learnt by heart."""
    first, second = _two_things(rng)
    return _itself(f"{first} and {second}")


def _statement(rng: np.random.Generator) -> _Told:
    return _arithmetic(rng) if rng.random() < 0.5 else _comparison(rng)


def _arithmetic(rng: np.random.Generator) -> _Told:
    """Sums, differences and products in words ("three plus four is seven") or figures ("12 + 7 = 19")."""
    spelled = rng.random() < 0.5
    operation = one_of(rng, list(OPERATIONS))
    high = 10 if spelled or operation == "times" else 50
    left, right = (int(number) for number in rng.integers(0, high, 2))
    if operation == "minus":
        left, right = max(left, right), min(left, right)
    result = computed(left, operation, right)
    if not spelled or result >= len(NUMBERS):
        return _itself(f"{left} {OPERATIONS[operation]} {right} = {result}")
    task = f"{NUMBERS[left]} {operation} {NUMBERS[right]}"
    return _Told(f"{task} is {NUMBERS[result]}", task)


def _comparison(rng: np.random.Generator) -> _Told:
    spelled = rng.random() < 0.5
    low, high = sorted(int(number) for number in rng.choice(len(DIGITS) if spelled else 100, 2, replace=False))
    small, large = (DIGITS[low], DIGITS[high]) if spelled else (str(low), str(high))
    words = f"{large} is greater than {small}" if rng.random() < 0.5 else f"{small} is less than {large}"
    return _Told(words, f"{small} and {large}")


def _tale(rng: np.random.Generator) -> _Told:
    """Two or three different scenes, one sentence or two each."""
    scenes = rng.permutation(len(_SCENES))[: rng.integers(2, 4)]
    return _itself(" ".join(_SCENES[scene](rng) for scene in scenes))


_FORMS: dict[str, tuple[Callable[[np.random.Generator], Question | _Told], float]] = {
    "sum": (questions.sum_of_two, 1.0),
    "difference": (questions.difference, 1.0),
    "comparison": (questions.comparison, 1.5),
    "voices": (questions.about_voices, 3.0),
    "things": (questions.about_things, 3.0),
    "among": (questions.among, 2.5),
    "caption": (_caption, 0.2),
    "statement": (_statement, 0.3),
    "tale": (_tale, 0.5),
}
"""Each with its weight: a scene that is looked up takes more examples than a sum, and a tale is many words that nobody could
tell beforehand."""
_SHARES = np.array([weight for _, weight in _FORMS.values()]) / sum(weight for _, weight in _FORMS.values())


# ------------------------------------------------------------------ scenes of the tales


def _digits_meet(rng: np.random.Generator) -> str:
    first, second = _thing(rng), _thing(rng)
    while second[0] == first[0] or second[2] == first[2]:
        second = _thing(rng)
    left, right = DIGITS.index(first[1]), DIGITS.index(second[1])
    start = f"a {first[0]} {first[1]} sits {first[2]} and a {second[0]} {second[1]} sits {second[2]}."
    if left == right:
        return f"{start} they are the same digit."
    return f"{start} the {first[0] if left > right else second[0]} one is greater."


def _voices_count(rng: np.random.Generator) -> str:
    anna, ben = several_of(rng, NAMES, 2)
    high, low = sorted((int(number) for number in rng.integers(0, 10, 2)), reverse=True)
    start = f"{anna} says {NUMBERS[high]} and {ben} says {NUMBERS[low]}."
    if rng.random() < 0.5:
        return f"{start} together they make {NUMBERS[high + low]}."
    return f"{start} the difference is {NUMBERS[high - low]}."


def _drops_change(rng: np.random.Generator) -> str:
    high, low = sorted((int(number) for number in rng.choice(np.arange(1, 100), 2, replace=False)), reverse=True)
    vessel = one_of(rng, ["dish", "jar", "bowl", "glass"])
    event = one_of(
        rng,
        [
            "two drops meet in a {}. they merge into one",
            "a large drop and a small one lie in a {}. the large one grows and the small one shrinks",
            "a mixture rests in a {}. slowly it separates",
            "a star of oil floats in a {}. its rays round off",
            "a disk of oil floats in a {}. it shrinks and is gone",
        ],
    )
    return f"{event.format(vessel)}, and the energy falls from {high} to {low}."


def _digit_moves(rng: np.random.Generator) -> str:
    digit, name = one_of(rng, DIGITS), one_of(rng, NAMES)
    way = one_of(rng, ["left", "right", "up", "down"])
    return f"{_article(digit)} {digit} is moving {way}. {name} sees it and says {digit}."


def _someone_counts(rng: np.random.Generator) -> str:
    start, length = int(rng.integers(0, 7)), int(rng.integers(3, 5))
    numbers = list(NUMBERS[start : start + length])
    if rng.random() < 0.5:
        numbers.reverse()
    return f"{one_of(rng, NAMES)} counts {', '.join(numbers[:-1])} and {numbers[-1]}."


def _someone_draws(rng: np.random.Generator) -> str:
    colour, digit, place = _thing(rng)
    maker, friend = several_of(rng, NAMES, 2)
    return f"{maker} draws a {colour} {digit} {place}, and {friend} reads it aloud: {digit}."


_SCENES: tuple[Callable[[np.random.Generator], str], ...] = (
    _digits_meet,
    _voices_count,
    _drops_change,
    _digit_moves,
    _someone_counts,
    _someone_draws,
)


# ------------------------------------------------------------------ the verifier


def holds(statement: str) -> bool | None:
    """Whether a sentence such as "three plus four is seven" or "9 is less than 4" is true; None if it is no such sentence."""
    sum_of = re.fullmatch(r"(\w+ (?:plus|minus|times) \w+) is (\w+)|(\d+ [-+*] \d+) = (\d+)", statement)
    if sum_of:
        return answer(f"what is {sum_of[1] or sum_of[3]}?") == (sum_of[2] or sum_of[4])
    compared = re.fullmatch(r"(\w+) is ((?:greater|less) than \w+)", statement)
    if compared:
        verdict = answer(f"is {compared[1]} {compared[2]}?")
        return None if verdict is None else verdict == "yes"
    return None


# ------------------------------------------------------------------ draws


def _thing(rng: np.random.Generator) -> tuple[str, str, str]:
    return one_of(rng, tuple(COLOURS)), one_of(rng, DIGITS), one_of(rng, tuple(WHERE.values()))


def _two_things(rng: np.random.Generator) -> tuple[str, str]:
    first, second = _thing(rng), _thing(rng)
    while second[2] == first[2]:
        second = _thing(rng)
    return "a {} {} {}".format(*first), "a {} {} {}".format(*second)


def _article(noun: str) -> str:
    return "an" if noun == "eight" else "a"
