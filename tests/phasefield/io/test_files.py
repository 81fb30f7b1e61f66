"""Data files: every bit comes back from every format, other programs find what they look for, and no file is ever half."""

import base64
import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from ernest.phasefield import Checkpoint, ConservativeAllenCahn, CoupledFlow, Grid, initial_conditions, solve
from ernest.phasefield.io import files, formats, snapshots
from ernest.phasefield.io.snapshots import Snapshots, as_json, representative_times, take_snapshots

ENDINGS = (".npz", ".h5", ".zarr", ".nc", ".pvd")
LIBRARIES = {".h5": "h5py", ".zarr": "zarr", ".nc": "netCDF4"}
GRIDS = (
    Grid((10,), (3.0,)),
    Grid((8, 6), (3.0, 4.0), "neumann"),
    Grid((4, 5, 6), (1.0, 2.0, 3.0), ("periodic", "neumann", "dirichlet")),
)


def some(grid: Grid, dtype: type = np.float64, times: int = 3) -> Snapshots:
    """Numbers that no decimal form shorter than theirs gives back, the odd ones among them too."""
    rng = np.random.default_rng(1)
    fields = rng.standard_normal((times, *grid.points)).astype(dtype)
    fields.reshape(-1)[:3] = (-0.0, np.finfo(dtype).tiny / 4, np.finfo(dtype).max)
    histories = {"energy": rng.standard_normal(7), "iterations": np.arange(6), "step": np.full(6, 1 / 3)}
    facts = {"scheme": {"degree": 3, "stabilisation": 0.1 + 0.2}, "tolerance": 1e-6, "words": ['"<&>', "κ"]}
    return Snapshots(np.cumsum(rng.random(times)), fields, grid, histories, facts)


def same(one: Snapshots, other: Snapshots) -> bool:
    arrays = [(one.times, other.times), (one.fields, other.fields)]
    arrays += [(values, other.histories[name]) for name, values in one.histories.items()]
    bits = all(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in arrays)
    return bits and one.grid == other.grid and one.facts == other.facts and one.histories.keys() == other.histories.keys()


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: f"{grid.dimensions}D")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_every_bit_comes_back(tmp_path, ending, grid, dtype):
    pytest.importorskip(LIBRARIES.get(ending, "numpy"))
    written = some(grid, dtype)
    path = tmp_path / "new/run"
    files.write(path.with_suffix(ending), some(grid, dtype, times=2))
    files.write(path.with_suffix(ending), written)
    assert same(files.read(path.with_suffix(ending)), written)
    beside = {".h5": {"run.xdmf"}, ".pvd": {"run"}}.get(ending, set())
    assert {file.name for file in path.parent.iterdir()} == {f"run{ending}"} | beside


