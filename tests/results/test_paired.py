"""Differences of seeds, and when they tell anything."""

from ernest.results.paired import difference


def test_differences_tell_only_what_is_beyond_their_interval():
    assert difference([0.5]).is_above() is None
    assert difference([0.5, 0.6, 0.55]).is_above() is True
    assert difference([0.5, 0.6, 0.55]).is_above(0.7) is False
    assert difference([0.5, -0.6, 0.55]).is_above() is None
    assert difference([0.001, 0.002, 0.001]).is_within(0.02) is True
    assert difference([0.1, 0.11, 0.1]).is_within(0.02) is False
    assert difference([0.1, 0.11, 0.1]).is_at_least(0.05) is True
    assert difference([0.1, 0.11, 0.1]).is_at_least(0.1) is None
    assert difference([0.1, 0.11, 0.1]).is_at_least(0.2) is False
