#!/usr/bin/env bash
# torch 2.13.0, CPU, two processes over gloo: FSDP2 asked for sums of gradients instead of means fails, until it is told twice.
#
# `set_gradient_divide_factor(1.0)` reads like "sums, please", the plainest reduction there is. FSDP2 makes of any factor other
# than the group's size a reduction that multiplies first (PREMUL_SUM), also of 1.0, which gloo does not have. Only with
# `set_force_sum_reduction_for_comms(True)` beside it are they sums. Means, the default, do work on gloo. Seen:
#
#     mean: 2 2 2 2
#     factor 1: RuntimeError, Cannot use ReduceOp.PREMUL_SUM with Gloo
#     factor 1, sums forced: 4 4 4 4
#
# Exit status: 0 where it is still so, 1 where it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 torch==2.13.0

cd "$folder"
cat > sums.py <<'PYTHON'
import sys

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

dist.init_process_group("gloo")
rank = dist.get_rank()
mesh = init_device_mesh("cpu", (2,))


def gradient(factor: float | None, forced: bool) -> str:
    """Of sum(w x) for x = 1 in the first process and 3 in the second: the mean is 2, the sum 4."""
    layer = torch.nn.Linear(4, 1, bias=False)
    fully_shard(layer, mesh=mesh)
    if factor is not None:
        layer.set_gradient_divide_factor(factor)
    layer.set_force_sum_reduction_for_comms(forced)
    try:
        layer(torch.full((1, 4), 1.0 + 2 * rank)).sum().backward()
    except RuntimeError as error:
        return f"RuntimeError, {str(error).splitlines()[0]}"
    return " ".join(f"{value:g}" for value in layer.weight.grad.full_tensor()[0].tolist())


found = {
    "mean": gradient(None, False),
    "factor 1, sums forced": gradient(1.0, True),
    "factor 1": gradient(1.0, False),
}
if rank == 0:
    for name, value in found.items():
        print(f"{name}: {value}", flush=True)
expected = {"mean": "2 2 2 2", "factor 1, sums forced": "4 4 4 4"}
still = all(found[name] == value for name, value in expected.items()) and "PREMUL_SUM" in found["factor 1"]
sys.exit(0 if still else 1)
PYTHON
OMP_NUM_THREADS=1 "$folder/venv/bin/torchrun" --standalone --nproc-per-node 2 sums.py