def test_one_image_is_one_time(tmp_path):
    one = some(GRIDS[1], times=1)
    files.write(tmp_path / "run.vti", one)
    assert same(files.read(tmp_path / "run.vti"), one)
    with pytest.raises(ValueError, match=r"holds one time, not 3: choose a name that ends in \.pvd"):
        files.write(tmp_path / "run.vti", some(GRIDS[1]))


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: f"{grid.dimensions}D")
def test_an_image_is_laid_out_as_vtk_wants_it(tmp_path, grid):
    """Extent, origin and spacing in x, y, z; after the mark the length in 8 bytes, then the numbers with x running fastest."""
    written = some(grid)
    files.write(tmp_path / "run.pvd", written)
    collection = ElementTree.parse(tmp_path / "run.pvd").getroot()
    times = [float(row.attrib["timestep"]) for row in collection.iter("DataSet")]
    assert times == written.times.tolist()
    images = [tmp_path / row.attrib["file"] for row in collection.iter("DataSet")]
    head, raw = images[1].read_bytes().split(b'<AppendedData encoding="raw">_')
    root = ElementTree.fromstring(head + b"</VTKFile>")
    image, u = root.find("ImageData"), root.find(".//PointData/DataArray")
    sizes = (*grid.points, *[1] * (3 - grid.dimensions))
    assert image.attrib["WholeExtent"] == " ".join(f"0 {n - 1}" for n in sizes)
    corner, spacing = (np.array(image.attrib[name].split(), float) for name in ("Origin", "Spacing"))
    for axis, line in enumerate(grid.lines()):
        np.testing.assert_allclose(corner[axis] + spacing[axis] * np.arange(len(line)), line, rtol=0, atol=1e-14)
    assert (u.attrib["type"], root.attrib["byte_order"], root.attrib["header_type"]) == ("Float64", "LittleEndian", "UInt64")
    at = int(u.attrib["offset"])
    assert int.from_bytes(raw[at : at + 8], "little") == written.fields[1].nbytes
    values = np.frombuffer(raw, "<f8", written.fields[1].size, at + 8)
    assert values[1] == written.fields[1][(1, *[0] * (grid.dimensions - 1))]
    assert (written.fields[1] == values.reshape(grid.points[::-1]).T).all()
    assert float(root.find(".//*[@Name='TimeValue']").text) == written.times[1]


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: f"{grid.dimensions}D")
def test_xdmf_tells_where_every_field_lies(tmp_path, grid):
    h5py = pytest.importorskip("h5py")
    written = some(grid)
    files.write(tmp_path / "run.h5", written)
    steps = ElementTree.parse(tmp_path / "run.xdmf").getroot().findall(".//Grid[@GridType='Uniform']")
    assert [float(step.find("Time").attrib["Value"]) for step in steps] == written.times.tolist()
    for index, step in enumerate(steps):
        box = [int(n) for n in step.find("Topology").attrib["Dimensions"].split()]
        assert box == [1] * (3 - grid.dimensions) + list(grid.points[::-1])
        corner, spacing = (np.array(item.text.split(), float)[::-1] for item in step.findall("Geometry/DataItem"))
        for axis, line in enumerate(grid.lines()):
            np.testing.assert_allclose(corner[axis] + spacing[axis] * np.arange(len(line)), line, rtol=0, atol=1e-14)
        slab, whole = step.findall("Attribute/DataItem/DataItem")
        start, stride, count = np.array(slab.text.split(), int).reshape(3, -1)
        file, name = whole.text.split(":")
        with h5py.File(tmp_path / file) as data:
            assert data[name].shape == tuple(map(int, whole.attrib["Dimensions"].split()))
            chosen = data[name][tuple(slice(a, a + s * n, s) for a, s, n in zip(start, stride, count, strict=True))]
        assert (chosen.reshape(box).T.reshape(grid.points) == written.fields[index]).all()


@pytest.mark.parametrize(("ending", "where"), [*((ending, "header") for ending in ENDINGS), (".h5", "xdmf")])
def test_the_files_of_an_earlier_run_stay_until_all_are_written(tmp_path, monkeypatch, ending, where):
    """The second image of a collection and the XDMF beside HDF5 fail when other files of the same run are complete."""
    pytest.importorskip(LIBRARIES.get(ending, "numpy"))
    path, earlier = tmp_path / f"run{ending}", some(GRIDS[0], times=2)
    files.write(path, earlier)
    names = sorted(tmp_path.rglob("*"))
    calls, header = [], Snapshots.header

    def fail(*args: object) -> str:
        calls.append(args)
        if where == "xdmf" or len(calls) == 2 or ending != ".pvd":
            raise RuntimeError("no more")
        return header(*args)

    monkeypatch.setattr(*((Snapshots, "header") if where == "header" else (formats, "_xdmf")), fail)
    with pytest.raises(RuntimeError, match="no more"):
        files.write(path, some(GRIDS[0]))
    monkeypatch.undo()
    assert sorted(tmp_path.rglob("*")) == names
    assert same(files.read(path), earlier)


def test_a_run_that_dies_while_writing_leaves_the_files_before(tmp_path):
    earlier = some(GRIDS[0], times=2)
    files.write(tmp_path / "run.pvd", earlier)
    program = f"""
import os
import numpy as np
from ernest.phasefield import Grid
from ernest.phasefield.io import files, vtk
from ernest.phasefield.io.snapshots import Snapshots
image, calls = vtk._image, []
vtk._image = lambda one: image(one) if not calls and not calls.append(1) else os._exit(9)
files.write({str(tmp_path / "run.pvd")!r}, Snapshots(np.arange(3.0), np.zeros((3, 10)), Grid((10,), (3.0,))))
"""
    assert subprocess.run([sys.executable, "-c", program], check=False, cwd=Path(__file__).parents[3]).returncode == 9
    assert same(files.read(tmp_path / "run.pvd"), earlier)
    files.write(tmp_path / "run.pvd", some(GRIDS[0]))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run", "run.pvd"]
    assert len(list((tmp_path / "run").iterdir())) == 3


@pytest.mark.parametrize("ending", [*ENDINGS, ".vti"])
def test_other_files_are_refused_in_a_line(tmp_path, ending):
    pytest.importorskip(LIBRARIES.get(ending, "numpy"))
    path = tmp_path / f"run{ending}"
    with pytest.raises(ValueError, match="there is no such file"):
        files.read(path)
    path.write_bytes(base64.b64decode("UEsDBBQAAAAIAA=="))
    with pytest.raises(ValueError, match=re.escape(f"{path}: not a data file of a phase-field run")):
        files.read(path)


