#!/usr/bin/env bash
# torch 2.13.0, CPU: a convolution of one small image is another computation than the same image among two or more.
#
# `conv2d` with a kernel of 3x3 goes to oneDNN for two images and to PyTorch's own matrix product for one of at most 20,480
# numbers, so that the last bits of an image's result depend on whether it comes alone. From two images on, what is beside an
# image changes no bit of it. Features stored one by one and computed in batches are therefore not the same bits. Seen, one
# thread, greatest difference of the first image alone and among eight:
#
#     16 x  4 x  4: 1.1e-05      16 x 32 x 32: 2.7e-05
#     16 x 16 x 16: 1.9e-05      16 x 48 x 48: 0.0e+00 (more than 20,480 numbers)
#     among two ÷ among eight, all sizes: 0.0e+00
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

import torch
from torch.nn.functional import conv2d

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
weight, bias = torch.randn(16, 16, 3, 3, generator=generator), torch.randn(16, generator=generator)
alone, among_two = {}, {}
for size in (4, 16, 32, 48):
    images = torch.randn(8, 16, size, size, generator=generator)
    together = conv2d(images, weight, bias, padding=1)
    alone[size] = float((conv2d(images[:1], weight, bias, padding=1) - together[:1]).abs().max())
    among_two[size] = float((conv2d(images[:2], weight, bias, padding=1) - together[:2]).abs().max())
    print(f"16 x {size} x {size}: alone {alone[size]:.1e}, among two {among_two[size]:.1e}")
still = all(alone[size] > 0 for size in (4, 16, 32)) and alone[48] == 0 and not any(among_two.values())
sys.exit(0 if still else 1)
PYTHON
