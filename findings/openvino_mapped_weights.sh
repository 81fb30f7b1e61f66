#!/usr/bin/env bash
# openvino 2026.4.1: a compiled model goes on reading its weights from the .bin file, so that copying a new one over it changes
# the answers of a model that is open.
#
# `read_model` maps the file, and the CPU plugin uses the constants where they lie. `cp new.bin model.bin` writes into the same
# file, and the model answers with the new weights, without an error. With the property ENABLE_MMAP at False the file is read, and
# the answers stay. Seen:
#
#     mapped: 3.0 before, 6.0 after the file was overwritten
#     read:   3.0 before, 3.0 after the file was overwritten
#
# Exit status: 0 where it is still so, 1 where it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 openvino==2026.4.1

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import shutil
import sys

import numpy as np
import openvino
from openvino import opset13 as ops


def write(name: str, value: float) -> None:
    images = ops.parameter([1, 8], np.float32)
    total = ops.add(images, ops.constant(np.full((1, 8), value, np.float32)))
    openvino.save_model(openvino.Model([total], [images]), f"{name}.xml", compress_to_fp16=False)


seen = []
for name, mapped in (("mapped", True), ("read", False)):
    write(name, 2.0)
    write("new", 5.0)
    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": mapped})
    model = core.compile_model(f"{name}.xml", "CPU")
    ones = np.ones((1, 8), np.float32)
    before = float(model(ones)[0][0, 0])
    shutil.copyfile("new.bin", f"{name}.bin")
    after = float(model(ones)[0][0, 0])
    print(f"{name + ':':<7} {before} before, {after} after the file was overwritten")
    seen.append((before, after))
sys.exit(0 if seen == [(3.0, 6.0), (3.0, 3.0)] else 1)
PYTHON
