"""The data files are opened by the libraries that users have: netCDF4, xarray, pyvista and VTK find fields, times and axes."""

import json
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ernest.phasefield import Grid
from ernest.phasefield.io import files
from ernest.phasefield.io.snapshots import Snapshots
from tests.phasefield.io.test_files import GRIDS, LIBRARIES, some

NAMES = ("run", "A & B", "l<s>", "it's", 'q"uote', "caf\u00e9, two words")


def with_moments(grid: Grid) -> Snapshots:
    """Snapshots whose histories lie over times of their own."""
    snapshots = some(grid)
    return replace(snapshots, histories={**snapshots.histories, "time": np.arange(7.0)})


def test_h5py_and_zarr_find_time_and_axes(tmp_path):
    h5py, zarr = (pytest.importorskip(name) for name in ("h5py", "zarr"))
    written = with_moments(GRIDS[1])
    for ending in (".h5", ".zarr"):
        files.write(tmp_path / f"run{ending}", written)
    with h5py.File(tmp_path / "run.h5") as file:
        assert file["u"][1, 4, 5] == written.fields[1, 5, 4]
        assert json.loads(file.attrs["phasefield"])["facts"]["tolerance"] == 1e-6
        assert [scale[0].name for scale in file["u"].dims] == ["/time", "/y", "/x"]
        assert file["histories/energy"].dims[0][0].name == "/histories/moment"
        assert file["histories/step"].dims[0].keys() == ["interval"]
    group = zarr.open_group(str(tmp_path / "run.zarr"), mode="r")
    assert group.metadata.consolidated_metadata is not None
    assert group["u"].attrs["_ARRAY_DIMENSIONS"] == ["time", "y", "x"]
    assert group["u"].chunks == (1, 6, 8)
    assert group["histories/step"].attrs["_ARRAY_DIMENSIONS"] == ["interval"]
    np.testing.assert_array_equal(group["x"][:], GRIDS[1].lines()[0])


@pytest.mark.parametrize("ending", [".nc", ".h5"])
def test_netcdf4_opens_both_of_its_kinds(tmp_path, ending):
    netCDF4 = pytest.importorskip("netCDF4")
    pytest.importorskip(LIBRARIES[ending])
    written = with_moments(GRIDS[1])
    files.write(tmp_path / f"run{ending}", written)
    with netCDF4.Dataset(tmp_path / f"run{ending}") as file:
        assert file["u"].dimensions == ("time", "y", "x")
        np.testing.assert_array_equal(file["x"][:], GRIDS[1].lines()[0])
        assert file["u"][1, 4, 5] == written.fields[1, 5, 4]
        assert (file["histories/energy"].dimensions, file["histories/step"].dimensions) == (("moment",), ("interval",))


@pytest.mark.parametrize("ending", [".zarr", ".nc", ".h5"])
def test_xarray_opens_it_without_a_warning(tmp_path, ending):
    """Every number is there, zeros too; the times of the snapshots and those of the steps have names of their own."""
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    engine = {".zarr": "zarr", ".nc": "netcdf4", ".h5": "h5netcdf"}[ending]
    pytest.importorskip({"netcdf4": "netCDF4"}.get(engine, engine), reason=f"{engine} is not installed")
    pytest.importorskip(LIBRARIES[ending])
    written = with_moments(GRIDS[1])
    files.write(tmp_path / f"run{ending}", written)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree = xarray.open_datatree(tmp_path / f"run{ending}", engine=engine)
        if ending == ".zarr":
            xarray.open_zarr(tmp_path / "run.zarr", consolidated=True)
    with tree:
        assert tree["u"].dims == ("time", "y", "x")
        np.testing.assert_array_equal(tree["time"], written.times)
        np.testing.assert_array_equal(tree["u"].transpose("time", "x", "y"), written.fields)
        for name, line in zip("xy", GRIDS[1].lines(), strict=True):
            np.testing.assert_array_equal(tree[name], line)
        histories = tree["histories"].to_dataset()
        np.testing.assert_array_equal(histories["moment"], written.histories["time"])
        np.testing.assert_array_equal(histories["energy"].sel(moment=3.0), written.histories["energy"][3])
        assert histories["iterations"].dtype == np.int64
        np.testing.assert_array_equal(histories["iterations"], written.histories["iterations"])


OPEN = """
import sys
import numpy as np
import pyvista
import vtk
from ernest.phasefield.io import files

def field_of(mesh, points):
    mesh = mesh[0] if isinstance(mesh, pyvista.MultiBlock) else mesh
    return np.asarray(mesh["u"]).reshape(points[::-1]).T

for stem in sys.argv[1:]:
    written = files.read(stem + ".npz")
    points = written.grid.points
    reader = pyvista.get_reader(stem + ".pvd")
    assert reader.time_values == written.times.tolist(), stem
    for time, field in zip(written.times, written.fields):
        reader.set_active_time_value(time)
        assert (field_of(reader.read(), points) == field).all(), stem
    assert (field_of(pyvista.read(stem + ".vti"), points) == written.fields[0]).all(), stem
    if files.find_spec("h5py"):
        reader = vtk.vtkXdmfReader()
        reader.SetFileName(stem + ".xdmf")
        reader.UpdateInformation()
        times = reader.GetOutputInformation(0).Get(vtk.vtkStreamingDemandDrivenPipeline.TIME_STEPS())
        assert list(times) == written.times.tolist(), stem
        for time, field in zip(written.times, written.fields):
            reader.UpdateTimeStep(time)
            mesh = pyvista.wrap(reader.GetOutputDataObject(0))
            assert (field_of(mesh, points) == field).all(), stem
print("read", len(sys.argv) - 1)
"""


def test_pyvista_and_vtk_open_it_whatever_its_name(tmp_path):
    """In a process of its own: VTK is large, and writes to the terminal what it does not understand."""
    pytest.importorskip("pyvista", reason="pyvista, which brings VTK, is not installed")
    stems = []
    for grid in GRIDS:
        for name in NAMES if grid is GRIDS[1] else NAMES[:1]:
            folder = tmp_path / f"{grid.dimensions}D"
            stems.append(str(folder / name))
            for ending in (".pvd", ".npz", *([".h5"] if files.find_spec("h5py") else [])):
                files.write(folder / f"{name}{ending}", some(grid))
            one = some(grid)
            files.write(folder / f"{name}.vti", type(one)(one.times[:1], one.fields[:1], grid))
            assert (files.read(folder / f"{name}.pvd").fields == one.fields).all()
    words = [sys.executable, "-c", OPEN, *stems]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert done.stdout.strip() == f"read {len(stems)}", done.stderr
    assert "error" not in done.stderr.lower()
