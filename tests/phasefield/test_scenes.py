"""`ernest phasefield run`: every scene and flow to files, and one line for what cannot be, before any work."""

import math
from pathlib import Path

import numpy as np
import pytest

from ernest.phasefield import Grid, scenes
from ernest.phasefield.io import files

SMALL = Grid.cube(32, 2 * math.pi)


@pytest.mark.parametrize("scene", scenes.SCENES)
def test_every_scene_makes_its_files(scene, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "new/run"
    said = scenes.run_scene(scene, out, end=0.2, grid=SMALL, kappa=0.05, tolerance=1e-3, frames=3, film="gif")
    names = ["snapshots.png", "laws.png", "film.gif", "data.npz"]
    assert said.splitlines()[1:] == [str(out / name) for name in names]
    assert sorted(file.name for file in out.iterdir()) == sorted(names)
    read = files.read(out / "data.npz")
    assert read.times[[0, -1]].tolist() == [0.0, 0.2]
    np.testing.assert_allclose(read.fields[0], scenes.SCENES[scene](SMALL, 0.05, 0), rtol=0, atol=1e-14)
    assert (read.facts["scene"], read.facts["tolerance"]) == (scene, 1e-3)
    assert (np.diff(read.histories["energy"]) < 1e-12).all()
    assert said.startswith(f"{scene}, {scenes.DEFAULTS[scene][0]}, 32 × 32 points to t = 0.2: ")


@pytest.mark.parametrize("flow", scenes.FLOWS)
@pytest.mark.parametrize("dimensions", [1, 2])
def test_every_flow_runs(flow, dimensions, tmp_path):
    pytest.importorskip("matplotlib")
    grid = Grid.cube(32, 2 * math.pi, dimensions)
    scenes.run_scene("two-drops", tmp_path, flow, 0.1, grid, 0.05, 1e-3, film="gif", frames=2, data="pvd")
    assert files.read(tmp_path / "data.pvd").facts["flow"]["name"].lower() == flow.replace("-", "")


def test_every_scene_has_defaults():
    assert scenes.DEFAULTS.keys() == scenes.SCENES.keys()
    assert {flow for flow, _ in scenes.DEFAULTS.values()} <= scenes.FLOWS.keys()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"end": -1.0}, "end: expected a time after 0, got -1.0"),
        ({"end": math.nan}, "end: expected a time after 0, got nan"),
        ({"kappa": -0.01}, "kappa must be positive, got kappa=-0.01"),
        ({"kappa": 1e-5}, "interfaces of width 0.00316 fall between grid points 0.196 apart; take 994 points or more"),
        ({"flow": "swift-hohenberg", "kappa": -1.0}, "kappa: expected a positive number, got -1.0"),
        ({"tolerance": 1e-20}, "tolerance: expected 2.2e-14"),
        ({"frames": 1}, "frames: expected 2 or more, got 1"),
        ({"film": "avi"}, r"film\.avi: a name for a film ends in \.mp4 or \.gif"),
        ({"data": "txt"}, r"data\.txt: a name for data ends in one of"),
        ({"repulsion": -1.0, "flow": "ohta-kawasaki"}, "A must be positive"),
        ({"scene": "star", "grid": Grid((32,), (6.0,))}, "star: expected a grid of two or three dimensions"),
        (
            {"flow": "conservative-allen-cahn", "grid": Grid.cube(32, 6.0, boundary="dirichlet")},
            "its mean is no mode of a Dirichlet",
        ),
    ],
)
def test_a_mistake_is_a_line_before_any_work(arguments, message, tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("av")
    usual = {"scene": "circle", "out": tmp_path / "out", "grid": SMALL, "kappa": 0.05}
    with pytest.raises(ValueError, match=message) as raised:
        scenes.run_scene(**(usual | arguments))
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_missing_libraries_are_told_before_the_run(tmp_path, monkeypatch):
    present = {"matplotlib", "av"}
    monkeypatch.setattr(files, "find_spec", lambda name: name in present or None)
    with pytest.raises(ImportError, match=r"a \.zarr file needs the package zarr: pip install zarr"):
        scenes.run_scene("circle", tmp_path / "out", grid=SMALL, kappa=0.05, data="zarr")
    present.remove("av")
    with pytest.raises(ImportError, match=r"an \.mp4 film needs the package av"):
        scenes.run_scene("circle", tmp_path / "out", grid=SMALL, kappa=0.05)
    present.clear()
    with pytest.raises(ImportError, match="a figure needs the package matplotlib"):
        scenes.run_scene("circle", tmp_path / "out", grid=SMALL, kappa=0.05, film="gif")
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way(tmp_path):
    pytest.importorskip("matplotlib")
    Path(tmp_path / "out").write_text("mine")
    with pytest.raises(ValueError, match="out is no folder"):
        scenes.run_scene("circle", tmp_path / "out", grid=SMALL, kappa=0.05, film="gif")
    assert (tmp_path / "out").read_text() == "mine"