def test_an_ending_without_a_format_or_a_library(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"run\.txt: a name for data ends in one of \.npz, \.h5"):
        files.write(tmp_path / "run.txt", some(GRIDS[0]))
    monkeypatch.setattr(files, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"a \.h5 file needs the package h5py: pip install"):
        files.write(tmp_path / "run.h5", some(GRIDS[0]))
    files.write(tmp_path / "run.npz", some(GRIDS[0]))
    assert [file.name for file in tmp_path.iterdir()] == ["run.npz"]


def test_snapshots_must_fit():
    with pytest.raises(ValueError, match=r"expected fields \(3, 10\) for 3 times, got \(2, 10\)"):
        Snapshots(np.arange(3.0), np.zeros((2, 10)), GRIDS[0])
    with pytest.raises(ValueError, match="expected one time or more, and rising ones"):
        Snapshots(np.zeros(2), np.zeros((2, 10)), GRIDS[0])


@pytest.mark.parametrize("kind", ["float16", "bool", "int64", "complex128", ">f8"])
def test_numbers_that_not_every_format_holds_are_refused(kind):
    with pytest.raises(ValueError, match="snapshots: expected fields of type float64 or float32, got ") as raised:
        Snapshots(np.arange(3.0), np.zeros((3, 10), kind), GRIDS[0])
    assert "\n" not in str(raised.value)
    if kind != "int64":
        with pytest.raises(ValueError, match=r"histories: x: expected an array \[steps\] of type float64, .*, got \[4\] of "):
            Snapshots(np.arange(3.0), np.zeros((3, 10)), GRIDS[0], {"x": np.zeros(4, kind)})
    with pytest.raises(ValueError, match=r"histories: x: expected an array \[steps\] .*, got \[4, 2\]"):
        Snapshots(np.arange(3.0), np.zeros((3, 10)), GRIDS[0], {"x": np.zeros((4, 2))})


@pytest.mark.parametrize("name", ["a/b", "", "moment", "interval", "two words", "<&>"])
def test_names_that_not_every_format_holds_are_refused(name):
    with pytest.raises(ValueError, match="expected a name of letters, digits and _, other than moment and interval, got"):
        Snapshots(np.arange(3.0), np.zeros((3, 10)), GRIDS[0], {name: np.zeros(4)})


@pytest.mark.parametrize("ending", ENDINGS)
def test_histories_of_any_length_come_back(tmp_path, ending):
    pytest.importorskip(LIBRARIES.get(ending, "numpy"))
    histories = {
        "step": np.arange(6),
        "time": np.arange(7.0),
        "energy": np.zeros(7, np.float32),
        "x": np.ones(3),
        "time_of": np.ones(1),
    }
    written = Snapshots(np.arange(2.0), np.zeros((2, 10)), GRIDS[0], histories)
    files.write(tmp_path / f"run{ending}", written)
    assert same(files.read(tmp_path / f"run{ending}"), written)


def test_numbers_of_numpy_are_numbers(tmp_path):
    grid = Grid.cube(np.int64(16), np.float32(6.0))
    start = initial_conditions.circle(grid, 0.5)
    solution = solve(ConservativeAllenCahn(0.5), grid, start, np.float32(0.25), np.float32(1e-3), progress=False)
    facts = {
        "seed": np.int64(3),
        "tolerance": np.float32(1e-4),
        "kappas": np.array([0.5, 0.25]),
        "out": tmp_path,
        "more": {"a": 1},
    }
    files.write(tmp_path / "run.npz", take_snapshots(solution, times=np.array([0.0, 0.25], np.float32), **facts))
    read = files.read(tmp_path / "run.npz")
    assert read.grid == Grid.cube(16, 6.0)
    assert read.facts["seed"] == 3
    assert read.facts["tolerance"] == float(np.float32(1e-4))
    assert (read.facts["kappas"], read.facts["out"], read.facts["more"]) == ([0.5, 0.25], str(tmp_path), {"a": 1})
    assert read.times.tolist() == [0.0, 0.25]


