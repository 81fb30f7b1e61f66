"""Writes and reads snapshots as numpy archives, HDF5 with XDMF, Zarr and NetCDF.

The last three hold the same content: `time` [n] and the coordinates `x`, `y`, `z` of the grid, the field `u` [n, z, y, x] with
its axes in the order that these formats and their viewers expect, the reverse of Ernest's, and grid and facts as JSON in the
attribute `phasefield`. In the group `histories` the times of the steps are called `moment`, so that `time` means one thing
everywhere: what there is for each of them lies over the dimension `moment`, what there is for the steps between over `interval`.
"""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from ernest.device import HOST
from ernest.phasefield.io.snapshots import INTERVAL, MOMENT, Snapshots, read_header
from ernest.storage import write_file

QUOTES = {'"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}
"""What `escape` does not mind, for words between quotes in XML."""


def write_npz(path: Path, snapshots: Snapshots) -> None:
    """Writes a numpy archive: `times`, `fields` [n, x, y, z], every history as `history_NAME`, and the `header`."""
    arrays: dict[str, Any] = {f"history_{name}": values for name, values in snapshots.histories.items()}
    arrays |= {"times": snapshots.times, "fields": snapshots.fields, "header": np.array(snapshots.header())}
    with write_file(path, snapshots.fields.nbytes) as aside:
        np.savez(aside, **arrays)


def read_npz(path: Path) -> Snapshots:
    """The snapshots of a numpy archive."""
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        grid, facts, names = read_header(str(file["header"]))
        histories = {name: file[f"history_{name}"] for name in names}
        return Snapshots(file["times"], file["fields"], grid, histories, facts)


def write_hdf5(path: Path, snapshots: Snapshots) -> None:
    """Writes HDF5 with scales on its dimensions, and beside it an XDMF file that tells ParaView the grid and the times."""
    import h5py

    with write_file(path, snapshots.fields.nbytes, mine=lambda file: is_xdmf_of(path, file)) as aside:
        with h5py.File(aside, "w") as file:
            file.attrs["phasefield"] = snapshots.header()
            for name, dimensions, values in _variables(snapshots):
                written = file.create_dataset(name, data=values)
                for axis, dimension in enumerate(dimensions):
                    scale = _scale(file, f"{name.rpartition('/')[0]}/{dimension}", values.shape[axis])
                    if scale != written:
                        written.dims[axis].attach_scale(scale)
        aside.with_suffix(".xdmf").write_text(_xdmf(path.name, snapshots), encoding="utf-8")


def _scale(file: Any, name: str, size: int) -> Any:
    """The scale of a dimension: its coordinate, where there is one, else the numbers 0, 1, .."""
    scale = file[name] if name in file else file.create_dataset(name, data=np.arange(size))
    if not scale.is_scale:
        scale.make_scale(name.rpartition("/")[2])
    return scale


def is_xdmf_of(data: Path, file: Path) -> bool:
    """Whether a file is the XDMF description of the HDF5 file `data`."""
    return f">{escape(data.name)}:/u<" in file.read_text(encoding="utf-8", errors="replace")


def read_hdf5(path: Path) -> Snapshots:
    """The snapshots of an HDF5 file."""
    import h5py

    with h5py.File(path, "r") as file:
        return _snapshots(str(file.attrs["phasefield"]), lambda name: np.asarray(file[name]))


def write_zarr(path: Path, snapshots: Snapshots) -> None:
    """Writes a folder in Zarr's format 2, which all its readers know, one chunk for each time, with consolidated metadata."""
    import zarr

    with write_file(path, snapshots.fields.nbytes, mine=store_files(path)) as aside:
        group = zarr.open_group(str(aside), mode="w", zarr_format=2)
        group.attrs["phasefield"] = snapshots.header()
        for name, dimensions, values in _variables(snapshots):
            chunks = (1, *values.shape[1:]) if name == "u" else values.shape
            # A fill value, of which 0 is the usual one, is what readers take for "missing".
            array = group.create_array(name, data=values, chunks=chunks, fill_value=None)
            array.attrs["_ARRAY_DIMENSIONS"] = list(dimensions)
        zarr.consolidate_metadata(str(aside), zarr_format=2)


def store_files(path: Path) -> Callable[[Path], bool]:
    """Tells whether a file below `path` belongs to the Zarr folder that `write_zarr` wrote there; without one, none does.

    Files may be told by a path that is relative, absolute or free of links, whatever `path` is.
    """
    real = Path(os.path.realpath(path))
    try:
        _, _, histories = read_header(json.loads((real / ".zattrs").read_text(encoding="utf-8"))["phasefield"])
    except (OSError, ValueError, KeyError, TypeError):
        return lambda file: False
    arrays = "|".join(["time", "x", "y", "z", "u", *(f"histories/{MOMENT if name == 'time' else name}" for name in histories)])
    known = re.compile(rf"\.z(group|attrs|metadata)|histories/\.z(group|attrs)|({arrays})/(\.z(array|attrs)|\d+(\.\d+)*)")

    def is_mine(file: Path) -> bool:
        inside = Path(os.path.realpath(file.parent), file.name)
        return inside.is_relative_to(real) and known.fullmatch(inside.relative_to(real).as_posix()) is not None

    return is_mine


def read_zarr(path: Path) -> Snapshots:
    """The snapshots of a Zarr folder."""
    import zarr

    group: Any = zarr.open_group(str(path), mode="r")
    return _snapshots(str(group.attrs["phasefield"]), lambda name: np.asarray(group[name][:]))


def write_netcdf(path: Path, snapshots: Snapshots) -> None:
    """Writes NetCDF-4 with the coordinates of every axis."""
    import netCDF4

    with write_file(path, snapshots.fields.nbytes) as aside, netCDF4.Dataset(str(aside), "w") as file:
        file.phasefield = snapshots.header()
        for name, dimensions, values in _variables(snapshots):
            group = file.createGroup("histories") if "/" in name else file
            for dimension, size in zip(dimensions, values.shape, strict=True):
                if dimension not in group.dimensions:
                    group.createDimension(dimension, size)
            group.createVariable(name.rpartition("/")[2], values.dtype, dimensions)[:] = values


def read_netcdf(path: Path) -> Snapshots:
    """The snapshots of a NetCDF file."""
    import netCDF4

    with netCDF4.Dataset(str(path)) as file:
        file.set_auto_mask(False)
        return _snapshots(file.phasefield, lambda name: np.asarray(file[name][:]))


def _variables(snapshots: Snapshots) -> list[tuple[str, tuple[str, ...], np.ndarray]]:
    """Name, dimensions and values of all arrays of a file; coordinates come before what lies over them."""
    axes = "xyz"[: snapshots.grid.dimensions]
    lines = [(name, (name,), line.numpy()) for name, line in zip(axes, snapshots.grid.lines(device=HOST), strict=True)]
    field = ("u", ("time", *reversed(axes)), _reverse_axes(snapshots.fields))
    moments = len(snapshots.histories.get("time", ()))
    histories = []
    for name, values in sorted(snapshots.histories.items(), key=lambda history: history[0] != "time"):
        over = {moments: MOMENT, moments - 1: INTERVAL}.get(len(values)) if moments else None
        histories.append((f"histories/{MOMENT if name == 'time' else name}", (over or f"{name}-number",), values))
    return [("time", ("time",), snapshots.times), *lines, field, *histories]


def _snapshots(header: str, values: Callable[[str], np.ndarray]) -> Snapshots:
    """The snapshots of a file of the arrays of `_variables`, whose `values` are read by name."""
    grid, facts, names = read_header(header)
    histories = {name: values(f"histories/{MOMENT if name == 'time' else name}") for name in names}
    return Snapshots(values("time"), _reverse_axes(values("u")), grid, histories, facts)


def _reverse_axes(fields: np.ndarray) -> np.ndarray:
    """Fields `[n, x, y, z]` as `[n, z, y, x]`, or the other way round."""
    return np.ascontiguousarray(fields.transpose(0, *range(fields.ndim - 1, 0, -1)))


def _xdmf(data: str, snapshots: Snapshots) -> str:
    """The description of `u` in the HDF5 file `data`: a regular grid of three dimensions for each time."""
    sizes = snapshots.grid.points[::-1]
    box = " ".join(map(str, (1,) * (3 - len(sizes)) + sizes))
    lines = [line.tolist() for line in snapshots.grid.lines(device=HOST)] + [[0.0, 1.0]] * (3 - len(sizes))
    corner = " ".join(repr(line[0]) for line in reversed(lines))
    spacing = " ".join(repr(line[1] - line[0]) for line in reversed(lines))
    whole = f'Dimensions="{" ".join(map(str, (len(snapshots.times), *sizes)))}"'
    number = f'NumberType="Float" Precision="{snapshots.fields.itemsize}" Format="HDF"'
    zeros, ones = "0 " * len(sizes), "1 " * len(sizes)
    grids = [
        f"""   <Grid Name="u" GridType="Uniform">
    <Time Value="{time!r}"/>
    <Topology TopologyType="3DCoRectMesh" Dimensions="{box}"/>
    <Geometry GeometryType="ORIGIN_DXDYDZ">
     <DataItem Dimensions="3" NumberType="Float" Precision="8" Format="XML">{corner}</DataItem>
     <DataItem Dimensions="3" NumberType="Float" Precision="8" Format="XML">{spacing}</DataItem>
    </Geometry>
    <Attribute Name="u" AttributeType="Scalar" Center="Node">
     <DataItem ItemType="HyperSlab" Dimensions="{box}">
      <DataItem Dimensions="3 {1 + len(sizes)}" Format="XML">{index} {zeros}1 {ones}1 {" ".join(map(str, sizes))}</DataItem>
      <DataItem {whole} {number}>{escape(data)}:/u</DataItem>
     </DataItem>
    </Attribute>
   </Grid>"""
        for index, time in enumerate(snapshots.times.tolist())
    ]
    return f"""<?xml version="1.0" ?>
<Xdmf Version="3.0">
 <Domain>
  <Grid Name="run" GridType="Collection" CollectionType="Temporal">
{chr(10).join(grids)}
  </Grid>
 </Domain>
</Xdmf>
"""
