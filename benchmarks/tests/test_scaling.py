"""How processor times of processes become the time of a step."""

import pytest

from benchmarks.model.scaling import path_of, seconds_of_tokens

FAST = {"work": [1.0, 4.0, 1.0], "exchange": [0.5, 0.25], "kinds": ["all_reduce", "all_to_all_single"]}
SLOW = {"work": [3.0, 1.0, 2.0], "exchange": [0.25, 0.75], "kinds": ["all_reduce", "all_to_all_single"]}


def test_each_waits_for_the_slowest_at_every_exchange():
    assert path_of([FAST, SLOW]) == 3 + 0.5 + 4 + 0.75 + 2
    assert path_of([FAST]) == sum(FAST["work"]) + sum(FAST["exchange"])
    assert seconds_of_tokens(SLOW) == 0.75


def test_other_orders_are_refused():
    with pytest.raises(ValueError, match="different orders"):
        path_of([FAST, SLOW | {"kinds": SLOW["kinds"][::-1]}])
