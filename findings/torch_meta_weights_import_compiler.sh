#!/usr/bin/env bash
# torch 2.13.0: drawing the weights of a layer on the meta device imports torch's compiler.
#
# On the meta device there are no values, so that building a network there is the usual way to learn its shapes in no time. An
# empty layer costs nothing, but the first random number, which `nn.Conv2d` and `kaiming_normal_` draw, imports `torch._dynamo`
# and sympy, which takes seconds. Seen (times differ by machine):
#
#     an empty tensor: torch._dynamo imported: False, sympy: False
#     kaiming_normal_: torch._dynamo imported: True, sympy: True
#
# Exit status: 0 where it is still so, 1 where it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 torch==2.13.0

"$folder/venv/bin/python" - <<'PYTHON'
import sys
import time

import torch

seen = []


def tell(name: str) -> None:
    seen.append(("torch._dynamo" in sys.modules, "sympy" in sys.modules))
    print(f"{name}: torch._dynamo imported: {seen[-1][0]}, sympy: {seen[-1][1]}")


with torch.device("meta"):
    weight = torch.empty(8, 3, 3, 3)
tell("an empty tensor")
start = time.perf_counter()
torch.nn.init.kaiming_normal_(weight)
tell("kaiming_normal_")
print(f"{time.perf_counter() - start:.1f} s for it")
sys.exit(0 if seen == [(False, False), (True, True)] else 1)
PYTHON
