#!/usr/bin/env bash
# torch 2.13.0: a number divided by a tensor is no division but the tensor's reciprocal times the number, rounded twice.
#
# `255 / x` is `x.reciprocal() * 255`, for floats of any precision, where numpy divides, and so does torch where both sides are
# tensors or the tensor is above the line. A quarter of the quotients are off by their last bit, a number divided by itself is not
# always 1, and what is rounded down afterwards can be off by one. `torch.full_like(x, 255) / x` divides. Seen:
#
#     n / n for n from 1 to 9,999, float32: not 1 for 1,247 of them, the first 41
#     n / n for n from 1 to 9,999, float64: not 1 for 1,178 of them, the first 49
#     255 / x:                    2,388 of 9,999 are not numpy's
#     torch.full_like(x, 255) / x:    0 of 9,999 are not numpy's
#     x / 255:                        0 of 9,999 are not numpy's
#
# Exit status: 0 where it is still so, 1 where it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 torch==2.13.0

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import torch

still = True
for dtype in (torch.float32, torch.float64):
    numbers = torch.arange(1, 10_000, dtype=dtype)
    off = [int(n) for n in numbers.tolist() if float(n / torch.tensor(n, dtype=dtype)) != 1]
    print(f"n / n for n from 1 to 9,999, {str(dtype)[6:]}: not 1 for {len(off):,} of them, the first {off[0] if off else None}")
    still &= len(off) > 1000
x = torch.arange(1, 10_000, dtype=torch.float32)
ways = {
    "255 / x": (255 / x, np.float32(255) / x.numpy()),
    "torch.full_like(x, 255) / x": (torch.full_like(x, 255) / x, np.float32(255) / x.numpy()),
    "x / 255": (x / 255, x.numpy() / np.float32(255)),
}
counts = [int((torch_s.numpy() != numpy_s).sum()) for torch_s, numpy_s in ways.values()]
for name, count in zip(ways, counts, strict=True):
    print(f"{name + ':':<28} {count:>5,} of 9,999 are not numpy's")
sys.exit(0 if still and counts[0] > 2000 and counts[1:] == [0, 0] else 1)
PYTHON
