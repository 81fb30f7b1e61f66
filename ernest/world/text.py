"""Make the text-only records (captions, questions, arithmetic, comparisons, short tales), and work out their answers.

Every record is a pure function of `(seed, index)`, and no text of a training record is ever the text of a
held-out one, whatever the seeds. Answers are exact: `answer` reads a question and works it out again.
"""

import re
import zlib
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from ernest.sequence.record import Record, given, made
from ernest.world.images import COLOURS, DIGITS, PLACES
from ernest.world.speech import VOICES
from ernest.world.split import generator, is_held_out

NUMBERS = (*DIGITS, "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen")
"""The numbers that have a word: up to the sum of two digits."""

_WHERE = tuple("in the centre" if place == "centre" else f"at the {place}" for place in PLACES)
_NAMES = tuple(voice.name for voice in VOICES)
_OPERATIONS = {"plus": "+", "minus": "-", "times": "*"}
_HELD_OUT_SHARE = 8

T = TypeVar("T")
Exchange = tuple[str, str]
"""A question, or the empty string, and the text that is made."""


def story(seed: int, index: int) -> Record:
    """The text-only record `index`: one made text, or a given question and a made answer.

    `facts` hold the `form`, and for questions `question` and `answer`.
    """
    form, question, text = _draw(seed, index)
    if question:
        return Record((given("text", question), made("text", text)), "text", {"form": form, "question": question, "answer": text})
    return Record((made("text", text),), "text", {"form": form})


def _draw(seed: int, index: int) -> tuple[str, str, str]:
    """Draws until the text lies on the right side: an eighth of all texts, chosen by their checksum, is held out."""
    rng, held_out = generator(seed, index, "story"), is_held_out(index)
    while True:
        form = _FORMS[rng.integers(len(_FORMS))]
        question, text = form(rng)
        if (zlib.crc32(f"{question}\n{text}".encode()) % _HELD_OUT_SHARE == 0) == held_out:
            return form.__name__.strip("_"), question, text


# ------------------------------------------------------------------ forms


def _caption(rng: np.random.Generator) -> Exchange:
    """Two objects: one alone has so few captions that they would be learnt by heart."""
    first, second = _two_things(rng)
    return "", f"{first} and {second}"


def _question(rng: np.random.Generator) -> Exchange:
    return _question_about_things(rng) if rng.random() < 0.6 else _question_about_voices(rng)


def _question_about_things(rng: np.random.Generator) -> Exchange:
    (colour, digit, place), second = _thing(rng), _thing(rng)
    if rng.random() < 0.5:
        question, answer = _one_of(rng, [("what colour is it", colour), ("which digit is it", digit), ("where is it", place)])
        return f"there is a {colour} {digit} {place}. {question}?", answer
    while second[0] == colour or second[1] == digit or second[2] == place:
        second = _thing(rng)
    things = f"there is a {colour} {digit} {place} and a {second[0]} {second[1]} {second[2]}."
    colour, digit, place = (colour, digit, place) if rng.random() < 0.5 else second
    question, answer = _one_of(
        rng,
        [
            (f"which digit is {colour}", digit),
            (f"what colour is the {digit}", colour),
            (f"where is the {digit}", place),
            (f"what is {place}", f"a {colour} {digit}"),
        ],
    )
    return f"{things} {question}?", answer


def _question_about_voices(rng: np.random.Generator) -> Exchange:
    anna, ben = _two_of(rng, _NAMES)
    seven, two = _two_of(rng, DIGITS)
    name, word = (anna, seven) if rng.random() < 0.5 else (ben, two)
    question, answer = _one_of(rng, [(f"who says {word}", name), (f"what does {name} say", word)])
    return f"{anna} says {seven} and {ben} says {two}. {question}?", answer


def _arithmetic(rng: np.random.Generator) -> Exchange:
    """Sums, differences and products in words ("three plus four is seven") or figures ("12 + 7 = 19"), told or asked."""
    spelled = rng.random() < 0.5
    operation = _one_of(rng, ["plus", "minus", "times"])
    high = 10 if spelled or operation == "times" else 50
    left, right = (int(number) for number in rng.integers(0, high, 2))
    if operation == "minus":
        left, right = max(left, right), min(left, right)
    result = _computed(left, operation, right)
    if not spelled or result >= len(NUMBERS):
        task, answer, equals = f"{left} {_OPERATIONS[operation]} {right}", str(result), "="
    else:
        task, answer, equals = f"{NUMBERS[left]} {operation} {NUMBERS[right]}", NUMBERS[result], "is"
    return (f"what is {task}?", answer) if rng.random() < 0.5 else ("", f"{task} {equals} {answer}")


def _comparison(rng: np.random.Generator) -> Exchange:
    if rng.random() < 0.5:
        low, high = sorted(int(number) for number in rng.choice(len(DIGITS), 2, replace=False))
        small, large = DIGITS[low], DIGITS[high]
    else:
        low, high = sorted(int(number) for number in rng.choice(100, 2, replace=False))
        small, large = str(low), str(high)
    first, second = (small, large) if rng.random() < 0.5 else (large, small)
    relation = _one_of(rng, ["greater", "less"])
    true = (relation == "greater") == (first == large)
    match int(rng.integers(4)):
        case 0:
            return f"is {first} {relation} than {second}?", "yes" if true else "no"
        case 1:
            return f"which is {relation}, {first} or {second}?", large if relation == "greater" else small
        case 2:
            return f"is {first} even or odd?", ("even", "odd")[_value(first) % 2]
        case _:
            return "", f"{first} is {'greater' if first == large else 'less'} than {second}"


def _tale(rng: np.random.Generator) -> Exchange:
    """Two or three different scenes, one sentence or two each."""
    scenes = rng.permutation(len(_SCENES))[: rng.integers(2, 4)]
    return "", " ".join(_SCENES[scene](rng) for scene in scenes)


