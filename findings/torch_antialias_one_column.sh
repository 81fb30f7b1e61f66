#!/usr/bin/env bash
# torch 2.13.0: `interpolate(antialias=True)` of a picture that is one column wide repeats its first value.
#
# Enlarged from two pixels to three, the middle one lies halfway. That is what a row gives, two equal columns, and the function
# without antialias; a single column gives the first pixel three times, without an error. Strips of one pixel do occur where
# pictures are cropped to a ratio of sides. Seen:
#
#     one column:               [156.0, 156.0, 156.0]
#     one column, no antialias: [156.0, 111.5, 67.0]
#     one row:                  [156.0, 111.5, 67.0]
#     two columns, the first:   [156.0, 111.5, 67.0]
#
# Exit status: 0 where it is still so, 1 where it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 torch==2.13.0

"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch
from torch.nn.functional import interpolate

column = torch.tensor([156.0, 67.0]).view(1, 1, 2, 1)
cases = {
    "one column": (column, (3, 1), True),
    "one column, no antialias": (column, (3, 1), False),
    "one row": (column.mT, (1, 3), True),
    "two columns, the first": (column.repeat(1, 1, 1, 2), (3, 2), True),
}
seen = []
for name, (picture, size, antialias) in cases.items():
    larger = interpolate(picture, size, mode="bilinear", antialias=antialias)[0, 0]
    seen.append((larger[0] if size[0] == 1 else larger[:, 0]).tolist())
    print(f"{name + ':':<25} {seen[-1]}")
right = [156.0, 111.5, 67.0]
sys.exit(0 if seen == [[156.0] * 3, right, right, right] else 1)
PYTHON
