"""The steps by which questions in figures are worked out: numbers told digit by digit, in words, that count, double and fall.

But for twice and five times a number of two digits, none asks for more than the number before or after one of the step before it.
"""

from ernest.world.images import DIGITS
from ernest.world.questions import computed

_PARTS = {2: (2, 0), 3: (2, 1), 4: (5, -1), 5: (5, 0), 6: (5, 1), 7: (5, 2), 8: (10, -2), 9: (10, -1)}
"""What a digit is the sum of: 2, 5 or 10, and what is counted."""


def told(number: int, digits: int = 1) -> str:
    """A number, zero or more, digit by digit, with zeros before it where it has fewer `digits`."""
    return " ".join(DIGITS[int(figure)] for figure in f"{number:0{digits}}")


def counted(number: int, operation: str, rest: int, digits: int = 1) -> list[str]:
    """Steps from a sum or difference to what it comes to: a number goes up or down while `rest` falls to zero, by hundreds, by
    tens, then by ones."""
    steps = []
    while rest:
        steps.append(f"{told(number, digits)} {operation} {told(rest)}")
        by = 10 ** (len(str(rest)) - 1)
        number, rest = computed(number, operation, by), rest - by
    return [*steps, told(number, digits)]


def multiplied(times: int, number: int) -> list[str]:
    """Steps from a product of a digit, from 2 to 9, and a number of two digits to what it comes to: 2, 5 or 10 times the number
    are told at once, and what is left is counted, 7 a = 5 a + 2 a or 9 a = 10 a - a.

    A digit of 2 a or 5 a hangs on two of a. Both are told with three digits, so that each
    stands equally far behind those.
    """
    easy, more = _PARTS[times]
    operation, rest = "plus" if more > 0 else "minus", abs(more) * number
    steps = [f"{told(times)} times {told(number)}"]
    if rest and easy < 10:
        steps.append(f"{told(easy)} times {told(number)} {operation} {told(rest)}")
    steps += counted(easy * number, operation, rest, digits=3)
    product = told(times * number)
    return steps if steps[-1] == product else [*steps, product]


def fallen(first: int, second: int) -> list[str]:
    """Steps behind two numbers that are compared: they fall together, a > b just where a - 1 > b - 1, by tens until one has no
    tens, and, where neither has, by ones until one is zero."""
    steps = []
    while by := 10 if min(first, second) > 9 else int(max(first, second) < 10 and min(first, second) > 0):
        first, second = first - by, second - by
        steps.append(f"{told(first)} and {told(second)}")
    return steps
