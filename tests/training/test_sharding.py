"""One process is the truth: on every mesh and from mesh to mesh, weights, moments, biases and losses are those of one process."""

import json
from pathlib import Path

import pytest
import torch

from ernest.config.parallel import ParallelConfig
from ernest.planner.layout import Layout
from ernest.training.parts import Part, Place, read_parts, stored_shapes
from ernest.training.resume import newest_state, state_files
from tests.forked import launch
from tests.small import network
from tests.training.sharded import STATES, count_own, take_steps

Mesh = tuple[int, int, int, int, bool]
"""Processes along `replicate`, `shard`, `expert` and `tensor`, and whether activations are checkpointed."""
WAYS = [((1, 2, 1, 1, False), (1, 1, 2, 1, False), (1, 1, 1, 2, False))]
"""Meshes one after the other, each from the files of the one before."""
LONG_WAYS = [
    ((2, 1, 1, 1, False), (1, 2, 2, 1, False)),
    ((1, 2, 2, 1, True), (2, 1, 1, 1, False)),
    ((2, 2, 1, 1, False), (1, 1, 2, 1, False)),
    ((1, 1, 4, 1, True), (2, 2, 1, 1, False)),
    ((2, 1, 2, 1, False), (1, 4, 1, 1, False)),
    ((2, 1, 1, 2, False), (1, 2, 1, 2, True)),
    ((1, 1, 2, 2, False), (1, 1, 1, 2, True)),
]


@pytest.fixture(scope="module", params=[torch.float64, pytest.param(torch.float32, marks=pytest.mark.long)], ids=str)
def alone(request, tmp_path_factory) -> tuple[Path, torch.dtype]:
    folder = tmp_path_factory.mktemp("alone")
    take_steps(folder, ParallelConfig(), dtype=request.param)
    return folder, request.param


def state(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of the newest state, whole."""
    found, newest = {}, newest_state(folder / STATES)
    assert newest is not None
    for files in (state_files(newest, "model"), state_files(newest, "optimizer")):
        wholes = {name: torch.empty(shape, dtype=torch.float64) for name, shape in stored_shapes(files).items()}
        read_parts(files, {name: Part(whole, Place.of_whole(whole.shape)) for name, whole in wholes.items()})
        found |= wholes
    return found


def losses(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(900)  # processes that wait for each other would wait for ever
@pytest.mark.parametrize("way", [*WAYS, *(pytest.param(way, marks=pytest.mark.long) for way in LONG_WAYS)])
def test_every_tensor_is_that_of_one_process(way, alone, tmp_path):
    """The last steps are taken by one process, from the files of the others. With two processes one holds words alone, in rows
    that all leave a layer out; with four, two do."""
    right, dtype = alone
    for number, mesh in enumerate(way):
        train(tmp_path, mesh, dtype, 2 * number, 2 * number + 2)
    take_steps(tmp_path, ParallelConfig(), 2 * len(way), dtype=dtype)
    check_run(tmp_path, right, dtype)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_fifty_steps_of_cut_matrices_are_those_of_one_process(dtype, tmp_path):
    train(tmp_path, (1, 1, 1, 2, False), dtype, 0, 50, part=25)
    (tmp_path / "alone").mkdir()
    take_steps(tmp_path / "alone", ParallelConfig(), 0, 50, dtype=dtype, part=50)
    check_run(tmp_path, tmp_path / "alone", dtype)


def train(folder: Path, mesh: Mesh, dtype: torch.dtype, start: int, stop: int, part: int = 1) -> None:
    """Takes steps on a mesh, broken off after every `part`."""
    layout = Layout(*mesh[:4])
    asked = [*(str(int(one)) for one in mesh), str(dtype).removeprefix("torch."), *map(str, (start, stop, part))]
    launch("tests.training.sharded", [str(folder), *asked], layout.ranks)
    check_parts(folder, layout)
    check_same_files(folder, folder / f"unbroken-{stop}")


def check_run(found: Path, right: Path, dtype: torch.dtype) -> None:
    """Losses are those of one process; in float64, where rounding does not turn into whole steps, all tensors are."""
    if dtype == torch.float64:
        check_close(state(found), state(right), 1e-9)
    bar = 1e-9 if dtype == torch.float64 else 1e-5
    for one, other in zip(losses(right), losses(found), strict=True):
        assert one == pytest.approx(other, abs=bar, rel=bar)
    assert any(step["norm"] > 0.5 for step in losses(right))  # gradients were clipped


def check_close(found: dict[str, torch.Tensor], right: dict[str, torch.Tensor], bar: float) -> None:
    assert found.keys() == right.keys()
    for name, value in right.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=bar, msg=lambda text, name=name: f"{name}: {text}")


def check_same_files(broken: Path, unbroken: Path) -> None:
    """Steps of a run that was broken off after each leave, on the same mesh, the bytes that the unbroken one leaves."""
    one, other = newest_state(broken / STATES), newest_state(unbroken / STATES)
    assert one is not None
    assert other is not None
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def check_parts(folder: Path, layout: Layout) -> None:
    """Processes hold what the planner says: experts in as many parts as its expert divisor, all else in those of the others."""
    told = [json.loads((folder / f"own-{rank}.json").read_text()) for rank in range(layout.ranks)]
    in_all = count_own(network())
    assert [own["experts"] for own in told] == [in_all["experts"] // layout.expert_divisor] * layout.ranks
    for kind, divisor in (("matrices", layout.matrix_divisor), ("dense", layout.dense_divisor)):
        assert sum(own[kind] for own in told) == in_all[kind] * layout.ranks // divisor
