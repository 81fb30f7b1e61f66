"""Compiling at first use: kept, safe beside others, and a plain answer where the compiler fails."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ernest.lcnet import Architecture, PPLCNet, fold
from ernest.lcnet.native import Executor, available, build

SMALL = Architecture(classes=5, scale=0.25, head_width=0)
BUILD = "from ernest.lcnet.native import build; build.library('generic', 'peak.cpp')"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "ernest" / "lcnet"


def compiler(path: Path, script: str) -> str:
    """A program in place of the compiler."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def works_in_plain_pytorch(precision: str) -> None:
    torch.manual_seed(0)
    eager = PPLCNet(SMALL).eval()
    images = torch.randn(2, 3, 32, 32)
    with pytest.warns(RuntimeWarning, match="running in plain PyTorch, several times slower") as warned:
        run = Executor(eager, precision)
    assert len(warned) == 1
    assert (run.compiled, run.instructions) == (False, "plain PyTorch")
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        expected = fold(eager)(images).float()
    assert torch.equal(run(images), expected)
    with pytest.raises(RuntimeError, match="only the compiled executor knows"):
        run.layers(images)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_without_a_compiler(precision: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if precision == "bf16" and not {"amx"} & set(available()):
        pytest.skip("bf16 runs as fp32 on this processor")
    monkeypatch.setenv("CXX", "/nowhere/c++")
    with pytest.raises(build.BuildError, match="no C\\+\\+ compiler: CXX=/nowhere/c\\+\\+ was not found"):
        build.library("generic")
    works_in_plain_pytorch(precision)
    assert not directory.exists()


def test_a_failing_compiler_is_quoted_and_leaves_nothing(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = 'test "$1" = --version && exit 0; echo "In file included" >&2; echo "vector.h:1: error: it is Monday" >&2; exit 1'
    monkeypatch.setenv("CXX", compiler(tmp_path / "failing", script))
    with pytest.raises(build.BuildError, match=r"failing failed: vector\.h:1: error: it is Monday"):
        build.library("generic")
    works_in_plain_pytorch("fp32")
    assert not list(directory.iterdir())


def test_a_compiler_that_cannot_be_run(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", compiler(tmp_path / "broken", "")[:-6] + "broken")
    (tmp_path / "broken").write_text("not a program")
    with pytest.raises(build.BuildError, match="broken could not be run"):
        build.library("generic")


def test_a_library_is_kept_by_sources_compiler_and_flags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = tuple(build.compiler())
    key = build._key(command, build.flags("generic"))
    assert key == build._key(command, build.flags("generic"))
    assert len({key, build._key(command, build.flags("avx2")), build._key((*command, "-g"), build.flags("generic"))}) == 3
    monkeypatch.setattr(build, "SOURCE", tmp_path)
    (tmp_path / "executor.cpp").write_text("other")
    assert build._key(command, build.flags("generic")) != key


@pytest.mark.slow
def test_two_processes_build_at_once_and_a_third_finds_it(directory: Path) -> None:
    both = [subprocess.Popen([sys.executable, "-c", BUILD]) for _ in range(2)]
    assert [process.wait(150) for process in both] == [0, 0]
    (library,) = directory.iterdir()
    before = library.stat().st_mtime_ns
    subprocess.run([sys.executable, "-c", BUILD], check=True, timeout=60)
    assert [path.stat().st_mtime_ns for path in directory.iterdir()] == [before]


def test_the_sources_travel_with_the_package() -> None:
    names = {path.name for path in build.SOURCE.iterdir()}
    assert {"executor.cpp", "run.h", "vector.h"} <= names
    assert build.SOURCE.parent == Path(build.__file__).parent


def test_an_instruction_set_for_every_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ERNEST_INSTRUCTIONS", raising=False)
    assert available()[-1] == "generic"
    assert set(available()) <= set(build.INSTRUCTIONS)


@pytest.mark.parametrize("chosen", available())
def test_an_environment_variable_limits_the_instruction_set(chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERNEST_INSTRUCTIONS", chosen)
    assert available() == (chosen,)
    assert Executor(PPLCNet(SMALL).eval(), threads=1).instructions == chosen


def test_the_variable_and_the_argument_must_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [name for name in available() if name != "generic"]
    monkeypatch.setenv("ERNEST_INSTRUCTIONS", "generic")
    for name in others:
        with pytest.raises(ValueError, match=rf"expected one of generic, got {name}, which is ruled out by ERNEST_INSTRUCTIONS"):
            Executor(PPLCNet(SMALL).eval(), instructions=name)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("sse9", r"^ERNEST_INSTRUCTIONS: expected one of .*generic, got sse9, which is unknown$"),
        ("amx", r"^ERNEST_INSTRUCTIONS: expected one of generic, got amx, which is not on this processor$"),
    ],
)
def test_a_wrong_variable_is_refused_in_one_line(chosen: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if chosen == "amx":
        monkeypatch.setattr(build, "features", frozenset)
    monkeypatch.setenv("ERNEST_INSTRUCTIONS", chosen)
    with pytest.raises(ValueError, match=message):
        Executor(PPLCNet(SMALL).eval())


def test_fewer_bits_fall_back_to_fp32_where_the_variable_leaves_no_such_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERNEST_INSTRUCTIONS", "generic")
    with pytest.warns(RuntimeWarning, match="int8 products are not on this processor: running in fp32"):
        run = Executor(PPLCNet(SMALL).eval(), "int8", threads=1)
    assert (run.precision, run.instructions) == ("fp32", "generic")
