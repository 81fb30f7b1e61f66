"""One thread or many: the same bits, also on a busy machine, and no fault that a sanitizer can see."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ernest.lcnet import PUBLISHED, Architecture, PPLCNet
from ernest.lcnet.native import Executor, Precision, available, build
from tests.lcnet.networks import with_statistics

PRECISIONS: list[Precision] = ["fp32", *(["bf16"] if "amx" in available() else [])]
SANITIZERS = {"ASAN_OPTIONS": "detect_leaks=1", "TSAN_OPTIONS": "halt_on_error=1"}


def network(architecture: Architecture) -> PPLCNet:
    torch.manual_seed(0)
    return with_statistics(PPLCNet(architecture))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("architecture", [Architecture(20, 0.35), replace(PUBLISHED["PPLCNetV2_small"], classes=20, scale=0.5)])
def test_any_number_of_threads_gives_the_same_bits(architecture: Architecture, precision: Precision) -> None:
    """Threads share rows, channels and tiles in other ways, but every number is made by the same operations in one order."""
    eager = network(architecture)
    images = torch.randn(2, 3, 100, 76, generator=torch.Generator().manual_seed(1))
    alone = Executor(eager, precision, threads=1)(images)
    for threads in (2, 3, 8):
        assert torch.equal(Executor(eager, precision, threads=threads)(images), alone)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_many_runs_beside_others_are_all_the_same(precision: Precision) -> None:
    """More threads than processors: most of the time some of them are put aside in the middle of a phase."""
    run = Executor(network(Architecture(10, 0.25)), precision, threads=2 * (os.cpu_count() or 1) + 2)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    first = run(images)
    assert all(torch.equal(run(images), first) for _ in range(1000))


def test_a_forked_process_may_go_away() -> None:
    """It has no helpers, runs alone, and closing its copy must not wait for threads that it has not."""
    script = "import os, torch; from ernest.lcnet import *; from ernest.lcnet.native import Executor\n" + (
        "run = Executor(PPLCNet(Architecture(5, 0.25)).eval(), threads=3)\n"
        "images = torch.zeros(1, 3, 64, 64); first = run(images)\n"
        "child = os.fork()\n"
        "if child == 0: same = torch.equal(run(images), first); del run; os._exit(0 if same else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0 and torch.equal(run(images), first)\n"
    )
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120, env=environment)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("sanitizer", ["address", "thread", pytest.param("undefined", marks=pytest.mark.long)])
def test_sanitizers_have_nothing_to_say(sanitizer: str, tmp_path: Path) -> None:
    """The whole executor in a small program of its own, whose loads and stores are all there without optimisation, which is also
    built in a third of the time. Tiles are loaded by instructions that no sanitizer sees."""
    best = next(name for name in available() if name != "amx" or sanitizer != "thread")
    program = tmp_path / "driver"
    flags = [flag for flag in build.flags(best) if flag not in ("-O3", "-shared")]
    source = [f"-I{build.SOURCE}", str(Path(__file__).with_name("driver.cpp")), "-o", str(program)]
    command = [*build.compiler(), *flags, "-O0", "-g1", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all", *source]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode and any(name in built.stderr for name in ("asan", "tsan", "ubsan")):
        pytest.skip(f"the compiler has no {sanitizer} sanitizer")
    assert built.returncode == 0, built.stderr[:2000]
    for precision in (0, 1):
        environment = os.environ | SANITIZERS
        ran = subprocess.run([program, str(precision)], capture_output=True, text=True, check=False, env=environment)
        if ran.returncode == 2 and precision == 1:
            continue  # this set has no bf16 products
        assert ran.returncode == 0, ran.stderr[:3000]
        assert ran.stdout == "0 different\n"
