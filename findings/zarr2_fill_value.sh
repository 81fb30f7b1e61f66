#!/usr/bin/env bash
# zarr 3.1.6 and xarray 2026.9.0: zeros that zarr-python writes in format 2 are read by xarray as missing numbers.
#
# An array has a fill value, what a reader sees in chunks that were never written, and zarr-python sets it to 0 unless told. Of
# format 2, xarray takes it for the mark of missing values, as `_FillValue` of netCDF is: each 0 becomes nan, and whole numbers
# become floats. Without a fill value (None) the numbers come back. Format 3 is read as it was written. Seen:
#
#     format 2, by default:      float64 [nan, 1.0, 2.0]
#     format 2, fill_value=None: int64 [0, 1, 2]
#     format 3, by default:      int64 [0, 1, 2]
#
# Exit status: 0 where it is still so, 1 where it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 zarr==3.1.6 xarray==2026.9.0

cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import numpy as np
import xarray
import zarr

cases = (
    ("format 2, by default", 2, {}),
    ("format 2, fill_value=None", 2, {"fill_value": None}),
    ("format 3, by default", 3, {}),
)
seen = []
for number, (name, version, options) in enumerate(cases):
    group = zarr.open_group(f"{number}.zarr", mode="w", zarr_format=version)
    names = {"dimension_names": ["x"]} if version == 3 else {"attributes": {"_ARRAY_DIMENSIONS": ["x"]}}
    array = group.create_array("counts", shape=(3,), dtype="int64", **names, **options)
    array[:] = np.arange(3)
    found = xarray.open_zarr(f"{number}.zarr", consolidated=False)["counts"]
    print(f"{name + ':':<26} {found.dtype} {found.values.tolist()}")
    seen.append(str(found.dtype))
sys.exit(0 if seen == ["float64", "int64", "int64"] else 1)
PYTHON
