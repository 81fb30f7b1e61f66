"""Finds the times at which a point value or a function of the field crosses zero.

Inside an element the value of u at a point is a polynomial in time, so its roots are those of a polynomial. A function
of the whole field is interpolated by a polynomial in time first, and its roots are then polished on the function itself.
Where an element has a root, its polynomial is refined first, so that the root is as exact as the ends of the element.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from operator import index
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ernest.phasefield.element import Element
from ernest.phasefield.grid import Space
from ernest.phasefield.schemes.refinement import refine
from ernest.phasefield.schemes.splitting import Splitting
from ernest.phasefield.user_functions import ask


@dataclass(frozen=True)
class Event:
    """Occurs when `what` crosses zero: the value of u at a grid point (its indices), or a function of the field `[*points]`.

    `direction` +1 or -1 keeps the crossings upwards or downwards only, 0 keeps both. A `terminal` event ends the run.
    """

    name: str
    what: tuple[int, ...] | Callable[[Tensor], Tensor | float]
    direction: int = 0
    terminal: bool = False

    def __post_init__(self) -> None:
        if callable(self.what):
            return
        try:
            object.__setattr__(self, "what", tuple(map(index, self.what)))
        except TypeError:
            wanted = "a function of the field, or a point by its indices, such as (3,) on a line"
            raise ValueError(f"event {self.name}: expected {wanted}, got {self.what!r}") from None


@dataclass(frozen=True)
class EventOccurrence:
    """One occurrence of an event: its name, its time, and the member of the batch (0 without a batch)."""

    name: str
    time: float
    member: int = 0


def events_of(events: Event | Sequence[Event]) -> tuple[Event, ...]:
    """One event or several as a tuple. Raises ValueError for what is none."""
    several = (events,) if isinstance(events, Event) or not isinstance(events, Sequence) else tuple(events)
    for event in several:
        if not isinstance(event, Event):
            raise ValueError(f"events: expected Event(name, point or function), one or a list of them, got {event!r}")
        if any(event.name == other.name and event.terminal != other.terminal for other in several if isinstance(other, Event)):
            raise ValueError(f"events: one called {event.name} ends the run and another of that name does not: name them apart")
    return several


def may_end(events: tuple[Event, ...]) -> bool:
    """Whether one of them can end a run."""
    return any(event.terminal for event in events)


def check_events(events: tuple[Event, ...], grid: Space, u0: Tensor) -> None:
    """Raise ValueError for points that are not on the grid, for directions that are none, and for functions that are no number of
    the first fields."""
    for event in events:
        if event.direction not in (-1, 0, 1):
            raise ValueError(f"event {event.name}: direction must be -1, 0 or 1, got {event.direction}")
        if not callable(event.what):
            fits = len(event.what) == grid.dimensions
            if not fits or not all(0 <= i < n for i, n in zip(event.what, grid.points, strict=True)):
                raise ValueError(f"event {event.name}: expected a point of the grid {grid.points}, got {event.what}")
        else:
            _as_number(event, ask(f"event {event.name}", event.what, u0.reshape(-1, *grid.points)[0]))


def find_events(events: Sequence[Event], element: Element, splitting: Splitting | None = None) -> list[EventOccurrence]:
    """Occurrences of the events in the element, its start excluded, in the order of time.

    With the `splitting` of its flow the element is refined where anything occurs in it.
    """
    found = _occurrences(events, element)
    if splitting is None or not found:
        return found
    names = {occurrence.name for occurrence in found}
    return _occurrences([event for event in events if event.name in names], refine(element, splitting))


def _occurrences(events: Sequence[Event], element: Element) -> list[EventOccurrence]:
    if not events:
        return []
    nodes, to_series = _chebyshev(element.degree + 2)
    fields = _by_member(element, element.at(torch.from_numpy(nodes[1:-1])))
    # The ends are taken from the fields that neighbouring elements share, so that no crossing falls between two elements.
    fields = torch.cat([_by_member(element, element.start), fields, _by_member(element, element.end)], 1)
    found = []
    for event in events:
        for member, series in enumerate(fields):
            samples = np.array([_value(event, u) for u in series])
            polynomial = np.polynomial.Chebyshev(to_series @ samples)
            for low, high in _brackets(polynomial, event.direction, samples[0], samples[-1]):
                xi = _root(polynomial, low, high)
                if callable(event.what):
                    xi = _root(lambda xi, e=event, m=member: _value(e, _by_member(element, element.at(xi))[m, 0]), low, high, xi)
                found.append(EventOccurrence(event.name, float(element.time + element.tau * (xi + 1) / 2), member))
    return sorted(found, key=lambda occurrence: occurrence.time)


@cache
def _chebyshev(count: int) -> tuple[np.ndarray, np.ndarray]:
    """So many Chebyshev points, -1 and 1 among them, and the matrix from values there to the series of the polynomial."""
    nodes = -np.cos(np.pi * np.arange(count) / (count - 1))
    return nodes, np.linalg.inv(np.polynomial.chebyshev.chebvander(nodes, count - 1))


def _by_member(element: Element, fields: Tensor) -> Tensor:
    """Fields `[..., *points]` or `[..., q, *points]` as `[members, q, *points]`."""
    batch = element.start_modes.shape[: element.start_modes.ndim - element.grid.dimensions]
    return fields.reshape(batch.numel(), -1, *element.grid.points)


def _value(event: Event, u: Tensor) -> float:
    return _as_number(event, event.what(u) if callable(event.what) else u[tuple(event.what)])


def _as_number(event: Event, value: Any) -> float:
    """The value of an event. Raises ValueError where that is no number: between True and False there is no zero."""
    kind = str(getattr(value, "dtype", type(value).__name__))
    try:
        number = math.nan if kind.endswith("bool") else float(value)
    except (TypeError, ValueError, RuntimeError):
        number = math.nan
    if not math.isfinite(number):
        got = f"values {list(value.shape)}" if getattr(value, "shape", ()) else repr(value)
        raise ValueError(f"event {event.name}: expected a finite number that crosses zero, such as u.max() - 0.5, got {got}")
    return number


def _brackets(polynomial: np.polynomial.Chebyshev, direction: int, first: float, last: float) -> list[tuple[float, float]]:
    """Intervals of (-1, 1] with one change of sign each, in the wanted direction. A zero at -1 belongs to the element before."""
    if abs(polynomial.coef[0]) > np.abs(polynomial.coef[1:]).sum():
        return []  # it is nowhere near zero
    roots = polynomial.roots()
    real = np.sort(roots[(np.abs(roots.imag) < 1e-9) & (np.abs(roots.real) < 1)].real)
    cuts = np.concatenate([[-1.0], (real[:-1] + real[1:]) / 2, [1.0]])
    values = np.concatenate([[first], polynomial(cuts[1:-1]), [last]])
    found = []
    for low, high, before, after in zip(cuts, cuts[1:], values, values[1:], strict=False):
        changes = before != 0 and before * after <= 0
        if changes and direction * np.sign(before) <= 0:
            found.append((float(low), float(high)))
    return found


def _root(value: Callable[[float], float], low: float, high: float, guess: float | None = None) -> float:
    """The zero of `value` between `low` and `high`, by false position in the Illinois form, to the last few digits."""
    f_low, f_high = value(low), value(high)
    if f_low * f_high > 0:
        return low if abs(f_low) < abs(f_high) else high
    for _ in range(100):
        if f_low == f_high or abs(high - low) < 1e-14:
            break
        xi = guess if guess is not None else (low * f_high - high * f_low) / (f_high - f_low)
        guess, f = None, value(xi)
        if f == 0:
            return xi
        if f * f_high < 0:
            low, f_low, high, f_high = high, f_high, xi, f
        else:
            f_low, high, f_high = f_low / 2, xi, f
    return high
