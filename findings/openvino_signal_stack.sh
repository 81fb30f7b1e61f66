#!/usr/bin/env bash
# openvino 2026.4.1, Linux: the CPU plugin sets an alternate signal stack for the thread that compiles the first model, and frees
# its memory with the last reference to what it made. If another thread drops that reference, the first thread's signal stack is
# memory that is no longer mapped.
#
# Python runs its signal handlers' C part on the alternate stack where there is one, so that a thread in this state cannot take
# Ctrl-C. Dropped by the thread that compiled, the stack of before comes back. A Core that is kept until the process ends avoids
# it. Seen (only looked at; no signal is sent):
#
#     after the import:           none
#     compiled:                   20144 bytes, mapped
#     released by this thread:    none
#     compiled:                   20144 bytes, mapped
#     released by another thread: 20144 bytes, not mapped
#
# The number of bytes is the processor's. Exit status: 0 where it is still so, 1 where it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 openvino==2026.4.1

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import ctypes
import gc
import sys
import threading

import numpy as np
import openvino
from openvino import opset13 as ops


class Stack(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]


def look(when: str) -> str:
    """The alternate signal stack of this thread, in words, without the number of bytes."""
    stack = Stack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    if not stack.start:
        print(f"{when + ':':<27} none")
        return "none"
    with open("/proc/self/maps") as file:
        spans = [[int(end, 16) for end in line.split()[0].split("-")] for line in file]
    words = "mapped" if any(start <= stack.start < end for start, end in spans) else "not mapped"
    print(f"{when + ':':<27} {stack.size} bytes, {words}")
    return words


def compiled() -> list:
    numbers = ops.parameter([1, 4], np.float32)
    core = openvino.Core()
    return [core, core.compile_model(openvino.Model([ops.relu(numbers)], [numbers]), "CPU")]


def release() -> None:
    made.clear()
    gc.collect()


seen = [look("after the import")]
for another in (False, True):
    made = compiled()
    seen.append(look("compiled"))
    if another:
        thread = threading.Thread(target=release)
        thread.start()
        thread.join()
    else:
        release()
    seen.append(look(f"released by {'another' if another else 'this'} thread"))
sys.exit(0 if seen == ["none", "mapped", "none", "mapped", "not mapped"] else 1)
PYTHON
