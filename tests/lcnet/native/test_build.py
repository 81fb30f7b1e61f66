"""Compiling at first use: kept, safe beside others, and a plain answer where the compiler fails."""

import ctypes
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args
from unittest.mock import Mock

import pytest
import torch

from ernest import cli
from ernest.lcnet import Architecture, PPLCNet, fold
from ernest.lcnet.image_io import compiled
from ernest.lcnet.native import Executor, Precision, available, build, norms
from ernest.lcnet.native.build import features
from ernest.lcnet.native.executor import define, has_products
from ernest.lcnet.prebuild import prebuild

SMALL = Architecture(classes=5, scale=0.25, head_width=0)
BUILD = "from ernest.lcnet.native import build; build.library('generic', 'peak.cpp')"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and an environment into which nobody has built anything."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
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
def test_without_a_compiler(precision: Precision, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not any(has_products(name, features(), precision) for name in available()):
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
    assert not directory.exists()


def test_a_compiler_that_cannot_be_run(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", compiler(tmp_path / "broken", "")[:-6] + "broken")
    (tmp_path / "broken").write_text("not a program")
    with pytest.raises(build.BuildError, match="broken could not be run"):
        build.library("generic")


def test_a_library_is_kept_by_sources_compiler_and_flags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = build.compiler()
    stem = build._stem(build.flags("generic"), "executor.cpp")
    assert stem == build._stem(build.flags("generic"), "executor.cpp")
    assert stem != build._stem(build.flags("avx2"), "executor.cpp")
    assert build._compiler_key(command) != build._compiler_key([*command, "-g"])
    monkeypatch.setattr(build, "SOURCE", tmp_path)
    (tmp_path / "executor.cpp").write_text("other")
    assert build._stem(build.flags("generic"), "executor.cpp") != stem


@pytest.fixture(scope="module")
def ready(tmp_path_factory) -> Path:
    """A library that a compiler has made, of the smaller source."""
    path = tmp_path_factory.mktemp("ready") / "peak.so"
    path.write_bytes(build.compiled(build.compiler(), build.flags("generic"), "peak.cpp"))
    return path


@pytest.fixture
def quick(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler that has the answer up its sleeve; the file counts how often it was asked."""
    asked = tmp_path / "asked"
    script = f'test "$1" = --version && exit 0; echo >> {asked}; while test "$1" != -o; do shift; done; cp {ready} "$2"'
    monkeypatch.setenv("CXX", compiler(tmp_path / "quick", script))
    return asked


def opened() -> int:
    """Of the library that is loaded by a process that starts: how many operations one loop of its fp32 kernel is."""
    build._loaded.cache_clear()
    function = build.library("generic", "peak.cpp")["peak_fp32"]
    function.restype, function.argtypes = ctypes.c_int64, [ctypes.c_int64]
    return function(1)


def times(asked: Path) -> int:
    return len(asked.read_text().splitlines()) if asked.exists() else 0


def test_a_kept_library_needs_no_compiler(directory: Path, quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image in two stages: the last one has the cache and no compiler, or one that fails."""
    operations = opened()
    assert operations > 0
    assert times(quick) == 1
    for command in ("/nowhere/c++", "false"):
        monkeypatch.setenv("CXX", command)
        assert opened() == operations
    assert times(quick) == 1


@pytest.mark.parametrize("damage", ["cut", "empty", "one bit", "longer", "nothing"])
def test_a_damaged_library_is_made_anew(damage: str, directory: Path, quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut one would end the process by SIGBUS."""
    operations, (library,) = opened(), directory.iterdir()
    whole = library.read_bytes()
    damaged = {"cut": whole[:1000], "empty": b"", "one bit": whole[:-9] + b"!" + whole[-8:], "longer": whole + b"\0"}
    aside = library.with_name("aside")  # not written in place: this process has the old one mapped
    aside.write_bytes(damaged.get(damage, whole))
    aside.replace(library)
    assert opened() == operations
    assert [path.read_bytes() for path in directory.iterdir()] == [whole]
    assert times(quick) == (1 if damage == "nothing" else 2)
    aside.write_bytes(whole[:1000])
    aside.replace(library)
    monkeypatch.setenv("CXX", "/nowhere/c++")
    with pytest.raises(build.BuildError, match="no C\\+\\+ compiler"):
        opened()


def test_a_user_without_a_home_has_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in containers that run under a number: $HOME is not set, and no entry of the system's list of users has it."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(Path, "home", Mock(side_effect=RuntimeError("Could not determine home directory.")))
    assert build.cache_directory() == build.environment_directory() == tmp_path / "share/ernest/lcnet"


def test_a_cache_that_cannot_be_written_is_told(quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    message = (
        r"the executor cannot be kept in .*/file/ernest/lcnet \(.*\): every start compiles it anew, which took \d+ s; .*build`"
    )
    with pytest.warns(RuntimeWarning, match=message):
        assert opened() > 0
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    command, options = build.compiler(), build.flags("generic")
    start = build._stem(options, "peak.cpp") + build._compiler_key(command)
    build._keep(build.compiled(command, options, "peak.cpp"), build.environment_directory(), start)
    before = times(quick)
    assert opened() > 0  # what was built into the environment is found, and nothing has to be kept
    assert times(quick) == before


def test_what_is_built_ahead_is_what_will_be_looked_for(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """The names of `ernest lcnet build` are those that an executor asks for, on this processor and on others."""
    monkeypatch.setattr(sys, "argv", ["ernest", "lcnet", "build", "--into", str(tmp_path / "into")])
    cli.main()
    lines = capsys.readouterr().out.splitlines()
    able = {(available()[0], one) for one in get_args(Precision) if has_products(available()[0], features(), one)}
    said = {tuple(re.search(r": (\w+) (\w+), \d+ s$", line).groups()) for line in lines}
    assert said == able | {(available()[0], "norms"), ("generic", "pictures")}
    monkeypatch.setattr(build, "cache_directory", lambda: tmp_path / "into")
    monkeypatch.setenv("CXX", "/nowhere/c++")
    for instructions, precision in able:
        build._loaded.cache_clear()
        build.library(instructions, defines=(define(precision),))
    build.library(available()[0], norms.SOURCE)
    build.library("generic", str(compiled.SOURCE))
    found = {path.name for path in (tmp_path / "into").iterdir()}
    monkeypatch.setenv("CXX", str(tmp_path / "quick"))
    everywhere = list(prebuild(everywhere=True, directory=tmp_path / "everywhere"))
    assert {one.purpose.split()[0] for one in everywhere} >= {"amx", "avx512", "avx2", "generic"} or "neon" in features()
    assert found <= {one.path.name for one in everywhere}
    assert len({one.path.name for one in everywhere}) == len(everywhere)


def test_nothing_is_built_into_the_package() -> None:
    """So wheels hold no library of the machine that made them."""
    assert build.SOURCE not in (build.environment_directory().resolve(), *build.environment_directory().resolve().parents)
    assert {path.suffix for path in build.SOURCE.parent.rglob("*.*") if "__pycache__" not in path.parts} <= {".py", ".cpp", ".h"}


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
