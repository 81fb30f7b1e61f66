#!/usr/bin/env bash
# pyarrow 26.0.1: asked for rows that are not "dog", parquet leaves those out that say nothing; asked for rows not in ["dog"], it
# keeps them.
#
# Filters of `read_table` are (column, sign, value). "!=" follows SQL: nothing compared with a value is neither true nor false, and the
# row is left out. "not in" with a list of that one value, which SQL defines as the same, keeps it. So a filter that is extended by a
# second value suddenly brings rows without any. Expressions of `pyarrow.compute` behave alike. Seen, of "dog", "cat" and a null:
#
#     x != "dog":          ['cat']
#     x not in ["dog"]:    ['cat', None]
#     ~(field == "dog"):   ['cat']
#     ~field.isin(["dog"]): ['cat', None]
#
# Exit status: 0 where it is still so, 1 where it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 pyarrow==26.0.1

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import pyarrow
import pyarrow.compute as compute
import pyarrow.parquet as parquet

parquet.write_table(pyarrow.table({"x": ["dog", "cat", None]}), "animals.parquet")
field = compute.field("x")
ways = {
    'x != "dog"': [("x", "!=", "dog")],
    'x not in ["dog"]': [("x", "not in", ["dog"])],
    '~(field == "dog")': ~(field == "dog"),
    '~field.isin(["dog"])': ~field.isin(["dog"]),
}
seen = []
for name, filters in ways.items():
    seen.append(parquet.read_table("animals.parquet", filters=filters)["x"].to_pylist())
    print(f"{name + ':':<22} {seen[-1]}")
sys.exit(0 if seen == [["cat"], ["cat", None]] * 2 else 1)
PYTHON
