#!/usr/bin/env bash
# torch 2.13.0, CPU: the norm of a long float32 tensor is too small, by 2 % for 67 million equal numbers.
#
# `Tensor.norm`, `torch.linalg.vector_norm` and what stands on them (`clip_grad_norm_`) add the squares one after the other in as
# many float32 sums as a vector register has lanes, while `sum` adds in a tree. A long sum no longer takes small squares in full.
# `(x * x).sum().sqrt()` and `x.norm(dtype=torch.float64)` are right. Seen, relative errors against float64:
#
#     1,048,576 equal numbers:    norm -6.0e-04, root of the sum of squares +1.2e-07
#     16,777,216 equal numbers:   norm -1.0e-02, root of the sum of squares -4.0e-11
#     67,108,864 equal numbers:   norm -2.0e-02, root of the sum of squares +1.2e-07
#     67,108,864 normal numbers:  norm -5.4e-03, root of the sum of squares +4.8e-08
#
# The figures of the norm are the processor's (here 16 lanes). Exit status: 0 where it is still so, 1 where it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 torch==2.13.0

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch

torch.set_num_threads(1)


def errors(name: str, x: torch.Tensor) -> tuple[float, float]:
    """Relative errors of the norm and of the root of the sum of squares."""
    right = float(x.double().norm())
    norm, root = float(x.norm()) / right - 1, float((x * x).sum().sqrt()) / right - 1
    print(f"{f'{len(x):,} {name} numbers:':<27} norm {norm:+.1e}, root of the sum of squares {root:+.1e}")
    return norm, root


seen = [errors("equal", torch.full((count,), 1e-3)) for count in (2**20, 2**24, 2**26)]
seen.append(errors("normal", 1e-3 * torch.randn(2**26, generator=torch.Generator().manual_seed(0))))
sys.exit(0 if all(norm < -1e-4 and abs(root) < 1e-6 for norm, root in seen) else 1)
PYTHON