_FORMS: tuple[Callable[[np.random.Generator], Exchange], ...] = (_caption, _question, _arithmetic, _comparison, _tale)


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
    anna, ben = _two_of(rng, _NAMES)
    high, low = sorted((int(number) for number in rng.integers(0, 10, 2)), reverse=True)
    start = f"{anna} says {NUMBERS[high]} and {ben} says {NUMBERS[low]}."
    if rng.random() < 0.5:
        return f"{start} together they make {NUMBERS[high + low]}."
    return f"{start} the difference is {NUMBERS[high - low]}."


def _drops_change(rng: np.random.Generator) -> str:
    high, low = sorted((int(number) for number in rng.choice(np.arange(1, 100), 2, replace=False)), reverse=True)
    vessel = _one_of(rng, ["dish", "jar", "bowl", "glass"])
    event = _one_of(
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
    digit, name = _one_of(rng, DIGITS), _one_of(rng, _NAMES)
    way = _one_of(rng, ["left", "right", "up", "down"])
    return f"{_article(digit)} {digit} is moving {way}. {name} sees it and says {digit}."


def _someone_counts(rng: np.random.Generator) -> str:
    start, length = int(rng.integers(0, 7)), int(rng.integers(3, 5))
    numbers = list(NUMBERS[start : start + length])
    if rng.random() < 0.5:
        numbers.reverse()
    return f"{_one_of(rng, _NAMES)} counts {', '.join(numbers[:-1])} and {numbers[-1]}."


def _someone_draws(rng: np.random.Generator) -> str:
    colour, digit, place = _thing(rng)
    maker, friend = _two_of(rng, _NAMES)
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


def answer(question: str) -> str | None:
    """The right answer to a question of this world, worked out from its words; None if it is no such question."""
    for pattern, solve in _SOLVERS:
        match = re.fullmatch(pattern, question)
        if match:
            return solve(*match.groups())
    return None


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


def _computed(left: int, operation: str, right: int) -> int:
    return {"plus": left + right, "minus": left - right, "times": left * right}[operation]


def _solve_arithmetic(left: str, operation: str, right: str) -> str | None:
    spelled = operation in _OPERATIONS
    if min(_value(left), _value(right)) < 0 or left.isdigit() == spelled or right.isdigit() == spelled:
        return None
    signs = {sign: name for name, sign in _OPERATIONS.items()}
    result = _computed(_value(left), signs.get(operation, operation), _value(right))
    return NUMBERS[result] if spelled and 0 <= result < len(NUMBERS) else str(result)


def _solve_comparison(first: str, relation: str, second: str) -> str | None:
    low, high = _value(first), _value(second)
    if low < 0 or high < 0:
        return None
    return "yes" if (low > high if relation == "greater" else low < high) else "no"


def _solve_which(relation: str, first: str, second: str) -> str | None:
    if min(_value(first), _value(second)) < 0:
        return None
    return (max if relation == "greater" else min)(first, second, key=_value)


def _solve_parity(number: str) -> str | None:
    return None if _value(number) < 0 else ("even", "odd")[_value(number) % 2]


def _solve_voices(anna: str, seven: str, ben: str, two: str, question: str) -> str | None:
    if question.startswith("who says "):
        return {seven: anna, two: ben}.get(question.removeprefix("who says "))
    return {anna: seven, ben: two}.get(question.removeprefix("what does ").removesuffix(" say"))


def _solve_things(things: str, question: str) -> str | None:
    """Every thing is a fact (colour, digit, place); the question names one of the three, or "it", and asks for another."""
    for colour, digit, place in re.findall(rf"a (\w+) (\w+) ({'|'.join(_WHERE)})", things):
        answer = {
            "what colour is it": colour,
            "which digit is it": digit,
            "where is it": place,
            f"which digit is {colour}": digit,
            f"what colour is the {digit}": colour,
            f"where is the {digit}": place,
            f"what is {place}": f"a {colour} {digit}",
        }.get(question)
        if answer:
            return answer
    return None


_SOLVERS: tuple[tuple[str, Callable[..., str | None]], ...] = (
    (r"what is (\w+) (plus|minus|times|[-+*]) (\w+)\?", _solve_arithmetic),
    (r"is (\w+) (greater|less) than (\w+)\?", _solve_comparison),
    (r"which is (greater|less), (\w+) or (\w+)\?", _solve_which),
    (r"is (\w+) even or odd\?", _solve_parity),
    (r"(\w+) says (\w+) and (\w+) says (\w+)\. (.+)\?", _solve_voices),
    (r"there is (.+)\. (.+)\?", _solve_things),
)


# ------------------------------------------------------------------ draws


def _thing(rng: np.random.Generator) -> tuple[str, str, str]:
    return _one_of(rng, tuple(COLOURS)), _one_of(rng, DIGITS), _one_of(rng, _WHERE)


def _two_things(rng: np.random.Generator) -> tuple[str, str]:
    first, second = _thing(rng), _thing(rng)
    while second[2] == first[2]:
        second = _thing(rng)
    return "a {} {} {}".format(*first), "a {} {} {}".format(*second)


def _one_of(rng: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]


def _two_of(rng: np.random.Generator, choices: Sequence[T]) -> tuple[T, T]:
    first, second = rng.choice(len(choices), 2, replace=False)
    return choices[int(first)], choices[int(second)]


def _value(number: str) -> int:
    """The value of a number in words or figures, -1 if it is none."""
    if re.fullmatch("[0-9]+", number):
        return int(number)
    return NUMBERS.index(number) if number in NUMBERS else -1


def _article(noun: str) -> str:
    return "an" if noun == "eight" else "a"
