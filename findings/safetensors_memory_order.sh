#!/usr/bin/env bash
# safetensors 0.8.0, with numpy 2.4.6 and torch 2.13.0: `save_file` writes arrays as they lie in memory, not what they mean.
#
# `safetensors.numpy.save_file` writes a Fortran-ordered array's bytes under its C-ordered shape, and
# `safetensors.torch.save_file` leaves out a lazy conjugation or negation. Neither raises or warns; read back, the values
# differ. (Other non-contiguous torch tensors are refused, which is what one comes to expect.) Seen:
#
#     numpy, Fortran order: wrote [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]], read [[0.0, 3.0, 1.0], [4.0, 2.0, 5.0]]
#     torch, conj():        wrote [(1-2j), (3+4j)], read [(1+2j), (3-4j)]
#     torch, negated view:  wrote [-1.0, -2.0], read [1.0, 2.0]
#     torch, transposed:    refused
#
# Exit status: 0 where it is still so, 1 where it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6 torch==2.13.0

"$folder/venv/bin/python" -W error - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch

folder = Path(sys.argv[1])
same = []


def through(library, name, array):
    library.save_file({"a": array}, folder / "file.safetensors")
    back = library.load_file(folder / "file.safetensors")["a"]
    print(f"{name + ':':<21} wrote {array.tolist()}, read {back.tolist()}")
    same.append(array.tolist() == back.tolist())


z = torch.tensor([1 + 2j, 3 - 4j])
through(safetensors.numpy, "numpy, Fortran order", np.asfortranarray(np.arange(6.0).reshape(2, 3)))
through(safetensors.torch, "torch, conj()", z.conj())
through(safetensors.torch, "torch, negated view", torch._neg_view(torch.tensor([1.0, 2.0])))
try:
    through(safetensors.torch, "torch, transposed", torch.arange(6.0).view(2, 3).T)
    refused = False
except ValueError:
    print("torch, transposed:    refused")
    refused = True
sys.exit(0 if refused and not any(same) else 1)
PYTHON
