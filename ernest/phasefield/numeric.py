"""Numbers of any library, numpy or torch, as those of Python: a run keeps, compares and writes the same, whoever made them."""

import operator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def number(name: str, value: Any, about: str = "") -> float:
    """A number. Raises ValueError, with its name and what is to be known `about` it, for what is none."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        expected = f"a number ({about})" if about else "a number"
        raise ValueError(f"{name}: expected {expected}, got {value!r}") from None


def end_time(t1: Any) -> float:
    """The time `t1` at which a run ends. Raises ValueError for what is none, as the pair of times that other solvers take."""
    return number("t1", t1, "a run begins at time 0")


def number_or_none(name: str, value: Any) -> float | None:
    """A number, where one is given. Raises ValueError, with its name, for what is none."""
    return None if value is None else number(name, value)


def whole(name: str, value: Any) -> int:
    """A whole number. Raises ValueError, with its name, for what is none."""
    try:
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name}: expected a whole number, got {value!r}") from None


def make_plain(scheme: Any) -> None:
    """Sets the numbers of a frozen dataclass that are numpy's as Python's: 64 bits overflow in exact fractions."""
    for each in fields(scheme):
        value = getattr(scheme, each.name)
        if isinstance(value, np.integer | np.floating):
            object.__setattr__(scheme, each.name, value.item())


def described(value: Any) -> str:
    """The repr of a value, in which no number tells of its library."""
    if is_dataclass(value) and not isinstance(value, type):
        parts = (f"{each.name}={described(getattr(value, each.name))}" for each in fields(value) if each.repr)
        return f"{type(value).__qualname__}({', '.join(parts)})"
    return repr(value.item()) if isinstance(value, np.generic) else repr(value)