def test_a_folder_beside_the_collection_keeps_what_others_put_there(tmp_path):
    files.write(tmp_path / "results.pvd", some(GRIDS[0], times=3))
    (tmp_path / "results/raw").mkdir()
    (tmp_path / "results/notes.txt").write_text("mine")
    (tmp_path / "results/raw/a.csv").write_text("1,2")
    (tmp_path / "results/0007.vti").write_text("mine")
    with pytest.raises(ValueError, match=r"results/0007\.vti was not made by a run and would be lost: move it, or choose"):
        files.write(tmp_path / "results.pvd", some(GRIDS[0], times=2))
    (tmp_path / "results/0007.vti").rename(tmp_path / "results/mine.vti")
    files.write(tmp_path / "results.pvd", some(GRIDS[0], times=2))
    assert same(files.read(tmp_path / "results.pvd"), some(GRIDS[0], times=2))
    there = {file.relative_to(tmp_path / "results").as_posix() for file in (tmp_path / "results").rglob("*") if file.is_file()}
    assert there == {"0000.vti", "0001.vti", "notes.txt", "mine.vti", "raw/a.csv"}


@pytest.mark.parametrize(
    ("ending", "there"),
    [
        (".zarr", "run.zarr/notes.txt"),
        (".zarr", "run.zarr/.zattrs"),
        (".zarr", "run.zarr"),
        (".h5", "run.xdmf"),
        (".h5", "run.h5/a.txt"),
        (".h5", "run.xdmf/a.txt"),
        (".npz", "run.npz/a.txt"),
        (".nc", "run.nc/a.txt"),
        (".pvd", "run"),
        (".pvd", "run/0000.vti"),
        (".pvd", "run/0001.vti/a.txt"),
        (".pvd", "run.pvd/a.txt"),
    ],
)
def test_what_was_not_written_here_is_never_lost(tmp_path, ending, there):
    """Refused in a line that names it, when it is written and when it is asked for before a run."""
    pytest.importorskip(LIBRARIES.get(ending, "numpy"))
    mine = tmp_path / there
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text('{"mine": 1}')
    path = tmp_path / f"run{ending}"
    for attempt in (partial(files.write, path, some(GRIDS[0])), partial(files.check_path, path)):
        with pytest.raises(ValueError, match=r"run.*(would be lost: move it, or|is a folder:) choose another name") as raised:
            attempt()
        assert "\n" not in str(raised.value)
        assert [file for file in tmp_path.rglob("*") if file.is_file()] == [mine]
        assert mine.read_text() == '{"mine": 1}'


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("place", ["", "./new/../", "link/"])
def test_a_file_is_replaced_however_its_path_is_told(ending, place, tmp_path, monkeypatch):
    pytest.importorskip(LIBRARIES.get(ending, "numpy"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "link").symlink_to("folder")
    monkeypatch.chdir(tmp_path)
    for times in (3, 2):
        files.write(f"{place}run{ending}", some(GRIDS[0], times=times))
    assert len(files.read(f"{place}run{ending}").times) == 2


def test_an_array_that_a_user_adds_to_a_zarr_folder_is_not_lost(tmp_path):
    zarr = pytest.importorskip("zarr")
    files.write(tmp_path / "run.zarr", some(GRIDS[0]))
    files.write(tmp_path / "run.zarr", some(GRIDS[0], times=2))
    group = zarr.open_group(str(tmp_path / "run.zarr"), mode="a", zarr_format=2)
    group.create_array("histories/fit", data=np.ones(3))
    with pytest.raises(ValueError, match=r"run\.zarr/histories/fit/.* was not made by a run and would be lost"):
        files.write(tmp_path / "run.zarr", some(GRIDS[0]))
    assert (zarr.open_array(str(tmp_path / "run.zarr/histories/fit"), mode="r")[:] == 1).all()


def test_a_file_tells_how_the_run_was_made(tmp_path):
    grid = Grid.cube(16, 2 * math.pi)
    solution = solve(ConservativeAllenCahn(0.1), grid, initial_conditions.circle(grid, 0.1), 0.5, 1e-4, progress=False)
    files.write(tmp_path / "run.npz", take_snapshots(solution, (0.0, 0.25, 0.5), tolerance=1e-4))
    read = files.read(tmp_path / "run.npz")
    assert read.facts["tolerance"] == 1e-4
    assert read.facts["flow"] == {"name": "ConservativeAllenCahn", "kappa": 0.1, "s": 1.0, "gamma": 1.0, "forcing": None}
    assert read.facts["scheme"]["name"] == type(solution.scheme).__name__
    assert {"degree", "stabilisation"} <= set(read.facts["scheme"])
    assert {"python", "torch", "numpy"} <= set(read.facts["versions"])
    for index, time in enumerate((0.0, 0.25, 0.5)):
        assert (read.fields[index] == solution(time).numpy()).all()
    for name, history in (("time", "times"), ("energy", "energy"), ("mass", "mass"), ("step", "steps")):
        assert (read.histories[name] == getattr(solution, history)).all()


def test_a_member_of_a_batch_is_taken(tmp_path):
    grid = Grid.cube(16, 2 * math.pi)
    starts = torch.stack([initial_conditions.circle(grid, 0.1, radius) for radius in (1.0, 2.0)])
    solution = solve(ConservativeAllenCahn(0.1), grid, starts, 0.1, step=0.05, progress=False)
    shown = take_snapshots(solution, (0.0, 0.1), member=1)
    assert (shown.fields[0] == solution(0.0)[1].numpy()).all()
    assert (shown.histories["energy"] == solution.energy[:, 1]).all()


def test_the_commit_is_told_only_in_the_own_repository(tmp_path, monkeypatch):
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(tmp_path)]
    (tmp_path / "ernest/phasefield").mkdir(parents=True)
    monkeypatch.setattr(snapshots, "__file__", str(tmp_path / "ernest/phasefield/io/snapshots.py"))
    assert "git" not in snapshots.versions()
    (tmp_path / "code.py").write_text("1")
    for words in (("init", "-q"), ("add", "code.py"), ("commit", "-qm", "first")):
        subprocess.run([*git, *words], check=True, capture_output=True)
    commit = snapshots.versions()["git"]
    assert re.fullmatch("[0-9a-f]{40}", commit)
    (tmp_path / "code.py").write_text("2")
    assert snapshots.versions()["git"] == commit + "+"


