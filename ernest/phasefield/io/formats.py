"""Writes and reads snapshots as numpy archives, HDF5 with XDMF, Zarr and NetCDF.

The last three hold the same content: `time` [n], the field `u` [n, z, y, x] with its axes in the order that these formats and
their viewers expect, the reverse of Ernest's, a group `histories`, and grid and facts as JSON in the attribute `phasefield`.
"""

from pathlib import Path
from typing import Any

import numpy as np

from ernest.phasefield.io.snapshots import Snapshots, grid_and_facts
from ernest.storage import write_file


def write_npz(path: Path, snapshots: Snapshots) -> None:
    """Writes a numpy archive: `times`, `fields` [n, x, y, z], every history as `history_NAME`, and the `header`."""
    arrays: dict[str, Any] = {f"history_{name}": values for name, values in snapshots.histories.items()}
    arrays |= {"times": snapshots.times, "fields": snapshots.fields, "header": np.array(snapshots.header())}
    with write_file(path, snapshots.fields.nbytes) as aside:
        np.savez(aside, **arrays)


def read_npz(path: Path) -> Snapshots:
    """The snapshots of a numpy archive."""
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        grid, facts = grid_and_facts(str(file["header"]))
        names = [name for name in file.files if name.startswith("history_")]
        histories = {name.removeprefix("history_"): file[name] for name in names}
        return Snapshots(file["times"], file["fields"], grid, histories, facts)


def write_hdf5(path: Path, snapshots: Snapshots) -> None:
    """Writes HDF5, and beside it an XDMF file that tells ParaView the grid and the times."""
    import h5py

    with write_file(path, snapshots.fields.nbytes) as aside:
        with h5py.File(aside, "w") as file:
            file.attrs["phasefield"] = snapshots.header()
            file["time"], file["u"] = snapshots.times, _reverse_axes(snapshots.fields)
            for name, values in snapshots.histories.items():
                file[f"histories/{name}"] = values
        aside.with_suffix(".xdmf").write_text(_xdmf(path.name, snapshots))


def read_hdf5(path: Path) -> Snapshots:
    """The snapshots of an HDF5 file."""
    import h5py

    with h5py.File(path, "r") as file:
        grid, facts = grid_and_facts(str(file.attrs["phasefield"]))
        histories: Any = file.get("histories", {})
        values = {name: np.asarray(history) for name, history in histories.items()}
        return Snapshots(np.asarray(file["time"]), _reverse_axes(np.asarray(file["u"])), grid, values, facts)


def write_zarr(path: Path, snapshots: Snapshots) -> None:
    """Writes a folder in Zarr's format, one chunk for each time."""
    import zarr

    with write_file(path, snapshots.fields.nbytes) as aside:
        group = zarr.open_group(str(aside), mode="w")
        group.attrs["phasefield"] = snapshots.header()
        group.create_array("time", data=snapshots.times, dimension_names=["time"])
        fields = _reverse_axes(snapshots.fields)
        group.create_array("u", data=fields, chunks=(1, *fields.shape[1:]), dimension_names=_dimensions(snapshots))
        for name, values in snapshots.histories.items():
            group.create_array(f"histories/{name}", data=values)


def read_zarr(path: Path) -> Snapshots:
    """The snapshots of a Zarr folder."""
    import zarr

    group: Any = zarr.open_group(str(path), mode="r")
    grid, facts = grid_and_facts(str(group.attrs["phasefield"]))
    histories = {name: np.asarray(values[:]) for name, values in group["histories"].arrays()} if "histories" in group else {}
    return Snapshots(np.asarray(group["time"][:]), _reverse_axes(np.asarray(group["u"][:])), grid, histories, facts)


def write_netcdf(path: Path, snapshots: Snapshots) -> None:
    """Writes NetCDF-4 with the coordinates of every axis."""
    import netCDF4

    with write_file(path, snapshots.fields.nbytes) as aside, netCDF4.Dataset(str(aside), "w") as file:
        file.phasefield = snapshots.header()
        axes = zip("xyz", snapshots.grid.lines(), strict=False)
        for name, values in (("time", snapshots.times), *((name, line.numpy()) for name, line in axes)):
            _variable(file, name, (name,), values)
        _variable(file, "u", _dimensions(snapshots), _reverse_axes(snapshots.fields))
        histories = file.createGroup("histories")
        for name, values in snapshots.histories.items():
            _variable(histories, name, (f"{name}_steps",), values)


def read_netcdf(path: Path) -> Snapshots:
    """The snapshots of a NetCDF file."""
    import netCDF4

    with netCDF4.Dataset(str(path)) as file:
        file.set_auto_mask(False)
        grid, facts = grid_and_facts(file.phasefield)
        histories = {name: np.asarray(values[:]) for name, values in file["histories"].variables.items()}
        return Snapshots(np.asarray(file["time"][:]), _reverse_axes(np.asarray(file["u"][:])), grid, histories, facts)


def _reverse_axes(fields: np.ndarray) -> np.ndarray:
    """Fields `[n, x, y, z]` as `[n, z, y, x]`, or the other way round."""
    return np.ascontiguousarray(fields.transpose(0, *range(fields.ndim - 1, 0, -1)))


def _dimensions(snapshots: Snapshots) -> tuple[str, ...]:
    """Names of the axes of fields `[n, z, y, x]`."""
    return ("time", *reversed("xyz"[: snapshots.grid.dimensions]))


def _variable(group: Any, name: str, dimensions: tuple[str, ...], values: np.ndarray) -> None:
    """A NetCDF variable, with those of its dimensions that are not there yet."""
    for dimension, size in zip(dimensions, values.shape, strict=True):
        if dimension not in group.dimensions:
            group.createDimension(dimension, size)
    group.createVariable(name, values.dtype, dimensions)[:] = values


def _xdmf(data: str, snapshots: Snapshots) -> str:
    """The description of `u` in the HDF5 file `data`: a regular grid of three dimensions for each time."""
    sizes = snapshots.grid.points[::-1]
    box = " ".join(map(str, (1,) * (3 - len(sizes)) + sizes))
    lines = [line.tolist() for line in snapshots.grid.lines()] + [[0.0, 1.0]] * (3 - len(sizes))
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
      <DataItem {whole} {number}>{data}:/u</DataItem>
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
