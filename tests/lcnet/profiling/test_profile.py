"""The profiler: what layers have to do, what a roofline allows them, and that their times add up to a call."""

import time
from dataclasses import replace
from io import StringIO
from itertools import chain, cycle
from pathlib import Path

import pytest
import torch
from rich.console import Console

from ernest.lcnet import PUBLISHED, Architecture, PPLCNet, cost, fold
from ernest.lcnet.native import Executor, LayerTime, available
from ernest.lcnet.profiling import roofline
from ernest.lcnet.profiling.profile import profile, with_bound
from ernest.lcnet.profiling.roofline import FOOTPRINTS, Roofline, measure
from ernest.lcnet.profiling.shown import draw, table

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


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


def test_a_rate_is_that_of_the_fastest_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, slowdowns = Clock(), chain([1.0] * 20, [3.0, 1.0, 7.0])
    monkeypatch.setattr(roofline, "time", clock)
    bursts = []

    def work(loops: int) -> int:
        clock.now += 1e-6 * loops * next(slowdowns)
        bursts.append(loops)
        return 2 * loops

    assert roofline._best_rate(work, 1) == pytest.approx(2e6)
    assert 1e-6 * bursts[-1] >= roofline.BURST, "long against the clock"
    slowdowns = chain([1.0] * (len(bursts) - 1), [3.0, 1.0, 7.0])
    assert roofline._best_rate(work, 3) == pytest.approx(2e6)


def test_the_machine_is_measured() -> None:
    found = measure(repeats=3)
    assert found.instructions == available()[0]
    assert 0 < found.peaks["fp32"] <= min(found.peaks["bf16"], found.peaks["fp16"]), "wide arithmetic can do narrow work"
    assert found.peaks["bf16"] <= found.peaks["int8"]
    assert tuple(size for size, _ in found.bandwidths) == FOOTPRINTS
    assert all(rate > 0 for _, rate in found.bandwidths)


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No compiler, and no library that one has left."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("ernest.lcnet.native.build.environment_directory", lambda: tmp_path / "share")


@pytest.mark.usefixtures("no_compiler")
def test_torch_measures_where_there_is_no_compiler() -> None:
    threads = torch.get_num_threads()
    found = measure(repeats=1)
    assert found.instructions == "torch"
    assert found.peaks["fp32"] > 1e8
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("name", ["PPLCNet_x0_25", "PPLCNetV2_small"])
def test_the_layers_of_a_call_take_no_longer_than_the_call(name: str) -> None:
    run = Executor(PPLCNet(PUBLISHED[name]).eval(), threads=1)
    images = torch.zeros(1, 3, 128, 128)
    started = time.perf_counter()
    layers = run.layers(images, repeats=1)
    elapsed = time.perf_counter() - started
    assert all(layer.seconds > 0 for layer in layers if layer.multiply_adds)
    assert 0 < sum(layer.seconds for layer in layers) < elapsed


def test_a_profile_holds_the_fastest_run_and_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three runs layer by layer the second is the fastest by its sum; three whole calls take 5, 4 and 6 s."""
    network, clock = PPLCNet(SMALL).eval(), Clock()
    runs = cycle([3.0, 2.0, 1.0, 2.0])  # seconds of a layer; the first run only warms up, but counts
    truly, waits = Executor.layers, iter([0.0, 5.0, 0.0, 4.0, 0.0, 6.0])

    def layers(self: Executor, images: torch.Tensor, repeats: int) -> list[LayerTime]:
        assert repeats == 1
        seconds = next(runs)
        return [replace(layer, seconds=seconds) for layer in truly(self, images, repeats)]

    def call(self: Executor, images: torch.Tensor) -> torch.Tensor:
        clock.now += next(waits)
        return torch.zeros(1, SMALL.classes)

    monkeypatch.setattr(Executor, "layers", layers)
    monkeypatch.setattr(Executor, "__call__", call)
    monkeypatch.setattr("ernest.lcnet.profiling.profile.time", clock)
    monkeypatch.setattr("ernest.lcnet.profiling.profile.measure", lambda *_: ROOFLINE)
    found = profile(network, size=128, repeats=3)
    assert {layer.seconds for layer in found.layers} == {1.0}
    assert found.seconds == len(found.layers)
    assert (found.calls, found.wall) == ((5.0, 4.0, 6.0), 4.0)
    assert sum(layer.flops for layer in found.layers) == 2 * cost(fold(network), 128, 128).multiply_adds
    assert found.flop_bound <= found.bound


@pytest.mark.filterwarnings("ignore:.* products are not on this processor:RuntimeWarning")
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


@pytest.mark.filterwarnings("ignore:.* products are not on this processor:RuntimeWarning")
@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize("architecture", [SMALL, PUBLISHED["PPLCNetV2_small"], replace(SMALL, head_width=0)])
def test_torch_s_own_operators_are_profiled_where_nothing_is_compiled(
    architecture: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock on which only products take time: the layers then add up to the call exactly."""
    clock, network = Clock(), PPLCNet(architecture).eval()

    def tick(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> None:
        clock.now += output.numel() / 1024

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(tick)
    monkeypatch.setattr("ernest.lcnet.profiling.profile.time", clock)
    monkeypatch.setattr("ernest.lcnet.profiling.profile.measure", lambda *_: ROOFLINE)
    with pytest.warns(RuntimeWarning, match="plain PyTorch"):
        found = profile(network, size=64, precision="bf16", threads=None, repeats=4)
    assert (found.runtime, found.precision, found.parallel) == ("torch, folded", "fp32", ())
    assert sum(layer.flops for layer in found.layers) == 2 * cost(fold(network), 64, 64).multiply_adds
    assert min(layer.seconds for layer in found.layers) > 0
    assert found.seconds == pytest.approx(found.wall)


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
