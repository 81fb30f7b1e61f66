#!/usr/bin/env bash
# torch 2.13.0: fused SGD with momentum fails as soon as a parameter gets its first gradient later than another.
#
# A parameter without a gradient (None) is passed over by every optimiser of torch, and joins in when it has one: a branch that is
# not always taken, an expert that no token chose, a layer that thaws. `SGD(fused=True)` takes such a step as well as the plain one;
# at the first step in which some parameters have a momentum and others do not, it raises a TypeError that speaks of neither. Without
# momentum, with `foreach=True`, and in the fused AdamW and Adagrad it works, with the plain one's numbers. Seen, where the second
# parameter's gradients begin at step 3 of 4:
#
#     SGD, momentum 0.9, plain: ok        SGD, momentum 0.9, foreach: ok
#     SGD, momentum 0.9, fused: TypeError at step 3
#     SGD, fused: ok        AdamW, fused: ok        Adagrad, fused: ok
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
from torch.optim import SGD, Adagrad, AdamW


def steps(optimiser: type, **options: object) -> str:
    """Four of them, of two parameters, the second of which has no gradient in the first two."""
    parameters = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizer = optimiser(parameters, lr=0.1, **options)
    for step in (1, 2, 3, 4):
        parameters[0].grad = torch.full((3,), float(step))
        parameters[1].grad = torch.full((3,), float(step)) if step > 2 else None
        try:
            optimizer.step()
        except TypeError:
            return f"TypeError at step {step}"
    return "ok"


ways = {
    "SGD, momentum 0.9, plain": (SGD, {"momentum": 0.9, "foreach": False}),
    "SGD, momentum 0.9, foreach": (SGD, {"momentum": 0.9, "foreach": True}),
    "SGD, momentum 0.9, fused": (SGD, {"momentum": 0.9, "fused": True}),
    "SGD, fused": (SGD, {"fused": True}),
    "AdamW, fused": (AdamW, {"fused": True}),
    "Adagrad, fused": (Adagrad, {"fused": True}),
}
seen = {name: steps(optimiser, **options) for name, (optimiser, options) in ways.items()}
for name, found in seen.items():
    print(f"{name}: {found}")
expected = {name: "TypeError at step 3" if name == "SGD, momentum 0.9, fused" else "ok" for name in ways}
sys.exit(0 if seen == expected else 1)
PYTHON
