#!/usr/bin/env bash
# onnx 1.23.2: a model saved again over itself keeps the old weights in its file of external data, which grows.
#
# `save_model(..., save_as_external_data=True, location="model.bin")` refuses a file of weights that exists, since it would write
# behind its end; but it looks for it in the working folder, and writes it into that of the model. So from elsewhere
# `models/model.bin` grows with each saving: the model reads the newest weights, at an offset, and nothing is wrong but the size. A
# loop that keeps its best model fills the disk, and old weights go along with new ones. And a `model.bin` that has to do with
# nothing, where the program happens to run, is refused. Seen, for a matrix of 512 x 512 float32 (1,048,576 bytes) and ever other
# values:
#
#     models/model.onnx, saved 1 time:  1,048,576 bytes, loaded right: True
#     models/model.onnx, saved 2 times: 2,097,152 bytes, loaded right: True
#     models/model.onnx, saved 3 times: 3,145,728 bytes, loaded right: True
#     other/model.onnx, never saved, with a model.bin in the working folder: FileExistsError
#
# Exit status: 0 where it is still so, 1 where it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 512


def model(value: int) -> onnx.ModelProto:
    """y = x W, all of W one value."""
    weights = numpy_helper.from_array(np.full((SIDE, SIDE), value, np.float32), "W")
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, SIDE]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "W"], ["y"])], "graph", sides[:1], sides[1:], [weights])
    return helper.make_model(graph)


def save(folder: str, value: int) -> None:
    os.makedirs(folder, exist_ok=True)
    onnx.save_model(model(value), f"{folder}/model.onnx", save_as_external_data=True, location="model.bin", size_threshold=0)


sizes, right = [], []
for time in (1, 2, 3):
    save("models", time)
    sizes.append(os.path.getsize("models/model.bin"))
    loaded = numpy_helper.to_array(onnx.load("models/model.onnx").graph.initializer[0])
    right.append(bool((loaded == time).all()))
    saved = f"models/model.onnx, saved {time} time{'s' if time > 1 else ''}:"
    print(f"{saved:<33} {sizes[-1]:,} bytes, loaded right: {right[-1]}")
open("model.bin", "w").close()
try:
    save("other", 1)
    refused = "saved"
except FileExistsError:
    refused = "FileExistsError"
print(f"other/model.onnx, never saved, with a model.bin in the working folder: {refused}")
one = 4 * SIDE * SIDE
sys.exit(0 if sizes == [one, 2 * one, 3 * one] and all(right) and refused == "FileExistsError" else 1)
PYTHON
