#!/usr/bin/env bash
# onnxruntime 1.31.1: the first session of a process decides for all what becomes of subnormal numbers, for numpy's as well.
#
# `session.set_denormal_as_zero` looks like an option of a session, as all are that a SessionOptions takes. It is applied once in a
# process, when the first session is made, and to the thread that makes it: a second session that asks for the opposite is not
# heard, either way round, and from then on this thread's own arithmetic, numpy's included, flushes subnormal numbers too, also
# after the session is gone. Seen, of 1e-40 x 1 in float32, each line a process of its own:
#
#     no session:             numpy 1e-40
#     first without:          session 1e-40, numpy 1e-40
#     first without, then with: session 1e-40, numpy 1e-40
#     first with:             session 0, numpy 0
#     first with, then without: session 0, numpy 0
#
# Exit status: 0 where it is still so, 1 where it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.31.1

cd "$folder"
cat > ask.py <<'PYTHON'
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

SMALL, ONE = np.full(8, 1e-40, np.float32), np.ones(8, np.float32)
values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [8]) for name in ("a", "b", "c")]
graph = helper.make_graph([helper.make_node("Mul", ["a", "b"], ["c"])], "graph", values[:2], values[2:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def product(option: str) -> float:
    """1e-40 x 1 by a session that is gone afterwards."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if option == "with":
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"]).run(None, {"a": SMALL, "b": ONE})[0].max()


last = [product(option) for option in sys.argv[1:]][-1:]
print(*(f"session {value:.1g}," for value in last), f"numpy {(SMALL * ONE).max():.1g}")
PYTHON
python3 - "$folder/venv/bin/python" <<'PYTHON'
import subprocess
import sys

ways = ((), ("without",), ("without", "with"), ("with",), ("with", "without"))
seen = []
for ordered in ways:
    done = subprocess.run([sys.argv[1], "ask.py", *ordered], capture_output=True, text=True, check=True)
    seen.append(done.stdout.strip())
    print(f"{'first ' + ', then '.join(ordered) if ordered else 'no session'}: {seen[-1]}")
kept, flushed = "session 1e-40, numpy 1e-40", "session 0, numpy 0"
sys.exit(0 if seen == ["numpy 1e-40", kept, kept, flushed, flushed] else 1)
PYTHON
