"""The profiler: what layers have to do, what a roofline allows them, and that their times add up to a call."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from ernest.lcnet import PUBLISHED, Architecture, PPLCNet, cost, fold
from ernest.lcnet.native import Executor, LayerTime
from ernest.lcnet.profiling.profile import draw, profile, table, with_bound
from ernest.lcnet.profiling.roofline import FOOTPRINTS, Roofline, measure

SMALL = Architecture(classes=10, scale=0.25)
BANDWIDTHS = (1 << 14, 100e9), (1 << 20, 50e9), (1 << 27, 10e9)
ROOFLINE = Roofline("made up", {"fp32": 100e9, "fp16": 200e9, "bf16": 200e9, "int8": 400e9}, BANDWIDTHS)


def test_a_roofline_knows_the_memory_that_holds_so_much() -> None:
    assert ROOFLINE.bandwidth(100) == 100e9
    assert ROOFLINE.bandwidth(1 << 14) == 100e9
    assert ROOFLINE.bandwidth((1 << 14) + 1) == 50e9
    assert ROOFLINE.bandwidth(1 << 40) == 10e9


def test_of_two_measurements_the_best_counts() -> None:
    other = replace(
        ROOFLINE, peaks={"fp32": 120e9, "fp16": 1.0, "bf16": 150e9, "int8": 1.0}, bandwidths=((1 << 14, 1.0), *BANDWIDTHS[1:])
    )
    best_of = ROOFLINE.best_of(other)
    assert best_of.peaks == {"fp32": 120e9, "fp16": 200e9, "bf16": 200e9, "int8": 400e9}
    assert best_of.bandwidths == BANDWIDTHS


def test_the_bound_is_the_larger_of_arithmetic_and_memory() -> None:
    heavy = LayerTime("heavy", "pointwise", 0.02, 10**9 // 2, 1000)
    one = with_bound(heavy, "fp32", ROOFLINE)
    assert (one.flops, one.bytes, one.limit) == (10**9, 1000, "compute")
    assert one.bound == pytest.approx(0.01)
    assert one.share == pytest.approx(0.5)
    assert with_bound(heavy, "int8", ROOFLINE).bound == pytest.approx(0.0025)
    assert with_bound(replace(heavy, kind="depthwise"), "int8", ROOFLINE).bound == pytest.approx(0.005)
    other = with_bound(LayerTime("light", "dense", 1e-3, 1000, 10**6), "fp32", ROOFLINE)
    assert other.limit == "memory"
    assert other.bound == pytest.approx(10**6 / 50e9)


def test_the_machine_is_measured() -> None:
    found = measure(repeats=3)
    assert 1e8 < found.peaks["fp32"] < 1e12
    assert found.peaks["fp32"] <= 1.5 * found.peaks["bf16"]
    assert tuple(size for size, _ in found.bandwidths) == FOOTPRINTS
    nearest, memory = found.bandwidths[0][1], found.bandwidths[-1][1]
    assert 1e8 < memory < 1.5 * nearest < 1e13


def test_torch_measures_where_there_is_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setenv("CXX", "no-such-compiler")
    found = measure(repeats=1)
    assert found.instructions == "torch"
    assert found.peaks["fp32"] > 1e8
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("name", ["PPLCNet_x0_25", "PPLCNetV2_small"])
def test_the_layers_add_up_to_a_call(name: str) -> None:
    """Within a tenth on an idle machine, which this one need not be."""
    network = PPLCNet(PUBLISHED[name]).eval()
    found = profile(network, size=128, repeats=80)
    assert found.seconds == pytest.approx(found.wall, rel=0.4)
    assert sum(layer.flops for layer in found.layers) == 2 * cost(fold(network), 128, 128).multiply_adds
    assert found.flop_bound <= found.bound < 1.5 * found.wall


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_fewer_bits_are_profiled_where_there_are_such(precision: str) -> None:
    try:
        Executor(PPLCNet(SMALL), precision, 1)
    except ValueError as error:
        pytest.skip(str(error))
    found = profile(PPLCNet(SMALL).eval(), size=(64, 48), precision=precision, repeats=16)
    assert found.precision in (precision, "fp32")
    assert found.size == (64, 48)
    assert all(layer.seconds > 0 for layer in found.layers)


@pytest.mark.parametrize("architecture", [SMALL, PUBLISHED["PPLCNetV2_small"], replace(SMALL, head_width=0)])
def test_torch_s_own_operators_are_profiled_where_nothing_is_compiled(
    architecture: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    network = PPLCNet(architecture).eval()
    with pytest.warns(RuntimeWarning, match="plain PyTorch"):
        found = profile(network, size=64, precision="bf16", threads=None, repeats=40)
    assert (found.runtime, found.precision, found.parallel) == ("torch, folded", "fp32", ())
    assert sum(layer.flops for layer in found.layers) == 2 * cost(fold(network), 64, 64).multiply_adds
    assert 0.3 < found.seconds / found.wall < 2.0


def test_a_table_and_a_picture_show_every_layer(tmp_path: Path) -> None:
    found = profile(PPLCNet(SMALL).eval(), size=64, threads=2, repeats=8)
    console = Console(width=150, record=True, file=StringIO())
    console.print(table(found))
    text = console.export_text()
    assert all(layer.name in text for layer in found.layers)
    assert "GB/s out of" in text
    assert "on 2 threads" in text
    draw(found, tmp_path / "layers.png")
    assert (tmp_path / "layers.png").read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith("aside")] == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"size": 0}, "size"), ({"precision": "fp16"}, "precision"), ({"repeats": 0}, "repeats"), ({"threads": 0}, "threads")],
)
def test_wrong_wishes_are_named(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        profile(PPLCNet(SMALL).eval(), **wrong)
