"""Opening a file is quick: nothing heavy is imported for it, and the network is not drawn before its values are read."""

import json
import subprocess
import sys

import pytest
import torch

from ernest.lcnet import PUBLISHED, Architecture, PPLCNet, fold, load, save, small_images
from ernest.lcnet.heads import files
from ernest.lcnet.heads.detection import Detector, DetectorArchitecture
from ernest.lcnet.heads.segmentation import Segmenter, SegmenterArchitecture

TIMED = """
import json, sys, time
import torch
from ernest.lcnet import load_checkpoint
from ernest.lcnet.heads.files import load
heavy, before = ("torch._dynamo", "torch._inductor", "sympy"), set(sys.modules)
seconds = []
for path in sys.argv[1:]:
    start = time.process_time()  # whoever else computes does not count
    load(path) if "head" in path else load_checkpoint(path)
    seconds.append(time.process_time() - start)
from ernest.lcnet import PPLCNet, small_images
from ernest.lcnet.training import Recipe, supervised
from ernest.lcnet.training.loop import update
from ernest.lcnet.training.schedule import make_optimizer
network = PPLCNet(small_images(3, scale=0.25)).train()
optimizer = make_optimizer(network, Recipe(arch="small"))
update(network, supervised(0.1), optimizer, torch.zeros(2, 3, 32, 32), torch.tensor([0, 1]), False)
print(json.dumps([seconds, [name for name in heavy if name in sys.modules and name not in before]]))
"""


@pytest.mark.timeout(120)
def test_files_of_ours_are_opened_without_torchs_compiler_in_a_fifth_of_a_second(tmp_path) -> None:
    """Nor does the first step of a training import it."""
    torch.manual_seed(0)
    networks = {
        "small": PPLCNet(small_images(3, scale=0.25)),
        "deployed": fold(PPLCNet(small_images(3, scale=0.25))),
        "whole": fold(PPLCNet(PUBLISHED["PPLCNet_x1_0"])),
        "second": PPLCNet(PUBLISHED["PPLCNetV2_small"]),
        "folded second": fold(PPLCNet(PUBLISHED["PPLCNetV2_small"])),
    }
    for name, network in networks.items():
        save(tmp_path / name, network)
    backbone = Architecture(scale=0.25)
    for name, head in (
        ("head for boxes", Detector(DetectorArchitecture(3, backbone))),
        ("head for pixels", Segmenter(SegmenterArchitecture(3, backbone))),
    ):
        files.save(tmp_path / name, head)
        files.save(tmp_path / f"folded {name}", fold(head))
    paths = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run([sys.executable, "-c", TIMED, *paths], capture_output=True, text=True, check=True)
    seconds, imported = json.loads(done.stdout)
    assert imported == []
    assert max(seconds) < 0.2, dict(zip(paths, seconds, strict=True))


def test_an_opened_network_has_the_values_of_its_file(tmp_path) -> None:
    network = PPLCNet(small_images(3, scale=0.25))
    save(tmp_path / "x", network)
    state = torch.random.get_rng_state()
    opened = load(tmp_path / "x")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(tensor.is_meta for tensor in opened.state_dict().values())
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in opened.state_dict().items())
