"""`ernest phasefield run`: every scene and flow to files, and one line for what cannot be, before any work."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from ernest.phasefield import Grid, StepRecord, initial_conditions, scenes
from ernest.phasefield.io import files

SMALL = Grid.cube(32, 2 * math.pi)


@pytest.mark.parametrize("scene", scenes.SCENES)
def test_every_scene_makes_its_files(scene, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "new/run"
    said = scenes.run_scene(scene, out, end=0.2, grid=SMALL, kappa=0.05, tolerance=1e-3, frames=3, film="gif")
    names = ["snapshots.png", "laws.png", "film.gif", "data.npz"]
    assert said.splitlines()[1:] == [str(out / name) for name in names]
    assert sorted(file.name for file in out.iterdir()) == sorted([*names, "run.json"])
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
        ({"kappa": 1e-5}, "interfaces of width 0.00316 fall between grid points 0.196 apart; take 1988 points or more"),
        ({"flow": "swift-hohenberg", "kappa": -1.0}, "kappa: expected a positive number, got -1.0"),
        ({"tolerance": 1e-20}, "tolerance: expected 2.2e-14"),
        ({"frames": 1}, "frames: expected 2 or more, got 1"),
        ({"film": "avi"}, r"film\.avi: a name for a film ends in \.mp4 or \.gif"),
        ({"data": "txt"}, r"data\.txt: a name for data ends in one of"),
        ({"repulsion": -1.0, "flow": "ohta-kawasaki"}, "A must be positive"),
        ({"scene": "star", "grid": Grid((32,), (6.0,))}, "star: expected a grid of two or three dimensions"),
        ({"noise": scenes.Noise(waves=4)}, "waves: only the scene spinodal is made of noise, got circle"),
        ({"checkpoint": -1.0}, "checkpoint: the interval must be positive"),
        ({"scene": "data.npz", "flow": "allen-cahn"}, r"data\.npz: say what to solve with --flow, and how far with --end"),
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


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"points": 0}, "grid points: expected 2 or more"),
        ({"length": 0.0}, "grid lengths: expected positive lengths"),
        ({"dimensions": 0}, "grid points: expected one to three axes"),
    ],
)
def test_zero_is_no_word_for_the_default(given, message):
    with pytest.raises(ValueError, match=message):
        scenes.make_grid("allen-cahn", scenes.Box(**given))


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


RUN = {"grid": SMALL, "kappa": 0.05, "tolerance": 1e-3, "frames": 2, "film": "gif", "progress": False}


def test_a_run_tells_what_its_tolerance_is_told_in(tmp_path):
    pytest.importorskip("matplotlib")
    said = scenes.run_scene("circle", tmp_path / "own", end=0.1, **RUN)
    assert said.splitlines()[0].endswith("tolerance told in 1 of u for every 1 of time")
    scenes.run_scene("circle", tmp_path / "told", end=0.1, **RUN, units=(0.5, 2.0))
    scenes.run_scene("circle", tmp_path / "same", end=0.1, **RUN, absolute_tolerance=4e-3)
    scenes.run_scene("circle", tmp_path / "tight", end=0.1, **RUN, absolute_tolerance=1e-12)
    told, same, tight = (files.read(tmp_path / name / "data.npz") for name in ("told", "same", "tight"))
    assert told.facts["units"] == {"time": 0.5, "field": 2.0}
    assert (told.histories["time"] == same.histories["time"]).all()
    assert len(tight.histories["time"]) > len(same.histories["time"])
    with pytest.raises(ValueError, match=r"units time: expected a positive number, got -1\.0"):
        scenes.run_scene("circle", tmp_path / "none", end=0.1, **RUN, units=(-1.0, 1.0))


@pytest.mark.parametrize("flow", scenes.PATTERNS)
def test_patterns_have_a_box_for_their_waves(flow, tmp_path):
    """Spacings of a fifteenth of a wave resolve it, whatever kappa, which these flows do not have."""
    pytest.importorskip("matplotlib")
    grid = scenes.make_grid(flow)
    assert (grid.points, grid.lengths) == ((128, 128), (32 * math.pi, 32 * math.pi))
    run = RUN | {"grid": scenes.make_grid(flow, scenes.Box(points=48, length=20.0)), "kappa": 0.01}
    said = scenes.run_scene("spinodal", tmp_path, flow, 5.0, **run, noise=scenes.Noise(amplitude=0.05))
    assert said.startswith(f"spinodal, {flow}, 48 × 48 points to t = 5: ")
    assert scenes._usual("spinodal", flow, None) == (flow, scenes.PATTERN_END)


def test_noise_is_as_it_is_asked_for(tmp_path):
    pytest.importorskip("matplotlib")
    scenes.run_scene("spinodal", tmp_path, end=0.01, noise=scenes.Noise(4, 0.25, 0.03), seed=7, **RUN)
    read = files.read(tmp_path / "data.npz")
    start = initial_conditions.spinodal_noise(SMALL, 0.03, 0.25, seed=7, waves=4)
    np.testing.assert_allclose(read.fields[0], start, rtol=0, atol=1e-14)
    assert {name: read.facts[name] for name in ("waves", "mean", "amplitude", "seed")} == {
        "waves": 4, "mean": 0.25, "amplitude": 0.03, "seed": 7
    }  # fmt: skip


def test_a_run_begins_with_the_last_field_of_another(tmp_path):
    pytest.importorskip("matplotlib")
    scenes.run_scene("circle", tmp_path / "one", end=0.1, **RUN)
    last = files.read(tmp_path / "one/data.npz")
    grid, u0 = scenes.load_field(tmp_path / "one/data.npz", scenes.Box(points=32))
    assert grid == SMALL
    assert (u0.numpy() == last.fields[-1]).all()
    scenes.run_scene("one/data.npz", tmp_path / "two", "cahn-hilliard", 0.01, u0=u0, **RUN)
    np.testing.assert_allclose(files.read(tmp_path / "two/data.npz").fields[0], last.fields[-1], rtol=0, atol=1e-13)
    for name, value in (("points", 64), ("length", 1.0), ("dimensions", 3), ("boundary", "neumann")):
        with pytest.raises(ValueError, match=rf"{name}: .*data\.npz holds a field with {name} .*, got {value}"):
            scenes.load_field(tmp_path / "one/data.npz", scenes.Box(**{name: value}))


def test_an_array_of_numpy_is_a_first_field(tmp_path):
    np.save(tmp_path / "u.npy", np.arange(32, dtype=np.float32).reshape(8, 4))
    grid, u0 = scenes.load_field(tmp_path / "u.npy", scenes.Box(length=2.0, boundary="neumann"))
    assert grid == Grid((8, 4), (2.0, 1.0), "neumann")
    assert (u0.dtype, u0[1, 0]) == (torch.float64, 4)
    with pytest.raises(ValueError, match=r"u\.npy: say how long its sides are with --length"):
        scenes.load_field(tmp_path / "u.npy")
    with pytest.raises(ValueError, match=r"points: .*u\.npy holds a field \[8, 4\], got 8"):
        scenes.load_field(tmp_path / "u.npy", scenes.Box(points=8, length=2.0))
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    with pytest.raises(ValueError, match=r"words\.npy: expected numbers of one to three dimensions, got \[2\] of <U1"):
        scenes.load_field(tmp_path / "words.npy", scenes.Box(length=1.0))
    (tmp_path / "no.npy").write_text("no")
    with pytest.raises(ValueError, match=r"no\.npy: not an array of numpy"):
        scenes.load_field(tmp_path / "no.npy", scenes.Box(length=1.0))


@pytest.mark.parametrize("name", ["snapshots.png", "laws.png", "film.gif", "data.npz", "run.json", "data.h5", "data.xdmf"])
def test_files_of_others_in_the_folder_are_never_replaced(name, tmp_path):
    pytest.importorskip("matplotlib")
    data = "h5" if name in ("data.h5", "data.xdmf") else "npz"
    pytest.importorskip("h5py" if data == "h5" else "numpy")
    (tmp_path / name).write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=rf"{name} was not (written|made) by a run and would be lost: move it, or choose"):
        scenes.run_scene("circle", tmp_path, end=0.1, **RUN, data=data)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {name: "mine", "notes.txt": "mine"}


def test_a_run_replaces_its_own_files_unless_they_were_changed(tmp_path):
    pytest.importorskip("matplotlib")
    for end in (0.1, 0.2):
        scenes.run_scene("circle", tmp_path, end=end, **RUN)
    assert files.read(tmp_path / "data.npz").times[-1] == 0.2
    (tmp_path / "laws.png").write_text("drawn over")
    with pytest.raises(ValueError, match=r"laws\.png has changed since a run wrote it and would be lost"):
        scenes.run_scene("circle", tmp_path, end=0.3, **RUN)
    assert (tmp_path / "laws.png").read_text() == "drawn over"


def test_an_interrupted_run_writes_what_it_has_done_and_goes_on_to_the_same_end(tmp_path):
    pytest.importorskip("matplotlib")
    steps = []

    def interrupt(record: StepRecord) -> None:
        steps.append(record)
        if len(steps) == 2:
            raise KeyboardInterrupt

    fine = RUN | {"tolerance": 1e-6}
    out, whole = tmp_path / "out", tmp_path / "whole"
    run = partial(scenes.run_scene, "circle", end=2.0)
    with pytest.raises(KeyboardInterrupt, match=r"^interrupted at t = .* of 2; what was done is in .*; with --check"):
        run(tmp_path / "plain", **fine | {"progress": interrupt})
    assert {file.name for file in (tmp_path / "plain").iterdir()} == {
        "snapshots.png",
        "laws.png",
        "film.gif",
        "data.npz",
        "run.json",
    }
    steps.clear()
    with pytest.raises(KeyboardInterrupt, match=r"^interrupted at .*; the same command with --resume goes on from there"):
        run(out, checkpoint=5.0, **fine | {"progress": interrupt})
    first = files.read(out / "data.npz")
    assert first.times[-1] == steps[-1].time
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors holds a run: go on from it with --resume, move it, or"):
        run(out, checkpoint=5.0, **fine)
    run(out, resume=True, **fine)
    run(whole, **fine)
    read, wanted = files.read(out / "data.npz"), files.read(whole / "data.npz")
    assert (read.fields[-1] == wanted.fields[-1]).all()
    assert (read.histories["energy"] == wanted.histories["energy"]).all()
    assert read.times[: len(first.times) - 1].tolist() == first.times[:-1].tolist()  # those of the first part are still there
    assert (read.fields[0] == first.fields[0]).all()
    films = {file.name for file in out.glob("film*")}
    assert films == {"film.gif", f"film-from-{first.times[-1]:.6g}.gif"}
    said = run(out, resume=True, **fine)  # it had ended: there is no film of no time
    assert {file.name for file in out.glob("film*")} == films
    assert [line.rpartition("/")[2] for line in said.splitlines()[1:]] == ["snapshots.png", "laws.png", "data.npz"]
    with pytest.raises(ValueError, match=r"t1: .*checkpoint\.safetensors is at time 2 already; expected that time or"):
        scenes.run_scene("circle", out, end=1.0, resume=True, **fine)


def test_a_place_that_cannot_be_written_is_told_before_the_run(tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match=r"file/out.* cannot be written: .*/file is no folder"):
        scenes.run_scene("circle", tmp_path / "file/out", end=1e9, **RUN)
