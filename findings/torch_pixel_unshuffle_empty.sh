#!/usr/bin/env bash
# torch 2.13.0: `pixel_unshuffle` of an empty batch keeps the input's shape instead of unshuffling it.
#
# For N images `[N, 3, 8, 8]` and a factor of 4, the result is `[N, 48, 2, 2]`; for N = 0 it is `[0, 3, 8, 8]`, without an
# error, so what fails is a layer further on. `pixel_shuffle`, its inverse, gets it right. Seen:
#
#     pixel_unshuffle of 1: [1, 48, 2, 2], of 0: [0, 3, 8, 8]
#     pixel_shuffle   of 1: [1, 3, 8, 8], of 0: [0, 3, 8, 8]
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
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

seen = {}
for function, shape in ((pixel_unshuffle, (3, 8, 8)), (pixel_shuffle, (48, 2, 2))):
    one, none = (list(function(torch.zeros(count, *shape), 4).shape) for count in (1, 0))
    print(f"{function.__name__:<15} of 1: {one}, of 0: {none}")
    seen[function.__name__] = one, none
expected = {"pixel_unshuffle": ([1, 48, 2, 2], [0, 3, 8, 8]), "pixel_shuffle": ([1, 3, 8, 8], [0, 3, 8, 8])}
sys.exit(0 if seen == expected else 1)
PYTHON
