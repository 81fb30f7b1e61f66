"""Chronicles: a function of seed and index, true to themselves, and what readers of good and of bad memory pay."""

import math

import pytest

from ernest.world.chronicles import NAMES, TASK, THINGS, chronicle, mentions, surprises
from ernest.world.split import HELD_OUT


def test_everyone_keeps_what_he_has_and_the_last_mention_is_told():
    told = mentions(0, 5, 200)
    for number, one in enumerate(told):
        earlier = [n for n in range(number) if told[n].name == one.name]
        assert one.before == max(earlier, default=-1)
        assert all(told[n].thing == one.thing for n in earlier)
    assert {one.name for one in told} == set(NAMES)
    assert len({one.thing for one in told}) > 15


def test_a_text_is_a_function_of_seed_and_index_and_begins_alike_at_every_length():
    assert mentions(0, 5, 30)[:10] == mentions(0, 5, 10) != mentions(0, 6, 10) != mentions(1, 6, 10)
    record = chronicle(3, HELD_OUT, 3)
    assert record.task == TASK
    assert record.segments[0].made
    assert record.segments[0].data == " ".join(map(str, mentions(3, HELD_OUT, 3)))
    assert record.segments[0].data.count(" has a ") == 3


def test_who_forgets_pays_for_a_thing_again():
    told, name, thing = mentions(0, 5, 60), math.log(len(NAMES)), math.log(THINGS)
    everything, nothing = surprises(told, [0] * 60), surprises(told, list(range(60)))
    new = len({one.name for one in told})
    assert sum(everything) == pytest.approx(60 * name + new * thing)
    assert sum(nothing) == pytest.approx(60 * (name + thing))
    some = surprises(told, [max(0, number - 10) for number in range(60)])
    for number, one in enumerate(told):
        known = any(other.name == one.name for other in told[max(0, number - 10) : number])
        assert some[number] == pytest.approx(name + thing * (not known))
