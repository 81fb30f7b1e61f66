"""Snapshots of a run, and the data files that hold them: numpy, HDF5 with XDMF, Zarr, NetCDF and VTK."""
