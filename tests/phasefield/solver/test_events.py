import math

import pytest
import torch

from ernest.phasefield import AllenCahn, GaussSeidel, Grid, march
from ernest.phasefield.element import Element
from ernest.phasefield.solver.events import Event, check_events, events_of, find_events

GRID = Grid((8,), (2 * math.pi,))


def element(*coefficients: float, batch: bool = False) -> Element:
    """An element from time 2 to 6 whose field is the same polynomial, -1 + sum of c_k psi_k, at every point."""
    fields = torch.stack([torch.full((8,), c, dtype=torch.float64) for c in coefficients])
    start = -torch.ones(8, dtype=torch.float64)
    end = start + 2 * fields[0]
    if batch:
        start, end, fields = torch.stack([start, -start]), torch.stack([end, -end]), torch.stack([fields, -fields])
    return Element(2.0, 4.0, GRID.modes(start), GRID.modes(end), GRID, lambda: GRID.modes(fields))


def times(event: Event, one: Element) -> list[float]:
    return [occurrence.time for occurrence in find_events([event], one)]


def test_a_probe_crosses_where_its_polynomial_does():
    # -1 + 0.8 (1 + xi) = 0 at xi = 0.25.
    assert times(Event("zero", (3,)), element(0.8)) == [pytest.approx(4.5, abs=1e-13)]
    # -1 + 0.8 (1 + xi) + c (xi^2 - 1) / 2, with c = -2.6: the value rises to 1.0 and falls, and ends above zero.
    assert times(Event("zero", (3,)), element(0.8, -2.6)) == [pytest.approx(2 + 2 * (xi + 1), abs=1e-12) for xi in roots(-2.6)]
    assert times(Event("never", (3,)), element(0.3)) == []
    assert times(Event("a list", [3]), element(0.8)) == times(Event("zero", (3,)), element(0.8))


def roots(c: float) -> list[float]:
    a, b, d = c / 2, 0.8, -0.2 - c / 2
    both = sorted((-b + sign * math.sqrt(b * b - 4 * a * d)) / (2 * a) for sign in (-1, 1))
    return [xi for xi in both if -1 < xi <= 1]


def test_directions_are_told_apart():
    # -1 + 0.2 (1 + xi) - 3 (xi^2 - 1): up and down again inside the element.
    double = element(0.2, -6.0)
    up, down = times(Event("up", (0,), 1), double), times(Event("down", (0,), -1), double)
    assert len(up) == len(down) == 1
    assert up[0] < down[0]
    assert times(Event("both", (0,)), double) == [*up, *down]


def test_functions_of_the_field_are_polished_on_the_function():
    # exp(u) = 1/2 is no polynomial in time: u = -ln 2 at 1 + xi = (1 - ln 2) / 0.8.
    event = Event("half", lambda u: u.exp().mean() - 0.5)
    assert times(event, element(0.8)) == [pytest.approx(2 + 2 * (1 - math.log(2)) / 0.8, abs=1e-12)]


def test_a_crossing_on_the_border_of_two_elements_happens_once():
    flow, grid = AllenCahn(0.1), Grid((16,), (2 * math.pi,))
    x = grid.coordinates()[0]
    elements = list(march(flow, grid, 0.5 + 0.1 * x.cos(), [0.1] * 10, GaussSeidel()))
    level = float(elements[4].end[3])
    event = Event("level", lambda u: u[3] - level)
    found = [time for one in elements for time in times(event, one)]
    assert found == [pytest.approx(0.5, abs=1e-9)]


def test_members_of_an_ensemble_have_their_own_events():
    found = find_events([Event("up", (0,), 1), Event("down", (0,), -1)], element(0.8, batch=True))
    assert [(one.name, one.member) for one in found] in ([("up", 0), ("down", 1)], [("down", 1), ("up", 0)])


def test_bad_events_are_refused():
    u = GRID.coordinates()[0]
    with pytest.raises(ValueError, match=r"event out: expected a point of the grid \(8,\), got \(8,\)"):
        check_events((Event("out", (8,)),), GRID, u)
    with pytest.raises(ValueError, match="event flat: expected a point"):
        check_events((Event("flat", (1, 1)),), GRID, u)
    with pytest.raises(ValueError, match="event sideways: direction must be"):
        check_events((Event("sideways", (1,), 2),), GRID, u)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (lambda u: u.max() > 0.5, "finite number that crosses zero.*got tensor\\(True\\)"),  # it has no zero, and no time then
        (lambda u: u - 0.5, r"got values \[8\]"),
        (lambda u: (u - 9).log().max(), "got tensor\\(nan"),
        (lambda u: None, "got None"),
        (lambda u: u.clamp_(0, 1).mean() - 0.5, "in place"),  # which the next event would see
        (lambda u: u[8], "index 8 is out of bounds"),
    ],
)
def test_what_is_no_number_that_crosses_zero_is_no_event(what, words):
    with pytest.raises(ValueError, match=f"event odd: .*{words}"):
        check_events((Event("odd", what),), GRID, GRID.coordinates()[0])


def test_what_is_no_event_is_named():
    assert events_of([]) == ()
    for wrong in (lambda u: u.max(), [(0, 0)], "up"):
        with pytest.raises(ValueError, match="events: expected Event"):
            events_of(wrong)
