"""Make questions whose answers are worked out step by step, and read such a working whole, to say which of its steps are right.

A record gives a question, "work out 47 + 38.", and makes a working and an answer, "think: 7 + 8 = 15. 40 + 30 = 70. 70 + 15 = 85.
answer: 85". It is a pure function of `(seed, index)`, and no question of a training record is ever that of a held-out one.
"""

import re
import zlib
from dataclasses import dataclass

import numpy as np

from ernest.sequence.record import Record, given, made
from ernest.world.speech import VOICES
from ernest.world.split import generator, is_held_out

TASK = "worked solution"
_NAMES = tuple(voice.name for voice in VOICES)
_HELD_OUT_SHARE = 8
_NUMBER = "(0|[1-9][0-9]{0,5})"  # whole: no signs, separators, exponents or leading zeros
_EQUATION = re.compile(rf"{_NUMBER} ([-+*]) {_NUMBER} = {_NUMBER}")
_COMPARISON = re.compile(rf"{_NUMBER} is (greater|less) than {_NUMBER}")
_SUM = re.compile(rf"{_NUMBER} \+ {_NUMBER}")
_WORKING = re.compile(r"think: (.+)\. answer: (.+)")


@dataclass(frozen=True)
class Solution:
    """Steps such as "7 + 8 = 15" or "19 is less than 21", and the answer that they lead to."""

    steps: tuple[str, ...]
    answer: str

    def __str__(self) -> str:
        return f"think: {'. '.join(self.steps)}. answer: {self.answer}"


@dataclass(frozen=True)
class Checked:
    """Of a solution: which of its steps are right, whether the last one gives the answer, and whether that is the right one."""

    steps: tuple[bool, ...]
    concludes: bool
    answer: bool


def worked(seed: int, index: int) -> Record:
    """The record `index`. `facts` hold the `question` and the right `answer`."""
    rng, held_out = generator(seed, index, "worked solution"), is_held_out(index)
    while True:
        question = _question(rng)
        if (zlib.crc32(question.encode()) % _HELD_OUT_SHARE == 0) == held_out:
            break
    solution = solve(question)
    assert solution is not None
    return Record((given("text", question), made("text", str(solution))), TASK, {"question": question, "answer": solution.answer})


def _question(rng: np.random.Generator) -> str:
    """Sums, differences and products told or asked, and comparisons of two sums."""
    high, low = sorted((int(number) for number in rng.choice(np.arange(10, 100), 2, replace=False)), reverse=True)
    first, second = (high, low) if rng.random() < 0.5 else (low, high)
    anna, ben = (_NAMES[n] for n in rng.choice(len(_NAMES), 2, replace=False))
    match int(rng.integers(6)):
        case 0:
            return f"work out {first} + {second}."
        case 1:
            return f"work out {high} - {low}."
        case 2:
            return f"work out {rng.integers(2, 10)} * {first}."
        case 3:
            return f"{anna} has {first} drops and {ben} has {second}. work out how many they have together."
        case 4:
            return f"{anna} has {high} drops and {ben} has {low}. work out how many more {anna} has."
        case _:
            return _question_about_sums(rng)


def _question_about_sums(rng: np.random.Generator) -> str:
    while True:
        a, b, c, d = (int(number) for number in rng.integers(2, 30, 4))
        if a + b != c + d:
            return f"work out which is {'greater' if rng.random() < 0.5 else 'less'}, {a} + {b} or {c} + {d}."


# ------------------------------------------------------------------ the right working


def solve(question: str) -> Solution | None:
    """The working and the answer of a question, worked out from its words; None if it is no such question."""
    for pattern, solve_it in _SOLVERS:
        if found := re.fullmatch(pattern, question):
            return solve_it(*found.groups())
    return None


def _add(left: str, right: str) -> Solution:
    a, b = int(left), int(right)
    units, tens = a % 10 + b % 10, a - a % 10 + b - b % 10
    steps = (f"{a % 10} + {b % 10} = {units}", f"{a - a % 10} + {b - b % 10} = {tens}", f"{tens} + {units} = {a + b}")
    return Solution(steps, str(a + b))


def _subtract(left: str, right: str) -> Solution:
    a, b = int(left), int(right)
    rest = a - (b - b % 10)
    return Solution((f"{a} - {b - b % 10} = {rest}", f"{rest} - {b % 10} = {a - b}"), str(a - b))


