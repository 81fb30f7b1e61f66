#!/usr/bin/env bash
# onnxruntime 1.31.1, CPU: the sigmoid of -18 and of all below is exactly 0 in float32, and half wrong a little above.
#
# A sigmoid in float32 is good to some 1e-7 of itself down to -87, in numpy and in torch. onnxruntime's cuts its argument at 18 and
# adds a polynomial to a half, so that the error is 1e-7 of one and not of the result. Whatever takes the logarithm afterwards, as a
# loss or a score of a rare class does, gets -inf for -18, where -18 was to come. In float64 the same error is that of 1e-16. Seen, as
# sigmoid and log:
#
#     -5:   right 6.693e-03, onnxruntime 6.693e-03 (log -5.01), float64 6.693e-03
#     -14:  right 8.315e-07, onnxruntime 7.749e-07 (log -14.07), float64 8.315e-07
#     -17:  right 4.140e-08, onnxruntime 8.941e-08 (log -16.23), float64 4.140e-08
#     -18:  right 1.523e-08, onnxruntime 0.000e+00 (log -inf), float64 1.523e-08
#     -30:  right 9.358e-14, onnxruntime 0.000e+00 (log -inf), float64 9.348e-14
#
# The figures just above -18 are the processor's. Exit status: 0 where it is still so, 1 where it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.31.1

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

AT = np.array([-5, -14, -17, -18, -30])


def sigmoid(x: np.ndarray, kind: int) -> np.ndarray:
    """By onnxruntime, in the type of `x`."""
    values = [helper.make_tensor_value_info(name, kind, [len(x)]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Sigmoid", ["x"], ["y"])], "graph", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


right = 1 / (1 + np.exp(-AT.astype(float)))
by_numpy = 1 / (1 + np.exp(-AT.astype(np.float32)))
single, double = sigmoid(AT.astype(np.float32), TensorProto.FLOAT), sigmoid(AT.astype(float), TensorProto.DOUBLE)
for row in zip(AT, right, single, double):
    logarithm = np.log(row[2]) if row[2] else -np.inf
    print(f"{row[0]:>4}: right {row[1]:.3e}, onnxruntime {row[2]:.3e} (log {logarithm:.2f}), float64 {row[3]:.3e}")
off = abs(single / right - 1)
good = abs(double / right - 1).max() < 1e-2 and abs(by_numpy / right - 1).max() < 1e-6
sys.exit(0 if good and off[0] < 1e-4 and (off[1:3] > 0.02).all() and (single[3:] == 0).all() else 1)
PYTHON
