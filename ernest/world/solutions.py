"""Make questions in figures whose answers are worked out aloud, and read such a working, to say which of its steps are right.

A record gives a question, "work out 47 + 12.", and makes a working and an answer, "think: four seven plus one two, five seven
plus two, five eight plus one, five nine. answer: 59". It is a pure function of `(seed, index)`, and no numbers of a
training record are ever those of a held-out one, in whatever words and order.

In a working a number is told digit by digit, in words. The first step is the question, every other has its value, and none but a
product of two digits asks for more than the number before or after one of the step before it, as in `ernest.world.questions`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ernest.sequence.record import Record, given, made
from ernest.world.images import DIGITS
from ernest.world.questions import OPERATIONS, computed, one_of, yes_or_no
from ernest.world.speech import VOICES
from ernest.world.split import generator, is_on_its_side

TASK = "worked solution"
PRODUCT = "worked product"
_NAMES = tuple(voice.name for voice in VOICES)
_OPERATIONS = {sign: name for name, sign in OPERATIONS.items()}
_TENS = "([1-9][0-9])"
_FIGURES = "0|[1-9][0-9]{0,5}"  # whole: no signs, separators, exponents or leading zeros
_TOLD = f"(?:{DIGITS[0]}|(?:{'|'.join(DIGITS[1:])})(?: (?:{'|'.join(DIGITS)})){{0,5}})"
_SIDE = rf"{_TOLD}(?: (?:{'|'.join(OPERATIONS)}) {_TOLD})?"
_STEP = re.compile(rf"{_SIDE}(?: and {_SIDE})?|(?:greater|less) (?:greater|less) (?:yes|no)")
_ANSWER = re.compile(f"{_FIGURES}|yes|no")
_WORKING = re.compile(r"think: (.+)\. answer: (.+)")


@dataclass(frozen=True)
class Solution:
    """Steps such as "seven nine plus six" or "less greater no", and the answer that they lead to."""

    steps: tuple[str, ...]
    answer: str

    def __str__(self) -> str:
        return f"think: {', '.join(self.steps)}. answer: {self.answer}"


@dataclass(frozen=True)
class Checked:
    """Of a solution: which of its steps are right, whether the last one gives the answer, and whether that is the right one."""

    steps: tuple[bool, ...]
    concludes: bool
    answer: bool


@dataclass(frozen=True)
class _Term:
    left: int
    operation: str
    right: int

    @property
    def value(self) -> int:
        return computed(self.left, self.operation, self.right)

    @property
    def words(self) -> str:
        return f"{_told(self.left)} {self.operation} {_told(self.right)}"


@dataclass(frozen=True)
class _Asked:
    """What a question comes down to: a term, or two with the relation that is asked for between them."""

    terms: tuple[_Term, ...]
    relation: str = ""

    @property
    def about(self) -> str:
        """What is held out: the numbers and what is done with them, in one order."""
        return " and ".join(sorted(f"{term.operation} of {sorted((term.left, term.right))}" for term in self.terms))

    @property
    def answer(self) -> str:
        return self.verdict.split()[-1] if self.relation else str(self.terms[0].value)

    @property
    def verdict(self) -> str:
        """The step that ends a comparison: the relation that there is, the one asked for, and whether they are one."""
        found = "greater" if self.terms[0].value > self.terms[1].value else "less"
        return f"{found} {self.relation} {yes_or_no(found == self.relation)}"


def worked(seed: int, index: int) -> Record:
    """The record `index`. `facts` hold the `question` and the right `answer`."""
    return _record(seed, index, TASK, _question)


def product(seed: int, index: int) -> Record:
    """The record `index` of those that ask for products alone, which are learnt last."""
    return _record(seed, index, PRODUCT, lambda rng: f"work out {rng.integers(2, 10)} * {rng.integers(10, 100)}.")


def _record(seed: int, index: int, task: str, draw: Callable[[np.random.Generator], str]) -> Record:
    """The first question drawn whose numbers are on the side of `index`."""
    rng = generator(seed, index, task)
    while True:
        question = draw(rng)
        asked = _understood(question)
        assert asked is not None
        if is_on_its_side(asked.about, index):
            break
    solution = _worked_out(asked)
    return Record((given("text", question), made("text", str(solution))), task, {"question": question, "answer": solution.answer})


def _question(rng: np.random.Generator) -> str:
    """Sums, differences and products told or asked, and comparisons of two sums."""
    high, low = sorted((int(number) for number in rng.choice(np.arange(10, 100), 2, replace=False)), reverse=True)
    first, second = (high, low) if rng.random() < 0.5 else (low, high)
    anna, ben = (_NAMES[n] for n in rng.choice(len(_NAMES), 2, replace=False))
    match int(rng.integers(7)):
        case 0:
            return f"work out {first} + {second}."
        case 1:
            return f"work out {high} - {low}."
        case 2 | 3:  # twice: what two digits make is learnt late
            return f"work out {rng.integers(2, 10)} * {first}."
        case 4:
            return f"{anna} has {first} drops and {ben} has {second}. work out how many they have together."
        case 5:
            return f"{anna} has {high} drops and {ben} has {low}. work out how many more {anna} has."
        case _:
            return _question_about_sums(rng)


def _question_about_sums(rng: np.random.Generator) -> str:
    while True:
        (a, c), (b, d) = rng.integers(10, 90, 2), rng.integers(2, 10, 2)
        if a + b != c + d:
            return f"work out whether {a} + {b} is {one_of(rng, ['greater', 'less'])} than {c} + {d}."


# ------------------------------------------------------------------ the right working


def solve(question: str) -> Solution | None:
    """The working and the answer of a question, worked out from its words; None if it is no such question."""
    asked = _understood(question)
    return None if asked is None else _worked_out(asked)


def _worked_out(asked: _Asked) -> Solution:
    steps = [_steps(term) for term in asked.terms]
    if not asked.relation:
        return Solution(tuple(steps[0]), asked.answer)
    longest = max(map(len, steps))
    both = zip(*(one + one[-1:] * (longest - len(one)) for one in steps), strict=True)
    return Solution((*map(" and ".join, both), asked.verdict), asked.answer)


def _steps(term: _Term) -> list[str]:
    """From the question to a number alone."""
    if term.operation != "times":
        return _counted(term.left, term.operation, term.right)
    tens, units = (term.left * digit for digit in divmod(term.right, 10))
    return [term.words, *_counted(10 * tens + units % 10, "plus", units - units % 10)]


def _counted(number: int, operation: str, rest: int) -> list[str]:
    """A number goes up or down while `rest` falls to zero: by tens, then by ones."""
    steps = []
    while rest:
        steps.append(f"{_told(number)} {operation} {_told(rest)}")
        by = 10 if rest > 9 else 1
        number, rest = computed(number, operation, by), rest - by
    return [*steps, _told(number)]


def _told(number: int) -> str:
    return " ".join(DIGITS[int(figure)] for figure in str(number))


def _understood(question: str) -> _Asked | None:
    """What a question comes down to; None for one that is none of this world, as a difference below zero."""
    for pattern, understand in _QUESTIONS:
        if found := re.fullmatch(pattern, question):
            return understand(*found.groups())
    return None


def _reckoned(left: str, sign: str, right: str) -> _Asked | None:
    term = _Term(int(left), _OPERATIONS[sign], int(right))
    return _Asked((term,)) if term.value >= 0 else None


def _compared(a: str, b: str, relation: str, c: str, d: str) -> _Asked | None:
    first, second = _Term(int(a), "plus", int(b)), _Term(int(c), "plus", int(d))
    return _Asked((first, second), relation) if first.value != second.value else None


_QUESTIONS = (
    (rf"work out {_TENS} ([-+]) {_TENS}\.", _reckoned),
    (rf"work out ([2-9]) (\*) {_TENS}\.", _reckoned),
    (rf"\w+ has {_TENS} drops and \w+ has {_TENS}\. work out how many they have together\.", lambda a, b: _reckoned(a, "+", b)),
    (
        rf"(\w+) has {_TENS} drops and \w+ has {_TENS}\. work out how many more (\w+) has\.",
        lambda anna, a, b, name: _reckoned(a, "-", b) if name == anna else None,
    ),
    (rf"work out whether {_TENS} \+ ([2-9]) is (greater|less) than {_TENS} \+ ([2-9])\.", _compared),
)


# ------------------------------------------------------------------ any working


def read(text: str) -> Solution | None:
    """A text as a solution; None unless all of it can be read: every step numbers told digit by digit, with or without an
    operation, or a verdict on a comparison, the answer a number in figures, yes or no, and nothing else."""
    found = _WORKING.fullmatch(text)
    if found is None:
        return None
    steps = tuple(found[1].split(", "))
    is_whole = all(_STEP.fullmatch(step) for step in steps)
    return Solution(steps, found[2]) if is_whole and _ANSWER.fullmatch(found[2]) else None


def check(question: str, solution: Solution) -> Checked:
    """Judges a solution that may go other ways than the one of `solve`.

    Right is a first step that tells the question, and any other that has its value; of a comparison, one that has both values, or
    says which relation there is, which is asked for, and whether they are one. Raises ValueError for a question that is none of
    this world.
    """
    asked = _understood(question)
    if asked is None:
        raise ValueError(f"{question!r} is no question that can be worked out")
    first, *others = solution.steps
    steps = (first == " and ".join(term.words for term in asked.terms), *(_is_right(step, asked) for step in others))
    return Checked(steps, _concludes(asked, solution), solution.answer == asked.answer)


def _is_right(step: str, asked: _Asked) -> bool:
    sides = step.split(" and ")
    if asked.relation and step == asked.verdict:
        return True
    return [_value(side) for side in sides] == [term.value for term in asked.terms]


def _concludes(asked: _Asked, solution: Solution) -> bool:
    """Whether the last step says the answer: a number tells it; a verdict, behind two numbers, ends in it."""
    *before, last = solution.steps
    if not asked.relation:
        return _is_number(last) and str(_value(last)) == solution.answer
    return bool(before) and all(map(_is_number, before[-1].split(" and "))) and last.split()[-1] == solution.answer


def _is_number(side: str) -> bool:
    return set(side.split()) <= set(DIGITS)


def _value(side: str) -> int | None:
    """What a side comes to; None for a verdict, which has no value."""
    if (term := re.fullmatch(f"(.+) ({'|'.join(OPERATIONS)}) (.+)", side)) is None:
        return _number(side) if _is_number(side) else None
    return computed(_number(term[1]), term[2], _number(term[3]))


def _number(told: str) -> int:
    return int("".join(str(DIGITS.index(word)) for word in told.split()))