def _multiply(left: str, right: str) -> Solution:
    a, b = int(left), int(right)
    tens, units = a * (b - b % 10), a * (b % 10)
    return Solution((f"{a} * {b - b % 10} = {tens}", f"{a} * {b % 10} = {units}", f"{tens} + {units} = {a * b}"), str(a * b))


def _more(anna: str, left: str, right: str, name: str) -> Solution | None:
    return _subtract(left, right) if name == anna and int(left) >= int(right) else None


def _compare(relation: str, *numbers: str) -> Solution | None:
    a, b, c, d = map(int, numbers)
    if a + b == c + d:
        return None
    sums = [(a + b, f"{a} + {b}"), (c + d, f"{c} + {d}")]
    (value, winner), (other, _) = sorted(sums, reverse=relation == "greater")
    steps = (*(f"{words} = {result}" for result, words in sums), f"{value} is {relation} than {other}")
    return Solution(steps, winner)


_SOLVERS = (
    (rf"work out {_NUMBER} \+ {_NUMBER}\.", _add),
    (rf"work out {_NUMBER} - {_NUMBER}\.", lambda a, b: _subtract(a, b) if int(a) >= int(b) else None),
    (rf"work out {_NUMBER} \* {_NUMBER}\.", _multiply),
    (rf"\w+ has {_NUMBER} drops and \w+ has {_NUMBER}\. work out how many they have together\.", _add),
    (rf"(\w+) has {_NUMBER} drops and \w+ has {_NUMBER}\. work out how many more (\w+) has\.", _more),
    (rf"work out which is (greater|less), {_NUMBER} \+ {_NUMBER} or {_NUMBER} \+ {_NUMBER}\.", _compare),
)


# ------------------------------------------------------------------ any working


def read(text: str) -> Solution | None:
    """A text as a solution; None unless all of it can be read: every step an equation or a comparison, the answer a number or a
    sum, and nothing else."""
    found = _WORKING.fullmatch(text)
    if found is None:
        return None
    steps = tuple(found[1].split(". "))
    is_whole = all(_EQUATION.fullmatch(step) or _COMPARISON.fullmatch(step) for step in steps)
    is_answer = re.fullmatch(_NUMBER, found[2]) or _SUM.fullmatch(found[2])
    return Solution(steps, found[2]) if is_whole and is_answer else None


def check(question: str, solution: Solution) -> Checked:
    """Judges a solution that may go other ways than the one of `solve`.

    A step is right that is true of numbers of the question, of their tens and units, or of what earlier right steps came to.
    Raises ValueError for a question that is none of this world.
    """
    right = solve(question)
    if right is None:
        raise ValueError(f"{question!r} is no question that can be worked out")
    numbers = [int(number) for number in re.findall(r"[0-9]+", question)]
    known = {part for number in numbers for part in (number, number % 10, number - number % 10)}
    steps = tuple(_is_right(step, known) for step in solution.steps)
    return Checked(steps, _concludes(question, solution), solution.answer == right.answer)


def _is_right(step: str, known: set[int]) -> bool:
    """Whether a step is true and of `known` numbers, which its result joins."""
    if equation := _EQUATION.fullmatch(step):
        left, operation, right, result = int(equation[1]), equation[2], int(equation[3]), int(equation[4])
        value = {"+": left + right, "-": left - right, "*": left * right}[operation]
        if value != result or not {left, right} <= known:
            return False
        known.add(result)
        return True
    comparison = _COMPARISON.fullmatch(step)
    assert comparison is not None
    left, right = int(comparison[1]), int(comparison[3])
    return (left > right if comparison[2] == "greater" else left < right) and {left, right} <= known


def _concludes(question: str, solution: Solution) -> bool:
    """Whether the last step says the answer: a number is its result, and of two sums it compares the one with the other."""
    asked = re.search(r"which is (\w+), (.+) or (.+)\.", question)
    if asked is None:
        equation = _EQUATION.fullmatch(solution.steps[-1])
        return equation is not None and equation[4] == solution.answer
    relation, *sums = asked.groups()
    if solution.answer not in sums:
        return False
    other = sums[1 - sums.index(solution.answer)]
    return solution.steps[-1] == f"{_value(solution.answer)} is {relation} than {_value(other)}"


def _value(two: str) -> int:
    return sum(int(number) for number in two.split(" + "))
