"""The steps by which questions in figures are worked out: numbers told digit by digit, in words, that count, double and fall.

None asks for more than the next number, the double of a digit, and where a digit stood in the step before.
"""

from ernest.world.images import DIGITS
from ernest.world.questions import computed


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
    """Steps from a product to what it comes to: a number of two digits is doubled while `times`, from 2 to 9, is halved, 2k a =
    k (2a), and what odd ones leave is counted at the end, 3 a = 2 a + a, 5 a = 4 a + a, 7 a = 8 a - a, 9 a = 10 a - a.

    Two look-ups make a digit of a double: the digit that is doubled, and whether the one behind it carries. Numbers that are made
    have three digits, so that these stand equally far back in every step.
    """
    steps, digits = [f"{told(times)} times {told(number)}"], 2
    operation, rest = "plus", 0
    if times == 9:
        times, number, operation, rest = 1, 10 * number, "minus", number
    while times > 1:
        if times % 2:
            operation, rest = "minus" if times == 7 else "plus", number
            times = computed(times, "plus" if times == 7 else "minus", 1)
        else:
            times, number, digits = times // 2, 2 * number, 3
        if times > 1:
            steps.append(f"{told(times)} times {told(number, digits)}" + (f" {operation} {told(rest)}" if rest else ""))
    steps += counted(number, operation, rest, digits=3)
    product = told(computed(number, operation, rest))
    return steps if steps[-1] == product else [*steps, product]


def fallen(first: int, second: int) -> list[str]:
    """Steps behind two numbers that are compared: they fall together, a > b just where a - 1 > b - 1, by tens until one has no
    tens, and, where neither has, by ones until one is zero."""
    steps = []
    while by := 10 if min(first, second) > 9 else int(max(first, second) < 10 and min(first, second) > 0):
        first, second = first - by, second - by
        steps.append(f"{told(first)} and {told(second)}")
    return steps
