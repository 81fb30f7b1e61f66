"""The engine is small, quick to import, and needs torch, numpy and safetensors only."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOM = Path(__file__).parents[2] / "ernest" / "lcnet"

TIMED = """
import json, sys, time
import torch, numpy, safetensors
before, start = set(sys.modules), time.process_time()  # whoever else computes does not count
import ernest.lcnet
seconds = time.process_time() - start
print(json.dumps([seconds, sorted({name.split(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)]))
"""

ALONE = """
import sys

absent = ("PIL", "rich", "tyro", "tokenizers", "matplotlib", "sklearn", "scipy", "onnx", "onnxruntime", "openvino", "nncf")
sys.modules |= dict.fromkeys(absent)
import torch
from ernest import lcnet

network = lcnet.PPLCNet(lcnet.small_images(10)).eval()
lcnet.save(sys.argv[1], network)
with torch.no_grad():
    assert torch.equal(lcnet.load(sys.argv[1])(torch.ones(1, 3, 32, 32)), network(torch.ones(1, 3, 32, 32)))
try:
    lcnet.deploy(sys.argv[1], "onnx")
except ImportError as error:
    print(error)
"""


def test_import_takes_less_than_a_fifth_of_a_second_after_torch() -> None:
    runs = [json.loads(subprocess.run([sys.executable, "-c", TIMED], capture_output=True, check=True).stdout) for _ in range(3)]
    assert runs[0][1] == ["ernest"]
    assert statistics.median(seconds for seconds, _ in runs) < 0.2


def test_the_package_is_below_a_megabyte() -> None:
    files = [file for file in ROOM.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    assert {".py", ".cpp", ".h"} == {file.suffix for file in files}
    assert sum(file.stat().st_size for file in files) < 1_000_000


def test_without_any_extra_it_works_and_says_what_is_missing(tmp_path) -> None:
    done = subprocess.run([sys.executable, "-c", ALONE, tmp_path / "x"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pip install 'ernest-ai[deploy]'" in done.stdout
