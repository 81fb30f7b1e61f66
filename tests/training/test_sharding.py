"""One process is the truth: on every mesh, in float64, weights, moments, biases and losses are those of one process."""

import json
from pathlib import Path

import pytest
import torch

from ernest.config.recipe import ParallelConfig
from ernest.storage import load_tensors
from ernest.training.launch import launch
from tests.training.sharded import STEPS, take_steps

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    take_steps(folder, ParallelConfig())
    return folder


def state(folder: Path) -> dict[str, torch.Tensor]:
    newest = folder / "states" / f"step-{STEPS:07d}"
    return load_tensors(newest / "model.safetensors") | load_tensors(newest / "optimizer.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(
    "mesh", [(1, 2), pytest.param((2, 1), marks=pytest.mark.long), pytest.param((2, 2), marks=pytest.mark.long)]
)
def test_every_tensor_is_that_of_one_process(mesh, alone, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    launch("tests.training.sharded", [str(tmp_path), *map(str, mesh)], mesh[0] * mesh[1])
    right, found = state(alone), state(tmp_path)
    assert found.keys() == right.keys()
    for name, value in right.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")
    for one, other in zip(*(json.loads((folder / "losses.json").read_text()) for folder in (alone, tmp_path)), strict=True):
        assert one == pytest.approx(other, abs=1e-9)
    assert any(step["norm"] > 0.5 for step in json.loads((alone / "losses.json").read_text()))  # gradients were clipped
