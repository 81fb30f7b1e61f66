"""Tables of step lengths: few are kept, fewer where they are large, and none is made beside one that has to go."""

from types import SimpleNamespace

from ernest.phasefield.compiled.tables import LRUCache, lengths_kept
from ernest.phasefield.compiled.workspace import MANY_POINTS


def test_a_full_cache_lets_the_oldest_go_before_the_next_is_made():
    cache, held = LRUCache(2), []

    def make(key):
        held.append(sorted(cache._kept))
        return key

    assert [cache.get(key, lambda key=key: make(key)) for key in (1, 2, 1, 3, 2)] == [1, 2, 1, 3, 2]
    assert held == [[], [1], [1], [3]]


def test_large_grids_keep_the_tables_of_one_length():
    assert [n * n <= MANY_POINTS for n in (512, 514)] == [True, False]
    assert [lengths_kept(SimpleNamespace(is_large=large), 1) for large in (False, True)] == [5, 1]
