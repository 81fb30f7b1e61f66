"""What processes hold of a tensor that is cut, along several dimensions and then in shards, is the tensor again."""

from itertools import product

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ernest.training.cuts import Cut, pieces, run
from ernest.training.parts import Place


@st.composite
def ways(draw) -> tuple[list[tuple[int, ...]], int]:
    """Lengths of dimensions, each of runs that as many processes share out, and the number of shards of the first."""
    parts = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    return [(count, *(count * n for n in draw(st.lists(st.integers(1, 2), min_size=1, max_size=3)))) for count in parts], draw(
        st.integers(1, 3)
    )


@given(ways())
@settings(max_examples=25, deadline=None)
def test_pieces_make_up_the_whole(way):
    dims, shards = way
    whole = torch.arange(float(torch.tensor([sum(runs) for _, *runs in dims]).prod())).view([sum(runs) for _, *runs in dims])
    found, times = torch.zeros_like(whole), torch.zeros_like(whole)
    for numbers in product(*(range(parts) for parts, *_ in dims)):
        cuts, own = [], whole
        for dim, (number, (parts, *runs)) in enumerate(zip(numbers, dims, strict=True)):
            firsts = [sum(runs[:i]) for i in range(len(runs))]
            cuts.append(Cut(dim, sum(runs), tuple(run(number, parts, n, first) for n, first in zip(runs, firsts, strict=True))))
            own = cuts[-1].of(own)
        start = 0
        for shard in own.chunk(shards):
            place = Place(tuple(own.shape), (start, *(0,) * (own.dim() - 1)), tuple(shard.shape))
            for piece, there in pieces(shard, place, cuts):
                assert there.shape == tuple(whole.shape)
                found[there.slices()] += piece
                times[there.slices()] += 1
            start += len(shard)
    assert bool((times == 1).all())
    assert torch.equal(found, whole)
