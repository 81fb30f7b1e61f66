"""Importing Ernest is quick and does nothing. Each test looks at a fresh interpreter, where nothing is loaded yet."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.optional import MADE_OF

ROOT = Path(__file__).parents[1]
COMPILED = {f"ernest.phasefield.compiled.{name}kernels" for name in ("", "coarse_", "exponential_", "inspection_")}
"""Made of an optional library, and imported by the function that wants it where that library is."""
MODULES = sorted(
    {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in (ROOT / "ernest").rglob("*.py")}
    - COMPILED
    - MADE_OF
)
HEAVY = (
    "av",
    "espeakng_loader",
    "h5py",
    "matplotlib",
    "nncf",
    "netCDF4",
    "numba",
    "onnx",
    "onnxruntime",
    "openvino",
    "pyfftw",
    "scipy",
    "sklearn",
    "soundfile",
    "tensorboard",
    "transformers",
    "zarr",
)
"""Wanted by single functions only, which import them when they are called."""

TIMED = """
import json, sys, time
start = time.perf_counter()
import {module}
print(json.dumps({{"milliseconds": 1000 * (time.perf_counter() - start), "loaded": sorted(sys.modules)}}))
"""

WATCHED = """
import contextlib, importlib, io, json, os, random, sys, threading, warnings
import numpy, torch

def state():
    return {
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads(), threading.active_count()),
        "torch": (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_float32_matmul_precision()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "random state": (random.getstate(), str(numpy.random.get_state()), torch.get_rng_state().tolist()),
        "environment": dict(os.environ),
        "working folder": os.getcwd(),
        "warning filters": list(warnings.filters),
    }

faults = []
for module in json.loads(sys.argv[1]):
    before, printed = state(), io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            importlib.import_module(module)
    except Exception as error:
        faults.append(f"importing {module} failed: {error!r}")
    after = state()
    faults += [f"importing {module} changed: {what}" for what in before if before[what] != after[what]]
    if printed.getvalue():
        faults.append(f"importing {module} printed: {printed.getvalue()!r}")
print(json.dumps({"faults": faults, "loaded": sorted(sys.modules)}))
"""


def fresh(program: str, *arguments: str) -> dict:
    """Run `program` in a new interpreter and return the JSON that is its last line."""
    done = subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def rooms(loaded: list[str]) -> set[str]:
    """The rooms of Ernest among the loaded modules."""
    return {name.split(".")[1] for name in loaded if name.startswith("ernest.")}


def test_import_ernest_is_quick_and_loads_no_torch():
    runs = [fresh(TIMED.format(module="ernest")) for _ in range(5)]
    assert "torch" not in runs[0]["loaded"]
    assert "numpy" not in runs[0]["loaded"]
    assert statistics.median(run["milliseconds"] for run in runs) < 50


def test_what_a_run_can_set_loads_no_torch():
    for module in [name for name in MODULES if name.startswith("ernest.config")]:
        assert not {"torch", "numpy"} & set(fresh(TIMED.format(module=module))["loaded"]), module


# The command line sets the environment that torch reads once, so it must be importable before torch.
@pytest.mark.parametrize("module", [name for name in MODULES if name == "ernest.cli"])
def test_the_command_line_loads_torch_only_when_it_runs(module):
    assert "torch" not in fresh(TIMED.format(module=module))["loaded"]


@pytest.mark.parametrize("leaf", [name for name in MODULES if name in ("ernest.lcnet", "ernest.phasefield", "ernest.sequence")])
def test_a_leaf_loads_nothing_but_the_ground_floor_torch_and_numpy(leaf):
    inside = [name for name in MODULES if name.startswith(leaf)]
    loaded = fresh(WATCHED, json.dumps(inside))["loaded"]
    assert rooms(loaded) - {"storage", "device", "overrides"} == {leaf.split(".")[1]}
    assert not {"PIL", "rich", "tokenizers", "tyro", *HEAVY} & set(loaded)


def test_no_module_does_anything_when_imported():
    # Rich draws from the random module when it is imported, which is its own affair.
    seen = fresh("import rich.style\n" + WATCHED, json.dumps(MODULES))
    assert not seen["faults"], "\n".join(seen["faults"])
    assert not set(HEAVY) & set(seen["loaded"])
