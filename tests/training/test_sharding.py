"""One process is the truth: on every mesh, in float64, weights, moments, biases and losses are those of one process."""

import json
from pathlib import Path

import pytest
import torch

from ernest.config.recipe import ParallelConfig
from ernest.planner.layout import Layout
from ernest.storage import load_tensors
from ernest.training.launch import launch
from tests.small import network
from tests.training.sharded import PART, STEPS, count_own, take_steps

REPOSITORY = Path(__file__).parents[2]
MESHES = [(1, 2, 1, False), (1, 1, 2, False)]
LONG_MESHES = [(2, 1, 1, False), (2, 2, 1, False), (1, 1, 4, True), (1, 2, 2, False), (1, 2, 2, True), (2, 1, 2, False)]
"""Of `replicate`, `shard` and `expert`; the last says whether activations are checkpointed."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    take_steps(folder, ParallelConfig())
    return folder


def state(folder: Path) -> dict[str, torch.Tensor]:
    newest = folder / "states" / f"step-{STEPS:07d}"
    return load_tensors(newest / "model.safetensors") | load_tensors(newest / "optimizer.safetensors")


def losses(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(240)  # processes that wait for each other would wait for ever
@pytest.mark.parametrize("mesh", [*MESHES, *(pytest.param(mesh, marks=pytest.mark.long) for mesh in LONG_MESHES)])
def test_every_tensor_is_that_of_one_process(mesh, alone, tmp_path, monkeypatch):
    """The last steps are taken by one process, from the files of the others. With two processes one holds words alone, in rows
    that all leave a layer out; with four, two do."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    layout = Layout(*mesh[:3])
    launch("tests.training.sharded", [str(tmp_path), *(str(int(one)) for one in (*mesh, STEPS - PART))], layout.ranks)
    check_parts(tmp_path, layout)
    take_steps(tmp_path, ParallelConfig(), STEPS - PART)
    right, found = state(alone), state(tmp_path)
    assert found.keys() == right.keys()
    for name, value in right.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")
    for one, other in zip(losses(alone), losses(tmp_path), strict=True):
        assert one == pytest.approx(other, abs=1e-9)
    assert any(step["norm"] > 0.5 for step in losses(alone))  # gradients were clipped


def check_parts(folder: Path, layout: Layout) -> None:
    """Processes hold what the planner says: experts in as many parts as its expert divisor, all else in those of the other."""
    told = [json.loads((folder / f"own-{rank}.json").read_text()) for rank in range(layout.ranks)]
    in_all = count_own(network())
    assert [own["experts"] for own in told] == [in_all["experts"] // layout.expert_divisor] * layout.ranks
    assert sum(own["dense"] for own in told) == in_all["dense"] * layout.ranks // layout.dense_divisor
