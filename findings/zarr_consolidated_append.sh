#!/usr/bin/env bash
# zarr 3.1.6 and xarray 2026.9.0: what is appended to an array of a consolidated group is lost with the next change to it.
#
# xarray's `to_zarr` consolidates: it writes a copy of all metadata into the group's own. zarr-python 3 reads that copy wherever a
# group is opened (version 2 had `open_consolidated` for it), and changes it nowhere. So `group["x"]` still has its old length after
# `group["x"].append(...)`, through the same group too; and since each `group["x"]` begins with the copy, a second append goes to the
# same place as the first, and an attribute that is set takes the array back to its old length. No error, no warning. An array kept
# in a variable, or a group opened with `use_consolidated=False`, is right. Seen, of 1, 2, 3 on disk:
#
#     append 4:                         on disk [1, 2, 3, 4], by the group [1, 2, 3]
#     append 4, append 5:               on disk [1, 2, 3, 5], by the group [1, 2, 3]
#     append 4, set an attribute:       on disk [1, 2, 3], by the group [1, 2, 3]
#     append 4, append 5, one variable: on disk [1, 2, 3, 4, 5], by the group [1, 2, 3]
#     append 4, append 5, not consolidated: on disk [1, 2, 3, 4, 5], by the group [1, 2, 3, 4, 5]
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


def append(array: zarr.Array, value: int) -> None:
    array.append(np.array([value]))


def twice(group: zarr.Group) -> None:
    append(group["x"], 4)
    append(group["x"], 5)


def attribute(group: zarr.Group) -> None:
    append(group["x"], 4)
    group["x"].attrs["unit"] = "m"


def variable(group: zarr.Group) -> None:
    array = group["x"]
    append(array, 4)
    append(array, 5)


ways = {
    "append 4": (lambda group: append(group["x"], 4), None),
    "append 4, append 5": (twice, None),
    "append 4, set an attribute": (attribute, None),
    "append 4, append 5, one variable": (variable, None),
    "append 4, append 5, not consolidated": (twice, False),
}
seen = []
for number, (name, (change, consolidated)) in enumerate(ways.items()):
    path = f"{number}.zarr"
    xarray.Dataset({"x": ("time", [1, 2, 3])}).to_zarr(path)
    group = zarr.open_group(path, mode="r+", use_consolidated=consolidated)
    change(group)
    seen.append((zarr.open_array(f"{path}/x")[:].tolist(), group["x"][:].tolist()))
    print(f"{name + ':':<34} on disk {seen[-1][0]}, by the group {seen[-1][1]}")
old = [1, 2, 3]
expected = [([*old, 4], old), ([*old, 5], old), (old, old), ([*old, 4, 5], old), ([*old, 4, 5], [*old, 4, 5])]
sys.exit(0 if seen == expected else 1)
PYTHON
