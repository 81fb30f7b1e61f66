"""Chronicles: a function of seed and index, true to themselves, and what readers of good and of bad memory pay."""

import math
from collections import Counter

import pytest

from ernest.world.chronicles import NAMES, TASK, chronicle, mentions, surprises
from ernest.world.questions import NUMBERS
from ernest.world.split import HELD_OUT


def test_everyone_keeps_his_number_and_the_last_mention_is_told():
    told = mentions(0, 5, 400)
    for place, one in enumerate(told):
        earlier = [n for n in range(place) if told[n].name == one.name]
        assert one.before == max(earlier, default=-1)
        assert all(told[n].number == one.number for n in earlier)
    assert {one.name for one in told} == set(NAMES)
    assert len({one.number for one in told}) > 10


def test_a_text_is_a_function_of_seed_and_index_and_begins_alike_at_every_length():
    assert mentions(0, 5, 30)[:10] == mentions(0, 5, 10) != mentions(0, 6, 10) != mentions(1, 6, 10)
    record = chronicle(3, HELD_OUT, 3)
    assert record.task == TASK
    assert record.segments[0].made
    assert record.segments[0].data == " ".join(map(str, mentions(3, HELD_OUT, 3)))
    assert record.segments[0].data.count(",") == 3


def test_the_chance_of_a_name_is_how_often_it_comes():
    """Of the last three names, counted: five in eighteen and a bit, against a fiftieth of every other."""
    told = mentions(1, 2, 20_000)
    again = Counter(one.chance > 0.1 for one in told[50:])
    chance = 3 * (0.5 / 3 + 0.5 / len(NAMES))
    assert again[True] / again.total() == pytest.approx(chance, abs=0.015)
    assert {round(one.chance, 9) for one in told[50:]} == {round(0.5 / 3 + 0.5 / 24, 9), round(0.5 / 24, 9)}


def test_who_forgets_pays_for_a_number_again():
    told, number = mentions(0, 5, 60), math.log(len(NUMBERS))
    names = sum(-math.log(one.chance) for one in told)
    everything, nothing = surprises(told, [0] * 60), surprises(told, list(range(60)))
    assert sum(everything) == pytest.approx(names + len({one.name for one in told}) * number)
    assert sum(nothing) == pytest.approx(names + 60 * number)
    some = surprises(told, [max(0, place - 10) for place in range(60)])
    for place, one in enumerate(told):
        known = any(other.name == one.name for other in told[max(0, place - 10) : place])
        assert some[place] == pytest.approx(-math.log(one.chance) + number * (not known))