def test_values_are_described_so_that_json_holds_them():
    flow = ConservativeAllenCahn(torch.tensor([0.1, 0.2], dtype=torch.float64), forcing=None)
    assert as_json(flow)["kappa"] == [0.1, 0.2]
    assert as_json((1, None, True, "a", 0.5)) == [1, None, True, "a", 0.5]
    assert json.dumps(as_json({1}))


def test_telling_times_follow_time_and_energy():
    time = np.linspace(0, 10, 1001)
    even = representative_times(time, 10 - time, 5)
    np.testing.assert_allclose(even, [0, 2.5, 5, 7.5, 10], atol=0.06)
    # Half of what counts happens about t = 8: half of the times lie there.
    late = representative_times(time, -np.tanh((time - 8) * 20), 9)
    assert ((late > 7.5) & (late < 8.5)).sum() >= 4
    # A loss in the first moment draws none.
    sudden = representative_times(time, 100 * np.exp(-1000 * time) + 10 - time, 5)
    np.testing.assert_allclose(sudden, even, atol=0.1)
    assert (representative_times(time, np.ones(1001), 3) == [0, 5, 10]).all()


def test_a_run_that_went_on_is_taken_from_its_checkpoint_on(tmp_path):
    grid = Grid.cube(16, 2 * math.pi)
    keep = Checkpoint(tmp_path / "run.safetensors", steps=4)
    run = partial(solve, ConservativeAllenCahn(0.1), grid, initial_conditions.circle(grid, 0.1), step=0.125, progress=False)
    run(t1=0.5, checkpoint=keep)
    whole, taken = run(t1=1.0), take_snapshots(run(t1=1.0, checkpoint=keep, resume=True))
    assert taken.times[[0, -1]].tolist() == [0.5, 1.0]
    assert (taken.histories["energy"] == whole.energy).all()
    assert (taken.fields[-1] == whole(1.0).numpy()).all()
    assert take_snapshots(run(t1=1.0, checkpoint=keep, resume=True)).times.tolist() == [1.0]


def test_each_field_of_a_coupled_flow_has_its_mass_and_all_have_one_energy():
    grid = Grid((8,), (3.0,))
    u0 = torch.stack([0.3 + 0.1 * (2 * math.pi * grid.lines()[0] / 3).cos() * i for i in (1, -1, 2, 3)]).reshape(2, 2, 8)
    flow = CoupledFlow(lambda u, x, t: u[0] ** 2 + u[1] ** 2, (0.1, 0.1), (1.0, 1.0), (True, False))
    run = solve(flow, grid, u0, 0.1, 1e-3, progress=False)
    for member in range(4):
        taken = take_snapshots(run, times=0.1, member=member)
        assert (taken.fields[0] == run.end.reshape(4, 8)[member].numpy()).all()
        assert (taken.histories["mass"] == run.mass.reshape(-1, 4)[:, member]).all()
        assert (taken.histories["energy"] == run.energy[:, member // 2]).all()
    with pytest.raises(ValueError, match="snapshots: expected one time or more"):
        take_snapshots(run, times=[])
