"""The measurements: how times are read off, that a race tells what is not there, and how findings reach the documentation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmarks.findings import Latency
from benchmarks.lcnet import networks, others, races, report, shufflenet, widths, worker
from benchmarks.lcnet.published import OURS, PEERS, Published
from ernest.lcnet import PUBLISHED, parameters


def test_a_lower_quartile_is_taken_round_by_round() -> None:
    found = races.latency("n", "r", 1, [[4.0, 1.0, 2.0, 3.0], [9.0, 9.0, 9.0, 9.0], [3.0, 3.0, 3.0, 50.0]])
    assert found.p25 == 3.0
    assert found.least == 1.0
    assert found.median == 3.5
    assert found.p95 == 50.0


def test_a_ratio_is_taken_round_by_round() -> None:
    ours = races.latency("n", "a", 1, [[1.0], [4.0], [2.0]])
    theirs = races.latency("n", "b", 1, [[2.0], [8.0], [3.0]])
    assert ours.ratio(theirs) == 0.5
    assert ours.p25 / theirs.p25 == pytest.approx(2 / 3)


def test_nobody_always_follows_the_same_one() -> None:
    orders = [races.rotated("abc", turn) for turn in range(6)]
    assert {order[0] for order in orders} == set("abc")
    followers = {order[order.index("b") - 1] for order in orders if order.index("b") > 0}
    assert followers == {"a", "c"}


def test_closeness_is_the_signal_over_the_noise() -> None:
    wanted = np.ones((1, 10), np.float32)
    assert worker.closeness(wanted, wanted) == 200.0
    assert worker.closeness(wanted, wanted + 0.1) == pytest.approx(20.0, abs=0.1)
    assert worker.closeness(wanted, wanted + 0.01) == pytest.approx(40.0, abs=0.1)


def _latency(network: str, runtime: str, p25: float) -> Latency:
    return Latency(network, runtime, 1, p25, p25, p25, p25, 99.0, (p25,))


def test_a_ratio_needs_both_runtimes() -> None:
    found = [_latency("PPLCNet_x1_0", "native/fp32", 2.0), _latency("PPLCNet_x1_0", "OpenVINO/fp32", 2.5)]
    (figure,) = widths.compared(found, "PPLCNet_x1_0", "native/fp32", "OpenVINO/fp32", 0.94)
    assert figure.value == pytest.approx(0.8)
    assert figure.ok
    assert figure.row == "LCNet x1.0: native fp32 ÷ OpenVINO fp32"
    assert widths.compared(found, "PPLCNet_x1_0", "native/bf16", "OpenVINO/bf16", 1.0) == []


def test_the_better_choice_is_better_by_more_than_a_tie_and_no_slower() -> None:
    own = Published("PPLCNet_x1_0", "LCNet x1.0", 71.32, "paper")
    names = ("mobilenetv4_conv_small", "mobilenetv2_100", "ghostnet_100", "mobileone_s0")
    times = dict(zip(((name, "OpenVINO/fp32") for name in names), (2.0, 1.9, 2.1, 1.0), strict=True))
    assert [one.name for one in others.faster_and_better(own, 2.0, times)] == ["mobilenetv4_conv_small", "mobilenetv2_100"]


def test_every_network_of_the_race_has_one_name_and_an_honest_source() -> None:
    names = [one.name for one in (*OURS, *PEERS)]
    assert len(set(names)) == len(names)
    assert {one.name for one in OURS} == set(widths.WIDTHS) <= set(PUBLISHED)
    assert all((one.top1 is None) == (one.source == "none") for one in (*OURS, *PEERS))
    assert all(one.distilled is None or one.distilled > (one.top1 or 0.0) for one in OURS)


@pytest.mark.parametrize(("name", "count"), [("shufflenetv2_x0.5", 1_366_792), ("shufflenetv2_x1.0", 2_278_604)])
def test_shufflenet_has_its_published_parameters(name: str, count: int) -> None:
    network = shufflenet.ShuffleNetV2(name).eval()
    assert parameters(network) == count
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 1000)


def test_the_picture_shows_whatever_is_known(tmp_path: Path) -> None:
    report.draw([], tmp_path / "nothing.png")
    assert not (tmp_path / "nothing.png").exists()
    found = [_latency("PPLCNet_x0_25", "native/fp32", 0.4), _latency("PPLCNetV2_base", "OpenVINO/fp32", 7.0)]
    report.draw([*found, _latency("ghostnet_050", "OpenVINO/fp32", 2.0)], tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_a_race_answers_with_times_and_with_what_is_not_there(tmp_path: Path) -> None:
    name = "PPLCNet_x0_25"
    network = networks.calibrated(name)
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        np.savez(tmp_path / f"{name}.npz", image=image, logits=network(image))
    save_file(network.state_dict(), tmp_path / f"{name}.safetensors")
    runtimes = ("eager/fp32", "native/fp32/none", "absent/fp32")
    found, missing = races.race(runtimes, [name], 1, 2, tmp_path, lambda _: None)
    assert [(one.network, one.runtime, one.threads) for one in found] == [(name, "eager/fp32", 1)]
    assert found[0].decibels is not None
    assert found[0].decibels > 90
    assert 0 < found[0].least <= found[0].p25 <= found[0].p95
    assert [line.split(",")[0] for line in missing] == ["native/fp32/none", "absent/fp32"]
    assert all("not there" in line for line in missing)
