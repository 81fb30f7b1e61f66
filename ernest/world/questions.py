"""Make questions in words whose answers are worked out aloud, and work out the answer of any such question anew.

A working goes on by small steps that look back a few words alone, as far in every text: sums and differences count one number up
or down while the other falls to zero, two numbers that are compared fall together, and what was told is gone through beside what
is asked until it fits.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ernest.world.images import COLOURS, DIGITS, PLACES, WHERE
from ernest.world.speech import VOICES

NUMBERS = (*DIGITS, "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen")
"""The numbers that have a word: up to the sum of two digits."""
NAMES = tuple(voice.name for voice in VOICES)
OPERATIONS = {"plus": "+", "minus": "-", "times": "*"}

_PEOPLE = NAMES[:8]
_CORNERS = tuple(place for place in PLACES if place != "centre")
_ANSWER = "answer: "

T = TypeVar("T")


@dataclass(frozen=True)
class Question:
    """A question with its working and its answer. `about` is the pair of numbers or the scene that it asks about, in one word or
    many: what is held out are these, in every wording."""

    about: str
    words: str
    working: str
    answer: str

    def __str__(self) -> str:
        """What is made: the working and the answer."""
        return f"think: {self.working}. {_ANSWER}{self.answer}"


def conclusion(text: str) -> str:
    """The answer that a text comes to: what stands behind its working, or all of it where it has none."""
    return text.rpartition(_ANSWER)[2]


# ------------------------------------------------------------------ sums, differences, comparisons


def sum_of_two(rng: np.random.Generator) -> Question:
    """A digit that is added to a number, up to eighteen."""
    right = int(rng.integers(10))
    return _reckoned(int(rng.integers(len(NUMBERS) - right)), "plus", right)


def difference(rng: np.random.Generator) -> Question:
    """A digit that is taken from a number."""
    right = int(rng.integers(10))
    return _reckoned(int(rng.integers(right, len(NUMBERS))), "minus", right)


def _reckoned(left: int, operation: str, right: int) -> Question:
    """a + b = (a + 1) + (b - 1) and a - b = (a - 1) - (b - 1), until b is zero."""
    step = 1 if operation == "plus" else -1
    steps = [(left + n * step, right - n) for n in range(right + 1)]
    task = f"{NUMBERS[left]} {operation} {NUMBERS[right]}"
    return Question(task, f"what is {task}?", _told(steps), NUMBERS[steps[-1][0]])


def comparison(rng: np.random.Generator) -> Question:
    """A digit and a larger number, in either order: a > b just where a - 1 > b - 1, until one of them is zero."""
    low = int(rng.integers(10))
    high = int(rng.integers(low + 1, len(NUMBERS)))
    first, second = (low, high) if rng.random() < 0.5 else (high, low)
    found, asked = "greater" if first > second else "less", one_of(rng, ["greater", "less"])
    working = f"{_told((first - n, second - n) for n in range(low + 1))}, {found} {asked} {yes_or_no(found == asked)}"
    words = f"is {NUMBERS[first]} {asked} than {NUMBERS[second]}?"
    return Question(f"{NUMBERS[low]} and {NUMBERS[high]}", words, working, yes_or_no(found == asked))


def _told(steps: Iterable[tuple[int, int]]) -> str:
    return ", ".join(f"{NUMBERS[left]} {NUMBERS[right]}" for left, right in steps)


# ------------------------------------------------------------------ what was told


def about_voices(rng: np.random.Generator) -> Question:
    """Two people and what they say: who says a colour, or what one of them says. What is asked is a name or a colour, here as
    below: whether two numbers are the same word is learnt late, in a network that counts with them."""
    who = bool(rng.random() < 0.5)
    names = several_of(rng, _PEOPLE, 2)
    words = several_of(rng, tuple(COLOURS) if who or rng.random() < 0.5 else DIGITS, 2)
    told = f"listen: {names[0]} says {words[0]} and {names[1]} says {words[1]}."
    which = int(rng.integers(2))
    if who:
        return _looked_up(told, f"who says {words[which]}?", list(zip(names, words, strict=True)), which)
    return _looked_up(told, f"what does {names[which]} say?", list(zip(words, names, strict=True)), which)


def about_things(rng: np.random.Generator) -> Question:
    """Two digits of two colours in two corners: which digit has a colour, or where it is."""
    colours, digits, corners = (several_of(rng, kind, 2) for kind in (tuple(COLOURS), DIGITS, _CORNERS))
    things = [f"a {' '.join(thing[:2])} at the {thing[2]}" for thing in zip(colours, digits, corners, strict=True)]
    told, which = f"there is {' and '.join(things)}.", int(rng.integers(2))
    if rng.random() < 0.5:
        return _looked_up(told, f"which digit is {colours[which]}?", list(zip(digits, colours, strict=True)), which)
    places = [f"at the {corner}" for corner in corners]
    return _looked_up(told, f"where is the {colours[which]} one?", list(zip(places, colours, strict=True)), which)


def among(rng: np.random.Generator) -> Question:
    """Whether a name or a colour is one of four."""
    words = several_of(rng, (_PEOPLE, tuple(COLOURS))[rng.integers(2)], 5)
    listed, asked = words[:4], words[4] if rng.random() < 0.3 else one_of(rng, words[:4])
    told = f"{', '.join(listed[:3])} and {listed[3]}"
    seen = listed[: listed.index(asked) + 1] if asked in listed else listed
    working = ", ".join(f"{word} {asked} {yes_or_no(word == asked)}" for word in seen)
    return Question(told, f"is {asked} among {told}?", working, yes_or_no(asked in listed))


def _looked_up(told: str, question: str, facts: Sequence[tuple[str, str]], which: int) -> Question:
    """Facts `(value, key)` are gone through up to number `which`, whose value is the answer."""
    asked = facts[which][1]
    working = ", ".join(f"{value} {key} {asked} {yes_or_no(key == asked)}" for value, key in facts[: which + 1])
    return Question(told, f"{told} {question}", working, facts[which][0])


def yes_or_no(it_is: bool) -> str:
    return "yes" if it_is else "no"


# ------------------------------------------------------------------ the verifier


def answer(question: str) -> str | None:
    """The right answer to a question of this world, worked out from its words; None if it is no such question."""
    for pattern, solve in _SOLVERS:
        match = re.fullmatch(pattern, question)
        if match:
            return solve(*match.groups())
    return None


def computed(left: int, operation: str, right: int) -> int:
    """The result of an operation that is named in words."""
    return {"plus": left + right, "minus": left - right, "times": left * right}[operation]


def value_of(number: str) -> int:
    """The value of a number in words or figures, -1 if it is none."""
    if re.fullmatch("[0-9]+", number):
        return int(number)
    return NUMBERS.index(number) if number in NUMBERS else -1


def _solve_arithmetic(left: str, operation: str, right: str) -> str | None:
    spelled = operation in OPERATIONS
    if min(value_of(left), value_of(right)) < 0 or left.isdigit() == spelled or right.isdigit() == spelled:
        return None
    signs = {sign: name for name, sign in OPERATIONS.items()}
    result = computed(value_of(left), signs.get(operation, operation), value_of(right))
    return NUMBERS[result] if spelled and 0 <= result < len(NUMBERS) else str(result)


def _solve_comparison(first: str, relation: str, second: str) -> str | None:
    low, high = value_of(first), value_of(second)
    if low < 0 or high < 0:
        return None
    return yes_or_no(low > high if relation == "greater" else low < high)


def _solve_among(asked: str, listed: str) -> str:
    return yes_or_no(asked in re.split(", | and ", listed))


def _solve_voices(anna: str, seven: str, ben: str, two: str, question: str) -> str | None:
    if question.startswith("who says "):
        return {seven: anna, two: ben}.get(question.removeprefix("who says "))
    return {anna: seven, ben: two}.get(question.removeprefix("what does ").removesuffix(" say"))


def _solve_things(things: str, question: str) -> str | None:
    """Every thing is a fact (colour, digit, place); the question names the colour and asks for another."""
    for colour, digit, place in re.findall(rf"a (\w+) (\w+) ({'|'.join(WHERE.values())})", things):
        found = {
            f"which digit is {colour}": digit,
            f"where is the {colour} one": place,
        }.get(question)
        if found:
            return found
    return None


_SOLVERS: tuple[tuple[str, Callable[..., str | None]], ...] = (
    (r"what is (\w+) (plus|minus|times|[-+*]) (\w+)\?", _solve_arithmetic),
    (r"is (\w+) (greater|less) than (\w+)\?", _solve_comparison),
    (r"is (\w+) among (\w+(?:, \w+)* and \w+)\?", _solve_among),
    (r"listen: (\w+) says (\w+) and (\w+) says (\w+)\. (.+)\?", _solve_voices),
    (r"there is (.+)\. (.+)\?", _solve_things),
)


# ------------------------------------------------------------------ draws


def one_of(rng: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]


def several_of(rng: np.random.Generator, choices: Sequence[T], count: int) -> list[T]:
    """So many different ones, in the order in which they were drawn."""
    return [choices[int(choice)] for choice in rng.choice(len(choices), count, replace=False)]
