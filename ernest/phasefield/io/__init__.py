"""Snapshots of a run, and the data files that hold them: numpy, HDF5 with XDMF, Zarr, NetCDF and VTK."""

from ernest.phasefield.io.files import read, write
from ernest.phasefield.io.snapshots import Snapshots, take_snapshots

__all__ = ["Snapshots", "read", "take_snapshots", "write"]
