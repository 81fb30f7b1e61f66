"""Parts of tensors come back whole, or dealt out otherwise, from the files in which processes wrote them."""

from itertools import pairwise, product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ernest.storage import read_header
from ernest.training.parts import Part, Place, read_parts, stored_shapes, write_parts


@st.composite
def cuts(draw, shape: tuple[int, ...]) -> list[Place]:
    """Blocks that make up a tensor: each of its dimensions is cut at a few places, some of the pieces empty."""
    edges = [sorted([0, length, *draw(st.lists(st.integers(0, length), max_size=2))]) for length in shape]
    spans = [[(a, b - a) for a, b in pairwise(edge)] for edge in edges]
    return [Place(shape, tuple(a for a, _ in block), tuple(n for _, n in block)) for block in product(*spans)]


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_parts_cut_one_way_are_read_cut_another(data):
    shapes = data.draw(st.lists(st.lists(st.integers(0, 5), max_size=3).map(tuple), min_size=1, max_size=3))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64]))
    wholes = {f"{n}": torch.randint(-99, 99, shape).to(dtype) for n, shape in enumerate(shapes)}
    with TemporaryDirectory() as folder:
        files: dict[Path, dict[str, Part]] = {}
        for name, whole in wholes.items():
            for rank, place in enumerate(data.draw(cuts(tuple(whole.shape)))):
                parts = files.setdefault(Path(folder, f"{rank}.safetensors"), {})
                parts[name] = Part(whole[place.slices()], place)
                copy = files.setdefault(Path(folder, f"copy-{rank}.safetensors"), {})
                copy[name] = Part(whole[place.slices()], place, writes=False)
        for path, parts in files.items():
            write_parts(path, parts)
        written = [path for path in files if path.exists()]
        assert not any(path.name.startswith("copy") for path in written)
        for name, whole in wholes.items():
            for place in data.draw(cuts(tuple(whole.shape))):
                own = torch.full(place.size, 100).to(dtype)
                read_parts(written, {name: Part(own, place)})
                assert torch.equal(own, whole[place.slices()])
        assert stored_shapes(written) == {name: tuple(whole.shape) for name, whole in wholes.items() if whole.numel()}


def test_whole_tensors_are_an_ordinary_file(tmp_path):
    whole = torch.arange(6.0).view(2, 3)
    write_parts(tmp_path / "all.safetensors", {"x": Part(whole, Place.of_whole(whole.shape))})
    assert read_header(tmp_path / "all.safetensors").metadata == {}
    half = Part(torch.zeros(1, 3), Place((2, 3), (1, 0), (1, 3)))
    read_parts([tmp_path / "all.safetensors"], {"x": half})
    assert torch.equal(half.own, whole[1:])


def test_a_lost_file_and_another_shape_are_told(tmp_path):
    first, second = (Place((4, 3), (start, 0), (2, 3)) for start in (0, 2))
    write_parts(tmp_path / "a.safetensors", {"x": Part(torch.ones(2, 3), first)})
    read_parts([tmp_path / "a.safetensors"], {"x": Part(torch.zeros(2, 3), first)})
    with pytest.raises(ValueError, match=r"a\.safetensors: 1 tensors are not whole, such as x$"):
        read_parts([tmp_path / "a.safetensors"], {"x": Part(torch.zeros(2, 3), second)})
    with pytest.raises(ValueError, match=r"x is of shape \[4, 3\], and \[4, 2\] is wanted"):
        read_parts([tmp_path / "a.safetensors"], {"x": Part(torch.zeros(4, 2), Place.of_whole((4, 2)))})
